"""Lessons on disk: shards of texts and of aligned pairs, and the teacher's vectors of them as float16."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polylens.atomic import write_beside
from polylens.lab.corpora.streams import Aligned, Taught, aligned, texts
from polylens.lab.nano.distillation.plan import Lessons
from polylens.lab.teacher.teacher import Teacher
from polylens.train.run_metadata import write_recipe
from polylens.types import FloatArray


@dataclass(frozen=True, slots=True)
class Shard:
    """Some texts and pairs with their vectors."""

    texts: tuple[Taught, ...]
    pairs: tuple[Aligned, ...]
    vectors: FloatArray
    """`[texts + 2 pairs, W]`, unit rows: of the texts, of the pairs' English sides, and of their other sides."""


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
    paired = itertools.islice(aligned(plan.seed, plan.pair_shares, plan.languages), done * plan.pairs_a_shard, None)
    for number in range(done, plan.shards):
        said = list(itertools.islice(drawn, plan.texts_a_shard))
        pairs = list(itertools.islice(paired, plan.pairs_a_shard))
        every = [each.text for each in said] + [each.english for each in pairs] + [each.other for each in pairs]
        vectors = teacher.dense(every, plan.prompt_name)
        written = {
            "texts": [[each.text, each.language, each.source] for each in said],
            "pairs": [[each.english, each.other, each.language, each.source] for each in pairs],
        }
        with write_beside(_texts(folder, number)) as beside:
            beside.write_text(json.dumps(written, ensure_ascii=False), encoding="utf-8")
        with write_beside(_vectors(folder, number)) as beside, beside.open("wb") as file:  # last: the shard is complete
            np.save(file, vectors.astype(np.float16), allow_pickle=False)
        report(number + 1, plan.shards)


def num_shards(folder: Path) -> int:
    """How many shards are complete."""
    return next(number for number in itertools.count() if not _vectors(folder, number).exists())


def shard(folder: Path, number: int) -> Shard:
    """Reads a shard."""
    vectors = np.load(_vectors(folder, number), allow_pickle=False).astype(np.float32)
    written = json.loads(_texts(folder, number).read_text(encoding="utf-8"))
    return Shard(
        tuple(Taught(*each) for each in written["texts"]), tuple(Aligned(*each) for each in written["pairs"]), vectors
    )


def _texts(folder: Path, number: int) -> Path:
    return folder / f"texts-{number:05}.json"


def _vectors(folder: Path, number: int) -> Path:
    return folder / f"vectors-{number:05}.npy"
