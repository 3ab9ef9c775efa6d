"""The plan of the text side: the lessons, and the student with its training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from polylens.lab.corpora.catalogues import LANGUAGES
from polylens.lab.nano.nano_recipe import MODEL


@dataclass(frozen=True, kw_only=True, slots=True)
class Lessons:
    """Texts and aligned pairs with the teacher's vectors of them; several students may share them."""

    shares: dict[str, float]  # source of `polylens.lab.corpora.sources` -> how often a text is drawn from it
    pair_shares: dict[str, float]  # the same for pairs
    languages: tuple[str, ...] | None  # None is all that a source has here
    prompt_name: str  # the teacher's prefix
    shards: int  # files of texts
    texts_a_shard: int
    pairs_a_shard: int
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentPlan:
    """A student and its training."""

    name: str
    model: Any  # nano's configuration, in other sizes
    longest: int  # tokens per text; a longer one is cut
    texts_a_step: int  # texts alone, of like length
    pairs_a_step: int  # aligned pairs, of like length
    steps: int
    warmup_steps: int
    learning_rate: float  # of matrices; it falls to zero along a cosine. Tables and norms have 0.3 of it
    cosine_weight: float  # of 1 - cosine; the divergence of the batch's similarities has the weight 1
    temperature: float  # of those similarities
    late_temperature: float  # of MaxSim
    own_share: (
        float  # of a pair's own text in the distribution that its similarities should have; the teacher's is the rest
    )
    weight_decay: float
    gradient_clip: float  # largest norm
    seed: int
    checkpoint_every: int  # steps


def lessons(shards: int = 96, languages: tuple[str, ...] | None = ("en", *LANGUAGES)) -> Lessons:
    """The lessons: eight thousand texts per shard, half of them in pairs.

    Args:
        shards: Number of shards.
        languages: None is all that a source has here.
    """
    return Lessons(
        shares={"words": 3.0, "help": 2.0, "wordnet": 1.0, "catalogues": 1.0, "stories": 1.0, "emoji": 0.5},
        pair_shares={
            **{"dictionaries": 4.0, "stories": 2.0, "help": 2.0, "catalogues": 2.0, "wordnet": 1.0, "emoji": 1.0},
        },
        languages=languages,
        prompt_name="query",
        shards=shards,
        texts_a_shard=4096,
        pairs_a_shard=2048,
        seed=1,
    )


def student(vocab_size: int, width: int, num_layers: int, steps: int) -> StudentPlan:
    """A model of nano's form.

    Args:
        vocab_size: Tokens.
        width: Numbers per token, a multiple of 128.
        num_layers: Number of blocks.
        steps: Number of updates.
    """
    decoder = replace(
        MODEL.decoder,
        width=width,
        num_layers=num_layers,
        num_heads=width // 64,
        num_kv_heads=width // 128 if width % 256 == 0 else width // 192,
        mlp_width=width * 8 // 3 // 64 * 64,
        vocab_size=vocab_size,
    )
    model = replace(
        MODEL,
        vision=replace(MODEL.vision, output_width=width),
        decoder=decoder,
        matryoshka_dims=(width // 4, width // 2, width),
    )
    return StudentPlan(
        name=f"{vocab_size} x {width} x {num_layers}",
        model=model,
        longest=96,
        texts_a_step=192,
        pairs_a_step=128,
        steps=steps,
        warmup_steps=100,
        learning_rate=4e-3,
        cosine_weight=10.0,
        temperature=0.05,
        late_temperature=0.03,
        own_share=0.5,
        weight_decay=0.01,
        gradient_clip=1.0,
        seed=1,
        checkpoint_every=250,
    )
