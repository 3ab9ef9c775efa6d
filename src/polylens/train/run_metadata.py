"""The metadata of a run, written before its first step and compared when it is resumed."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import PIL
import torch

import polylens
from polylens.atomic import write_beside
from polylens.errors import InputError
from polylens.train.pairs import PairFile
from polylens.train.state import steps_done


@runtime_checkable
class AnyDataclass(Protocol):
    """An instance of any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Fingerprints = Mapping[str, Mapping[str, int | str]]
"""Each kind or file of training data -> how much of it there is, and its SHA-256."""


def fingerprints(sources: Sequence[PairFile]) -> Fingerprints:
    """The number of pairs and the SHA-256 of each file, by its path."""
    return {str(source.path): {"pairs": len(source.pairs), "sha256": source.sha256} for source in sources}


def write_recipe(recipe: AnyDataclass, folder: Path, data: Fingerprints, *, may_move: bool = False) -> list[str]:
    """Writes the run's recipe, data and versions to `recipe.json`, or compares them with what is there.

    Args:
        recipe: The whole recipe.
        folder: Of the run; it exists.
        data: The data that it learns from.
        may_move: Whether a run may be resumed on other data than it began with, such as on a machine with other fonts.
            Such a change, and one of versions, is noted under `moves`, with the steps that were completed then.

    Returns:
        The keys of the data that have changed since the run was last resumed.

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
    differing += ["the contents of the files of pairs"] if moved and not may_move else []
    if differing:
        raise InputError(
            f"{folder} holds a run of another recipe, which differs in {', '.join(differing)}; "
            "choose another folder, or delete this one"
        )
    if may_move and now != {key: last[key] for key in now}:
        moves = [*written.get("moves", []), {"steps": steps_done(folder / "checkpoint"), **now}]
        _write(path, {**written, "moves": moves})
    return moved


def is_finished(folder: Path, steps: int) -> bool:
    """Whether a run of so many steps is finished; `config.json` is the last file written to a model's folder."""
    return steps_done(folder / "checkpoint") == steps and (folder / "model/config.json").exists()


def _now(data: Fingerprints) -> dict[str, Any]:
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
