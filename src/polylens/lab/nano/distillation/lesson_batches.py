"""Batches of lessons. A batch depends on its seed alone, so a resumed run sees the same batches."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from polylens.lab.nano.distillation.plan import Distillation
from polylens.lab.nano.distillation.targets import Targets
from polylens.lab.nano.distillation.taught import Shard, num_shards, shard
from polylens.models.protocol import Item, Processor

_KEPT = 2  # shards in memory, 25 MB each
_SEEDS_A_SHARD = 50  # seeds in a row that draw from the same shard

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class LessonBatch:
    """What a step learns: the texts that stand alone, then the pairs' English sides, then their other sides."""

    items: list[Item]
    wanted: Tensor
    """The target of each, unit rows `[N, V]`."""
    num_pairs: int
    english_asks: bool
    """Whether the English sides are the queries, or else the other sides."""


class LessonBatches:
    """Seed -> batch.

    Args:
        folder: Of the lessons, see `taught.teach`.
        plan: How many texts and pairs a batch has.
        processor: Of the model that learns.
        targets: What its dense vectors should be.
    """

    def __init__(self, folder: Path, plan: Distillation, processor: Processor, targets: Targets) -> None:
        self._plan, self._processor, self._targets = plan, processor, targets
        self._count = num_shards(folder)
        self._shard = functools.lru_cache(_KEPT)(functools.partial(_sorted, folder))

    def __call__(self, seed: int) -> LessonBatch:
        """Texts of like length and pairs of like length, out of one shard."""
        rng = random.Random(seed)
        found = self._shard(random.Random(seed // _SEEDS_A_SHARD).randrange(self._count))
        texts = _window(rng, found.texts, self._plan.texts_a_step)
        pairs = _window(rng, found.pairs, self._plan.pairs_a_step)
        english_asks = rng.random() < 0.5
        asking, answering = ("query", "passage") if english_asks else ("passage", "query")
        english, other = [first for first, _ in pairs], [second for _, second in pairs]
        rows = [*texts, *english, *other]
        roles = [rng.choice(("query", "passage")) for _ in texts] + [asking] * len(pairs) + [answering] * len(pairs)
        items = [
            self._processor.text(found.said[row], task=None, prompt_name=role, max_length=self._plan.longest)
            for row, role in zip(rows, roles, strict=True)
        ]
        wanted = torch.from_numpy(self._targets(found.shard.vectors[rows]))
        return LessonBatch(items, wanted, len(pairs), english_asks)


@dataclass(frozen=True, slots=True)
class _Sorted:
    """A shard with its rows by length."""

    shard: Shard
    said: list[str]
    """The text of each row."""
    texts: list[int]
    pairs: list[tuple[int, int]]
    """(row of the English side, row of the other side)."""


def _sorted(folder: Path, number: int) -> _Sorted:
    found = shard(folder, number)
    said = texts_of(found)
    alone, pairs = len(found.texts), len(found.pairs)
    sizes = [len(text.encode()) for text in said]
    both = [(alone + i, alone + pairs + i) for i in range(pairs)]
    by_length = sorted(both, key=lambda pair: sizes[pair[0]] + sizes[pair[1]])
    return _Sorted(found, said, sorted(range(alone), key=sizes.__getitem__), by_length)


def _window(rng: random.Random, rows: list[Row], count: int) -> list[Row]:
    """Neighbouring rows; all of them where there are not more than `count`."""
    start = rng.randrange(max(1, len(rows) - count + 1))
    return rows[start : start + count]


def texts_of(found: Shard) -> list[str]:
    """The text of each vector of a shard."""
    alone, english = [each.text for each in found.texts], [each.english for each in found.pairs]
    return [*alone, *english, *(each.other for each in found.pairs)]
