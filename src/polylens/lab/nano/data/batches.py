"""The batch of each step of a recipe, which depends on the number of the step alone."""

from __future__ import annotations

import random
from functools import partial

import torch

from polylens.lab.corpora.split import Split
from polylens.lab.nano.data import real_text
from polylens.lab.nano.data.documents import make_document_batch
from polylens.lab.nano.data.examples import ImageBatch, make_batch, make_reading_batch
from polylens.lab.nano.data.pictograms import make_pictogram_batch
from polylens.lab.nano.data.text_pairs import make_pair_batch
from polylens.lab.nano.distillation.lesson_batches import LessonBatch, LessonBatches
from polylens.lab.nano.kits.kit import PixelProcessor
from polylens.lab.nano.kits.table import kit_of
from polylens.lab.nano.schedule import Recipe, Stage, stage_at
from polylens.lab.synthetic import pictograms
from polylens.lab.synthetic.crops import render_crop, render_page
from polylens.lab.synthetic.rendered import Rendered


class Batches(torch.utils.data.Dataset[ImageBatch | LessonBatch]):
    """Step -> batch. A process of its own makes batches ahead of the training.

    Args:
        recipe: The recipe.
        processor: Of the model that is trained.
        lessons: Where the recipe has lessons, their batches.
    """

    def __init__(self, recipe: Recipe, processor: PixelProcessor, lessons: LessonBatches | None = None) -> None:
        self.recipe, self.kit = recipe, kit_of(recipe)
        self.processor, self.lessons = processor, lessons

    def __getitem__(self, step: int) -> ImageBatch | LessonBatch:
        stage, _ = stage_at(self.recipe, step)
        seed = self.recipe.seed * 1_000_003 + step
        rng = random.Random(seed)
        if stage.kind == "lessons" or (stage.lessons and random.Random(f"{seed}/lessons").random() < stage.lessons):
            assert self.lessons is not None
            return self.lessons(seed)
        if stage.kind == "read":
            render = partial(draw, stage=stage, languages=stage.languages)
            return make_reading_batch(seed, kit=self.kit, processor=self.processor, render=render, images=stage.images)
        # one language per batch, or telling languages apart would win most of the contrast
        render = partial(draw, stage=stage, languages=(rng.choice(stage.languages),))
        share = rng.random()
        if share < stage.pairs:
            return make_pair_batch(
                seed, processor=self.processor, count=stage.pairs_a_step, kinds=stage.pair_kinds, task=stage.task
            )
        share -= stage.pairs
        if share < stage.pictograms:
            if pictograms.can_be_drawn():
                return make_pictogram_batch(seed, processor=self.processor, texts=stage.texts, words=stage.query_words)
        elif share < stage.pictograms + stage.documents:
            return make_document_batch(
                seed,
                kit=self.kit,
                processor=self.processor,
                images=stage.images,
                queries_per_image=stage.queries_per_image,
                texts=stage.texts,
                words=stage.query_words,
            )
        return make_batch(
            seed,
            kit=self.kit,
            processor=self.processor,
            render=render,
            images=stage.images,
            queries_per_image=stage.queries_per_image,
            transcripts=stage.transcripts,
            texts=stage.texts,
            words=stage.query_words,
        )


def draw(rng: random.Random, stage: Stage, languages: tuple[str, ...], split: Split = "train") -> Rendered:
    """Draws one picture of a stage.

    Args:
        rng: Decides everything.
        stage: Its size and kind of pictures.
        languages: One of them is drawn.
        split: Of words and fonts: "train" or "held_out".
    """
    language = rng.choice(languages)
    smallest, largest = stage.font_size
    is_real = stage.real > 0 and split == "train" and rng.random() < stage.real and language in real_text.languages()
    render = partial(
        render_page if stage.kind == "pages" else partial(render_crop, dense=stage.kind == "read"),
        rng,
        width=stage.width,
        height=stage.height,
        split=split,
        language=language,
        font_size=round(smallest * (largest / smallest) ** rng.random(), 1),
        scan=rng.random() < stage.scans,
    )
    return real_text.render_real(rng, language, lambda words: render(words=words)) if is_real else render()
