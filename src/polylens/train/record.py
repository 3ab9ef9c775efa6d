"""What a run writes about itself before its first step, and by which it is known when it is taken up again."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import polylens
from polylens.errors import InputError
from polylens.train.pairs import Source
from polylens.train.state import steps_done

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def write_recipe(recipe: DataclassInstance, folder: Path, sources: Sequence[Source]) -> None:
    """The run's recipe, versions and data as `recipe.json`; a folder that holds another run is refused.

    Args:
        recipe: Everything that was set.
        folder: Of the run, which is there.
        sources: Its data; their SHA-256 are written.

    Raises:
        InputError: The folder holds a run of another recipe, or on other data.
    """
    path = folder / "recipe.json"
    plain = json.loads(json.dumps(asdict(recipe)))
    data = {str(source.path): {"pairs": len(source.pairs), "sha256": source.sha256} for source in sources}
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
        differing = [key for key in plain if plain[key] != known["recipe"].get(key)]
        differing += [] if known.get("data") == data else ["what the files of pairs hold"]
        if differing:
            raise InputError(
                f"{folder} holds a run of another recipe (they differ in {', '.join(differing)}); "
                "choose another folder or remove this one"
            )
        return
    versions = {"polylens": polylens.__version__, "torch": torch.__version__, "python": platform.python_version()}
    text = json.dumps({"recipe": plain, "data": data, "versions": versions}, indent=2)
    path.write_text(text + "\n", encoding="utf-8")


def is_finished(folder: Path, steps: int) -> bool:
    """Whether a run of so many steps is through; `config.json` is the last that comes into a model's folder."""
    return steps_done(folder / "checkpoint") == steps and (folder / "model/config.json").exists()
