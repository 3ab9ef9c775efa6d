"""What a run writes about itself before its first step, and by which it is known when it is taken up again."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import PIL
import torch

import polylens
from polylens.atomic import write_beside
from polylens.errors import InputError
from polylens.train.pairs import Source
from polylens.train.state import steps_done

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Data = Mapping[str, Mapping[str, int | str]]
"""What a run learns from -> how much of it there is, and its SHA-256."""


def data_of(sources: Sequence[Source]) -> Data:
    """Files of pairs, as `recipe.json` has them."""
    return {str(source.path): {"pairs": len(source.pairs), "sha256": source.sha256} for source in sources}


def write_recipe(recipe: DataclassInstance, folder: Path, data: Data, *, may_move: bool = False) -> list[str]:
    """The run's recipe, data and versions as `recipe.json`; a folder that holds another run is refused.

    Args:
        recipe: Everything that was set.
        folder: Of the run, which is there.
        data: What it learns from.
        may_move: Whether a run may be taken up on other data than it began with, as one is that moves to a machine with
            other fonts. That, and other versions, are noted under `moves`, with the steps behind it then.

    Returns:
        What of the data is not as it was when the run was last taken up.

    Raises:
        InputError: The folder holds a run of another recipe, or on other data where it may not move.
    """
    path, plain, now = folder / "recipe.json", json.loads(json.dumps(asdict(recipe))), _now(data)
    if not path.exists():
        _write(path, {"recipe": plain, **now})
        return []
    written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    last = {"data": {}, **(written.get("moves") or [written])[-1]}  # older runs wrote no data
    moved = sorted(kind for kind in {*data, *last["data"]} if data.get(kind) != last["data"].get(kind))
    differing = [key for key in plain if plain[key] != written["recipe"].get(key)]
    differing += ["what the files of pairs hold"] if moved and not may_move else []
    if differing:
        raise InputError(
            f"{folder} holds a run of another recipe (they differ in {', '.join(differing)}); "
            "choose another folder or remove this one"
        )
    if may_move and now != {key: last[key] for key in now}:
        moves = [*written.get("moves", []), {"steps": steps_done(folder / "checkpoint"), **now}]
        _write(path, {**written, "moves": moves})
    return moved


def is_finished(folder: Path, steps: int) -> bool:
    """Whether a run of so many steps is through; `config.json` is the last that comes into a model's folder."""
    return steps_done(folder / "checkpoint") == steps and (folder / "model/config.json").exists()


def _now(data: Data) -> dict[str, Any]:
    versions = {
        "polylens": polylens.__version__,
        "torch": torch.__version__,
        "pillow": PIL.__version__,
        "python": platform.python_version(),
    }
    return {"data": data, "versions": versions}


def _write(path: Path, written: Mapping[str, Any]) -> None:
    with write_beside(path) as beside:
        beside.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
