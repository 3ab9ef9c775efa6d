"""The plan of the text side: the lessons, and what a step on them does."""

from __future__ import annotations

from dataclasses import dataclass

from polylens.lab.corpora.catalogues import LANGUAGES


@dataclass(frozen=True, kw_only=True, slots=True)
class Lessons:
    """What is drawn for the teacher to answer; each step draws anew."""

    shares: dict[str, float]  # source of `polylens.lab.corpora.sources` -> how often a text is drawn from it
    pair_shares: dict[str, float]  # the same for pairs
    languages: tuple[str, ...] | None  # None is all that a source has here
    prompt_name: str  # the teacher's prefix
    texts_to_measure: int  # texts, and half as many pairs, that the targets are computed from
    texts_to_read: int  # texts, and half as many pairs, that the tokenizer learns from
    table: TableLessons | None = None  # None leaves each row with what its token means by itself


@dataclass(frozen=True, kw_only=True, slots=True)
class TableLessons:
    """How the table of tokens is taught before the first step, as a model without the decoder's blocks."""

    steps: int
    pairs_a_step: int  # aligned pairs, drawn anew
    texts_a_step: int  # of those that the targets are computed from, whose answers are kept
    longest: int  # tokens per text; a longer one is cut
    learning_rate: float  # of rows of length 1, at the beginning; it falls to zero along a cosine
    temperature: float  # of the contrast between pairs
    rare: float  # share of all tokens at which a token begins with half of its weight
    checkpoint_every: int  # steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Distillation:
    """What a step on lessons takes, and how its losses are weighed."""

    longest: int  # tokens per text; a longer one is cut
    texts_a_step: int
    pairs_a_step: int  # aligned pairs
    cosine_weight: float  # of 1 - cosine; the divergence of the batch's similarities has the weight 1
    temperature: float  # of those similarities
    late_temperature: float  # of MaxSim
    own_share: (
        float  # of a pair's own text in the distribution that its similarities should have; the teacher's is the rest
    )


def lessons(languages: tuple[str, ...] | None = ("en", *LANGUAGES)) -> Lessons:
    """The lessons: words alone and in runs, what people say, help, and pairs of like meaning.

    Args:
        languages: None is all that a source has here.
    """
    return Lessons(
        shares={
            "words": 3.0,
            "glosses": 2.0,
            "stories": 2.0,
            "help": 1.5,
            "wordnet": 1.5,
            "catalogues": 1.0,
            "emoji": 0.5,
            "passages": 0.15,
        },
        pair_shares={
            "dictionaries": 4.0,
            "stories": 2.5,
            "help": 2.0,
            "catalogues": 1.5,
            "wordnet": 1.5,
            "emoji": 1.0,
            "functions": 0.6,
        },
        languages=languages,
        prompt_name="query",
        texts_to_measure=65_536,
        texts_to_read=400_000,
        table=TableLessons(
            steps=400,
            pairs_a_step=1024,
            texts_a_step=1024,
            longest=64,
            learning_rate=3e-3,
            temperature=0.05,
            rare=1e-3,
            checkpoint_every=50,
        ),
    )
