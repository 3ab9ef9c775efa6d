"""The plan of the text side: the lessons, and what a step on them does."""

from __future__ import annotations

from dataclasses import dataclass

from polylens.lab.corpora.catalogues import LANGUAGES


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
class Distillation:
    """What a step on lessons takes, and how its losses are weighed."""

    longest: int  # tokens per text; a longer one is cut
    texts_a_step: int  # texts alone, of like length
    pairs_a_step: int  # aligned pairs, of like length
    cosine_weight: float  # of 1 - cosine; the divergence of the batch's similarities has the weight 1
    temperature: float  # of those similarities
    late_temperature: float  # of MaxSim
    own_share: (
        float  # of a pair's own text in the distribution that its similarities should have; the teacher's is the rest
    )


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
