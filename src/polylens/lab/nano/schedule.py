"""The types of a recipe: a run is a sequence of stages, and a stage a stretch of steps on pictures of one size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from polylens.errors import InputError
from polylens.lab.nano.distillation.plan import Distillation, Lessons

PAIR_KINDS = (*("translations",) * 8, "functions", "functions", "manuals")
"""Kinds of text pairs, each repeated as often as it is drawn: there are 27 natural languages and one of code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Blend:
    """A stage's final weights that are mixed into a later stage's final weights, to recover what was forgotten since.

    Wortsman et al. 2022, arXiv 2109.01903.
    """

    stage: str  # the earlier stage
    share: float  # of the mixture, from 0 to 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A stage of training, on pictures of one size."""

    name: str
    kind: Literal["lessons", "read", "crops", "pages"]  # texts alone, dense text to read, crops and pages to search
    height: int  # pixels, a multiple of a cell
    width: int  # pixels, a multiple of a cell
    font_size: tuple[float, float]  # pixels per em, smallest and largest; of a page, its body
    steps: int
    images: int  # per step; with 0, the stage learns from texts alone
    queries_per_image: int
    transcripts: int  # images whose words are also among the documents as a text
    texts: int  # per step, each with a query; all of a step in one language, out of all languages
    query_words: tuple[int, int]  # fewest and most per query
    learning_rate: float  # at the start of the stage
    final_learning_rate: float  # at its end; the rate falls along a cosine
    languages: tuple[str, ...]  # of the pictures; one listed twice is drawn twice as often. Texts are in all languages
    scans: float  # share of the pictures that look scanned
    documents: float  # share of the steps whose pictures are synthetic pages, with queries as people phrase them
    pictograms: float  # share of the steps whose pictures show things and flags, where the emoji font is installed
    pairs: float  # share of the steps on text pairs alone, such as a sentence and its translation
    pairs_a_step: int  # pairs per such step; a quarter as many of functions and passages, which are longer
    real: float = 0.0  # share of the pictures that show paragraphs of real pages, where their language has some
    lessons: float = 0.0  # share of the steps on the teacher's lessons
    pair_kinds: tuple[str, ...] = PAIR_KINDS  # all pairs of a step are of one kind
    task: str | None = None  # the task whose adapter alone is trained; None trains the model itself
    tower_learns: bool  # whether the vision tower is trained; frozen, a step costs a third
    blend: tuple[Blend, ...] = ()  # mixed into the stage's final weights, whose share is the rest of 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """The weight of each loss."""

    late: float  # MaxSim against in-batch negatives: what search ranks by
    dense: float  # the same for the dense vectors, Matryoshka
    grounding: float  # each query token against every visual token: more signal per step than one score per page
    reading: float  # the letters at points of each patch: teaches the tower shapes
    caption: float  # each picture against the detached vector of all its words; for models with two towers
    echo: float = 0.0  # 1 - cosine of a picture's dense vector and the detached one of its transcript
    alignment: float = 0.0  # 1 - cosine of each cell and the detached tokens of the transcript that are drawn there
    lesson: float = 0.0  # the losses of a step on lessons, as `Distillation` weighs them


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The whole configuration of a training run."""

    name: str
    family: str  # its name in the table of training kits
    model: Any  # the family's own configuration of a model
    images: Any  # the family's own configuration of pictures
    stages: tuple[Stage, ...]
    weights: Weights
    lessons: Lessons | None = None  # what the teacher is asked before the first step
    distillation: Distillation | None = None  # how the answers are learned
    tower_of: str | None = None  # a trained model whose vision tower the run begins with; its size must be the same
    late_temperature: float
    dense_temperature: float
    reading_blocks: int  # the number of first blocks of the vision tower from whose output letters are read
    dense_both_ways: bool  # whether the dense contrast also goes from documents to queries, as in CLIP
    grounding_temperature: float
    warmup_steps: int  # from zero, at the start of the run
    weight_decay: float
    gradient_clip: float  # largest norm
    seed: int
    checkpoint_every: int  # steps


def stage_at(recipe: Recipe, step: int) -> tuple[Stage, int]:
    """The stage of a step of the run, and the number of the step within that stage."""
    within = step
    for stage in recipe.stages:
        if within < stage.steps:
            return stage, within
        within -= stage.steps
    raise InputError(
        f"step must be at most {sum(stage.steps for stage in recipe.stages) - 1}, the last of the run, got {step}"
    )
