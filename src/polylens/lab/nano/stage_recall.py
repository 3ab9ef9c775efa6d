"""Recall of a run from random weights on held-out pictures that are drawn like those of its stage."""

from __future__ import annotations

import random
from functools import partial
from itertools import islice

import torch

from polylens.errors import InputError
from polylens.lab.nano.data.batches import draw
from polylens.lab.nano.data.examples import picture_item
from polylens.lab.nano.data.unseen import with_queries
from polylens.lab.nano.kits.kit import PixelProcessor
from polylens.lab.nano.schedule import Stage
from polylens.lab.nano.trainee import Trainee
from polylens.lab.synthetic.fonts import faces
from polylens.lab.synthetic.rendered import Rendered
from polylens.models.protocol import Item
from polylens.runtime.devices import mixed_precision
from polylens.train.caching import embed_cached
from polylens.train.held_out import found_first, recall_at_1
from polylens.train.joint import as_vectors

PICTURES = 24  # of each stage


class StageRecall:
    """Share of held-out queries that find their own picture first; the pictures are drawn once per stage.

    Args:
        seed: Of the run.
        processor: Of the model that is trained.
    """

    def __init__(self, seed: int, processor: PixelProcessor) -> None:
        self._seed, self._processor = seed, processor
        self._stage: Stage | None = None
        self._drawn: tuple[list[Item], list[Item]] = ([], [])

    def __call__(self, trainee: Trainee, stage: Stage) -> dict[str, float]:
        """The recall by each kind of vectors that the model has.

        Returns:
            Empty in a stage that reads, has no pictures or trains an adapter, and where no held-out font covers any
            of its languages.
        """
        if stage != self._stage:
            self._stage, self._drawn = stage, self._draw(stage)
        queries, pictures = self._drawn
        if not pictures:
            return {}
        parts = [pictures[start : start + stage.images] for start in range(0, len(pictures), stage.images)]
        mixed = partial(mixed_precision, trainee.reader.weight.device)
        with torch.compiler.set_stance("force_eager"):  # compiling what needs no gradients would take longer
            asked, shown = (embed_cached(trainee.model, side, mixed) for side in ([queries], parts))
        keys = [str(number) for number in range(len(queries))]
        if len(asked.leaves) == 1:
            found = {"recall@1 dense": found_first(asked.leaves[0] @ shown.leaves[0].T, keys)}
        else:
            found = recall_at_1(as_vectors(asked), as_vectors(shown), keys)
        return {f"held-out {name}": share for name, share in found.items()}

    def _draw(self, stage: Stage) -> tuple[list[Item], list[Item]]:
        """Held-out queries, and the picture of each."""
        if stage.kind == "read" or not stage.images or stage.task:
            return [], []
        languages = [language for language in dict.fromkeys(stage.languages) if _has_unseen_font(language)]
        if not languages:
            return [], []

        def of(rng: random.Random, language: str) -> Rendered:
            return draw(rng, stage, (language,), "held_out")

        drawn = list(islice(with_queries(of, languages, f"{self._seed}/{stage.name}"), PICTURES))
        text = partial(self._processor.text, task=None, max_length=None, prompt_name="query")
        return [text(query) for _, query in drawn], [picture_item(each, self._processor) for each, _ in drawn]


def _has_unseen_font(language: str) -> bool:
    try:
        return bool(faces(language, "held_out"))
    except InputError:
        return False
