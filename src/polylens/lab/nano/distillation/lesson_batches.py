"""Batches of lessons. A batch depends on its seed alone, so a resumed run sees the same batches."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from polylens.lab.corpora.streams import PairDraws, TextDraws
from polylens.lab.nano.distillation.plan import Distillation
from polylens.lab.teacher.teacher import Teacher
from polylens.models.protocol import Item, Processor


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of some texts, packed: few objects, since a batch travels from one process to another."""

    ids: Tensor
    """`[T]`, text after text."""
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]]) -> Tokens:
        """Packs the tokens of texts."""
        ids = np.fromiter(itertools.chain.from_iterable(texts), dtype=np.int32)
        return cls(torch.from_numpy(ids), tuple(map(len, texts)))

    def items(self) -> list[Item]:
        """Each text as the model takes it, to be pooled as a whole."""
        ids, ends = self.ids.numpy().astype(np.int64), np.cumsum(self.lengths)[:-1]
        return [Item(token_ids=each, pool=(0, len(each))) for each in np.split(ids, ends)]


@dataclass(frozen=True, slots=True)
class LessonBatch:
    """What a step learns: the texts that stand alone, then the pairs' English sides, then their other sides."""

    tokens: Tokens
    """For the model that learns."""
    teachers: Tokens
    """The same texts for the teacher."""
    num_pairs: int
    english_asks: bool
    """Whether the English sides are the queries, or else the other sides."""
    items: tuple[Item, ...] = ()
    """The tokens as the model takes them, once the batch is `unpacked`."""

    def unpacked(self) -> LessonBatch:
        """The batch with its items, which takes as long as a GPU takes for a part of the step before."""
        return replace(self, items=tuple(self.tokens.items()))


class LessonBatches:
    """Seed -> batch.

    Args:
        texts: Draws texts.
        pairs: Draws pairs.
        plan: How many of them a batch has.
        processor: Of the model that learns.
        teacher: Cuts the texts for itself, too.
        prompt_name: The teacher's prefix.
    """

    def __init__(
        self,
        texts: TextDraws,
        pairs: PairDraws,
        plan: Distillation,
        processor: Processor,
        teacher: Teacher,
        prompt_name: str,
    ) -> None:
        self._texts, self._pairs, self._plan = texts, pairs, plan
        self._processor, self._teacher, self._prompt_name = processor, teacher, prompt_name

    def __call__(self, seed: int) -> LessonBatch:
        """Draws texts and pairs, and cuts them into tokens for both models."""
        rng, plan = random.Random(seed), self._plan
        alone = [self._texts(rng).text for _ in range(plan.texts_a_step)]
        pairs = [self._pairs(rng) for _ in range(plan.pairs_a_step)]
        english_asks = rng.random() < 0.5
        asking, answering = ("query", "passage") if english_asks else ("passage", "query")
        said = [*alone, *(each.english for each in pairs), *(each.other for each in pairs)]
        roles = [rng.choice(("query", "passage")) for _ in alone] + [asking] * len(pairs) + [answering] * len(pairs)
        own = [
            self._processor.text(text, task=None, prompt_name=role, max_length=plan.longest).token_ids.tolist()
            for text, role in zip(said, roles, strict=True)
        ]
        theirs = self._teacher.cut(said, self._prompt_name)
        return LessonBatch(Tokens.of(own), Tokens.of(theirs), len(pairs), english_asks)
