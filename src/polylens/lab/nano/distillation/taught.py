"""Lessons on disk: shards of texts, and the teacher's vectors of them as float16."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polylens.atomic import write_beside
from polylens.lab.corpora.streams import texts
from polylens.lab.nano.distillation.plan import Lessons
from polylens.lab.teacher.teacher import Teacher
from polylens.train.run_metadata import write_recipe
from polylens.types import FloatArray


@dataclass(frozen=True, slots=True)
class Shard:
    """Some texts with their vectors."""

    texts: tuple[str, ...]
    vectors: FloatArray
    """`[N, W]`, unit rows."""


def teach(plan: Lessons, folder: Path, teacher: Teacher, report: Callable[[int, int], None]) -> None:
    """Writes the shards that are not there yet; an interrupted call goes on where it stopped.

    Args:
        plan: The lessons.
        folder: Of the shards; one with other lessons is refused.
        teacher: The teacher.
        report: Called with the number of finished shards and of all.

    Raises:
        InputError: The folder holds other lessons, or a source is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_recipe(plan, folder, {"teacher": {"model": teacher.model_id}})
    done = num_shards(folder)
    drawn = itertools.islice(texts(plan.seed, plan.shares, plan.languages), done * plan.texts_a_shard, None)
    for number in range(done, plan.shards):
        said = [each.text for each in itertools.islice(drawn, plan.texts_a_shard)]
        vectors = teacher.dense(said, plan.prompt_name)
        with write_beside(_texts(folder, number)) as beside:
            beside.write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")
        with write_beside(_vectors(folder, number)) as beside, beside.open("wb") as file:  # last: the shard is complete
            np.save(file, vectors.astype(np.float16), allow_pickle=False)
        report(number + 1, plan.shards)


def num_shards(folder: Path) -> int:
    """How many shards are complete."""
    return next(number for number in itertools.count() if not _vectors(folder, number).exists())


def shard(folder: Path, number: int) -> Shard:
    """Reads a shard."""
    vectors = np.load(_vectors(folder, number), allow_pickle=False).astype(np.float32)
    return Shard(tuple(json.loads(_texts(folder, number).read_text(encoding="utf-8"))), vectors)


def _texts(folder: Path, number: int) -> Path:
    return folder / f"texts-{number:05}.json"


def _vectors(folder: Path, number: int) -> Path:
    return folder / f"vectors-{number:05}.npy"
