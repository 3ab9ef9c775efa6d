"""jina-clip-v2's three stages as a recipe.

jina-clip-v2 (arXiv 2412.08802), section 3; jina_clip_v2 facts, section 2.1. That paper prints no rates, batches and
steps. Those here are of jina-clip-v1 (arXiv 2405.20204, table 2), whose three stages are the same, or as stated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt

from polylens.train.settings import RunSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipPart(RunSettings):
    """A run: a stage, or the part of a stage that has one size of pictures. `name` is that of its folder.

    `model` is empty in every part but the first, which stands for the model of the part before. A batch is as many text
    pairs as captions.
    """

    texts: tuple[str, ...]  # files of text pairs
    captions: tuple[str, ...]  # files of captions and their images
    hard_negatives: int  # most per text pair; where it is not 0, each has at least one
    image_size: int  # pixels per side
    query_instruction: bool  # whether the query of a text pair follows the model's instruction
    text_temperature: float  # divides the cosines of texts; constant
    image_temperature: float | None  # initial temperature of images, which is trained; None is the model's own
    narrowest: float  # of the model's Matryoshka widths that are trained, as a share of the full width
    steps_before: int  # of the same stage, in the part before: the rate goes on falling
    steps_of_stage: int
    betas: tuple[float, float]  # AdamW's
    epsilon: float  # AdamW's
    saved_dtype: str  # of the model that is written


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRecipe:
    """A whole training in its stages."""

    name: str
    parts: tuple[ClipPart, ...]  # in order; each starts from the model of the one before

    @property
    def steps(self) -> int:
        """The steps of all parts."""
        return sum(part.steps for part in self.parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Published:
    """A column of jina-clip-v1's table of settings."""

    steps: int
    batch_size: int
    learning_rate: float


SHORT = _Published(steps=60_000, batch_size=32_768, learning_rate=1e-4)
LONG = _Published(steps=1_500, batch_size=8_192, learning_rate=5e-6)
HARD = _Published(steps=7_000, batch_size=1_024, learning_rate=1e-6)

FINER = 0.2
"""Share of the first stage's steps at 384 pixels. The paper says "the last part"; when a fifth is left the rate has
fallen to a tenth, which suits interpolated positions."""


def jina_clip_v2(
    model: str,
    texts: Sequence[str],
    captions: Sequence[str],
    long_captions: Sequence[str],
    triplets: Sequence[str],
    *,
    evaluation: str | None = None,
    image_size: int = 512,
    steps: int = SHORT.steps,
    batch_size: int = SHORT.batch_size,
    learning_rate: float | None = None,
    part_tokens: int = 8_192,
    gradient_checkpointing: bool | None = None,
) -> ClipRecipe:
    """jina-clip-v2's three stages: short captions, then long ones, then long ones and texts with hard negatives.

    Each step takes a batch of text pairs and one of captions, with a loss for each. The defaults are v1's; what is set
    is for the first stage, and the other stages keep v1's proportion to it.

    Args:
        model: A checkpoint of the family; all of it is trained. Its adapter is merged when it is loaded.
        texts: Files of text pairs, for stages 1 and 2.
        captions: Files of short captions and their images, for stage 1.
        long_captions: Files of long ones, for stages 2 and 3.
        triplets: Files of text pairs with hard negatives, for stage 3.
        evaluation: A file of held-out pairs.
        image_size: Pixels per side in the last stage, 512 in the paper; 384/512 and 224/512 of it before, as there.
        steps: Steps of stage 1.
        batch_size: Of every stage where v1's is not smaller. Gradients are cached, so memory does not limit it.
        learning_rate: The peak in stage 1. None is v1's, scaled by the square root of the batch where that is smaller
            than v1's, which keeps the noise of Adam's steps (Malladi et al. 2022, arXiv 2205.10782).
        part_tokens: Tokens per part of a batch; one part's activations are in memory at once.
        gradient_checkpointing: Whether layers are computed twice to save memory; None goes by size and device.
    """
    given = _Given(evaluation, image_size, steps, batch_size, learning_rate, part_tokens, gradient_checkpointing)
    finer = round(steps * FINER) if steps > 1 else 0
    short = partial(_part, given, SHORT, texts=tuple(texts), captions=tuple(captions), max_length=77)
    long = {"captions": tuple(long_captions), "max_length": 512}
    first = short("1-short", 224, model=model, image_temperature=0.07, steps=steps - finer)
    second = short("1-short-finer", 384, steps=finer, steps_before=steps - finer)
    return ClipRecipe(
        name="jina-clip-v2",
        parts=(
            first,
            *([second] if finer else []),
            _part(given, LONG, "2-long", 384, texts=tuple(texts), **long),
            _part(
                given,
                HARD,
                "3-hard",
                512,
                texts=tuple(triplets),
                **long,
                hard_negatives=7,  # as published
                query_instruction=True,  # not published; triplets are searches, which the finished model gets too
                saved_dtype="float16",  # as published
            ),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Given:
    """A caller's settings: for the first stage, and for the memory of all."""

    evaluation: str | None
    image_size: int
    steps: int
    batch_size: int
    learning_rate: float | None
    part_tokens: int
    gradient_checkpointing: bool | None


def _part(given: _Given, stage: _Published, name: str, pixels: int, **settings: object) -> ClipPart:
    """A part of a stage, in the published proportions; `pixels` is its side where the last stage has 512."""
    size = min(given.batch_size, stage.batch_size)
    if given.learning_rate is None:
        rate = stage.learning_rate * sqrt(size / stage.batch_size)
    else:
        rate = given.learning_rate * stage.learning_rate / SHORT.learning_rate
    total = max(1, round(given.steps * stage.steps / SHORT.steps))
    plain = replace(
        _PLAIN,
        name=name,
        evaluation=given.evaluation,
        image_size=given.image_size * pixels // 512,
        steps=total,
        steps_of_stage=total,
        batch_size=size,
        learning_rate=rate,
        warmup_steps=max(1, total // 20),
        part_tokens=given.part_tokens,
        gradient_checkpointing=given.gradient_checkpointing,
    )
    return replace(plain, **settings)  # type: ignore[arg-type]  # the fields' own types, checked where they are used


_PLAIN = ClipPart(
    name="",
    model="",
    texts=(),
    captions=(),
    evaluation=None,
    hard_negatives=0,
    max_length=512,
    image_size=512,
    query_instruction=False,  # not published; at 77 tokens a text has no room for one
    text_temperature=0.05,  # v1's, section 3
    image_temperature=None,  # stage 1 has open_clip's 0.07, which the published configuration states as 2.6592
    narrowest=1 / 16,  # 64 of 1024: the paper trains no narrower one, though the configuration lists 32
    steps=0,
    steps_before=0,
    steps_of_stage=0,
    batch_size=0,
    learning_rate=0.0,
    warmup_steps=1,
    weight_decay=0.05,  # EVA-CLIP's, whose tower this is (arXiv 2303.15389)
    betas=(0.9, 0.98),  # CLIP's for transformers of images (arXiv 2103.00020, table 18), and EVA-CLIP's
    epsilon=1e-6,  # likewise
    gradient_clip=1.0,  # not published; a guard against a single bad batch
    part_tokens=0,
    gradient_checkpointing=None,
    dtype=None,
    saved_dtype="float32",  # the next part starts where this one ended
    seed=20261124,
    checkpoint_every=50,
)
