"""The measure of match: how likely it is that a person who asked this wanted this page, from 0 to 1.

The scores of the stages rank the pages of one search. They do not say whether any of them is good: a late score of 0.6
is much for one query and little for another. But a search has scored many pages that have nothing to do with its query,
so it knows what chance gives. A page's score is measured against that background, and a curve that was fitted to
held-out queries, half of which no page of the library answers, turns the distance into a probability.

A curve is data that belongs to a model (`match.json` in its folder; `polylens eval match` makes it), and there is one
for each ranking and for each kind of question. A model without them gets general ones.

Shapes: N pages that a search ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from polylens.errors import CheckpointError
from polylens.index.ranking.fusion import NEUTRAL
from polylens.types import FloatArray

Asked = Literal["words", "picture", "both", "like"]
"""What a query is: words, a picture, words and a picture, or a page of the index whose like is looked for."""

GOOD = 0.5
"""The match from which on a page is more likely wanted than not."""

USUAL_PAGES = 8
"""Pages whose weight the usual background of a model has beside that of a library: of a few pages alone nobody can tell
what chance gives."""

MOST_WORDS = 12
"""Words of a query that count as its length: the curves were fitted to queries of so many at most."""

LEAST_SPREAD = 0.005
"""Of cosines, so that pages that are all alike do not stand out by nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the stages say about the pages that a search ranks."""

    by: str
    """What ranks: "fused", "late", "dense" or "text"."""
    late: FloatArray
    """MaxSim per query token, `[N]`; `[0]` where a stage ranks alone, before late interaction."""
    dense: FloatArray
    """Cosines of the dense vectors, `[N]`; NaN where they did not find the page."""
    text: FloatArray
    """The page's share of the query's words, `[N]`; see `fusion.share`."""
    has_text: npt.NDArray[np.bool_]
    """Whether the page has words at all, `[N]`."""
    num_words: int
    """Words of the query."""
    drawn: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    """Late scores of pages at random, `[D]`, where the pages that are ranked were chosen by theirs; else `[0]`: then
    those of the pages that are ranked tell what chance gives."""
    num_looked: int = 0
    """Pages that were looked among where `drawn` is not empty."""


Measure = Callable[[Evidence], FloatArray]
"""Gives each page its match, `[N]`."""


@dataclass(frozen=True, slots=True)
class Background:
    """What chance gives: the middle of the scores of pages that have nothing to do with a query, and their spread."""

    middle: float
    spread: float

    @classmethod
    def of(cls, scores: FloatArray, usual: Background | None) -> Background:
        """The background of a search: its median score, and half the distance from the 16th to the 84th percentile,
        which for a normal distribution is the standard deviation. Both hardly notice a few pages that are right.

        Args:
            scores: Finite scores, `[N]`, at least one.
            usual: The usual background of the model, which counts as `USUAL_PAGES` pages; None is not known.
        """
        low, middle, high = np.percentile(scores, (16, 50, 84)).tolist()
        spread = max(LEAST_SPREAD, (high - low) / 2)
        if usual is None:
            return cls(middle, spread)
        share = len(scores) / (len(scores) + USUAL_PAGES)
        return cls(share * middle + (1 - share) * usual.middle, share * spread + (1 - share) * usual.spread)


def scores_of(evidence: Evidence) -> FloatArray:
    """The scores that have a background: the late ones, the cosines where those rank, none where only words do.

    Returns:
        Finite scores, `[N]` or `[0]`. A page without any vector has the least cosine, -1.
    """
    if evidence.by == "text":
        return np.zeros(0, np.float32)
    scores = evidence.dense if evidence.by == "dense" else evidence.late
    return np.nan_to_num(scores, nan=-1.0, neginf=-1.0).astype(np.float32)


def best_of(num: int) -> float:
    """How many standard deviations the largest of so many normally distributed numbers lies above their mean.

    Blom 1958, "Statistical Estimates and Transformed Beta-Variables"; within 0.02 of the expected value.

    Example:
        >>> best_of(1), round(best_of(100), 2)
        (0.0, 2.5)
    """
    return NormalDist().inv_cdf((num - 0.375) / (num + 0.25))


def features(evidence: Evidence, usual: Background | None = None) -> dict[str, FloatArray]:
    """What a curve can weigh, `[N]` each.

    Args:
        evidence: What the stages say.
        usual: The usual background of the model; None where it is not known.

    Returns:
        * `excess`: spreads by which the late score (the cosine, where the dense vectors rank) lies above the best of as
          many pages that have nothing to do with the query. Without a usual background it is the nearer to 0 the fewer
          pages there are.
        * `unread`: the same for a page without text, and 0 for the others.
        * `wordless`: 1 for a page without text.
        * `words`: the page's share of the query's words.
        * `ahead`: that share, minus 0.9 of the largest of any page; 0 for a page without text.
        * `length`: the logarithm of 1 and the number of words, of which `MOST_WORDS` count.
        * `background`: by how much the background of this search lies above the usual one, at most two spreads; 0 where
          that is not known.
    """
    scores = scores_of(evidence)
    has_text = evidence.has_text.astype(np.float32)
    best = float(evidence.text.max(initial=0))
    found = {
        "wordless": 1 - has_text,
        "words": evidence.text,
        "ahead": has_text * (evidence.text - np.float32(NEUTRAL * best)),
        "length": np.full(len(has_text), math.log1p(min(evidence.num_words, MOST_WORDS)), np.float32),
    }
    if len(scores):
        is_drawn = evidence.by != "dense" and len(evidence.drawn) > 0
        chance = evidence.drawn if is_drawn else scores
        background = Background.of(chance, usual)
        best_by_chance = background.middle + background.spread * best_of(
            evidence.num_looked if is_drawn else len(scores)
        )
        known = 1.0 if usual is not None else len(chance) / (len(chance) + USUAL_PAGES)
        found["excess"] = (known * (scores - best_by_chance) / background.spread).astype(np.float32)
        found["unread"] = found["excess"] * (1 - has_text)
        above = 0.0 if usual is None else background.middle - usual.middle
        limit = 0.0 if usual is None else 2 * usual.spread
        found["background"] = np.full(len(has_text), np.clip(above, -limit, limit), np.float32)
    return found


@dataclass(frozen=True, slots=True)
class Curve:
    """A logistic curve over features, for one ranking."""

    bias: float
    weights: Mapping[str, float]
    """By the names of `features`; a feature that a search does not have counts nothing."""
    usual: Background | None = None

    def __call__(self, evidence: Evidence) -> FloatArray:
        """Probabilities, `[N]`."""
        found = features(evidence, self.usual)
        logits = np.full(len(evidence.text), self.bias, np.float32)
        for name, weight in self.weights.items():
            logits += np.float32(weight) * found.get(name, np.float32(0))
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)

    @classmethod
    def read(cls, told: Any) -> Curve:
        """A curve from JSON.

        Raises:
            CheckpointError: It is none.
        """
        try:
            usual = Background(float(told["middle"]), float(told["spread"])) if "middle" in told else None
            weights = {str(name): float(weight) for name, weight in told["weights"].items()}
            return cls(float(told["bias"]), weights, usual)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"a curve of match.json has bias, weights and maybe middle and spread, got {str(told)[:100]} "
                f"({error!r}); `polylens eval match` makes the file anew"
            ) from error


_BY_LOOKS = {
    "fused": Curve(-1.4, {"excess": 2.5}),
    "late": Curve(-1.4, {"excess": 2.5}),
    "dense": Curve(-2.1, {"excess": 1.6}),
}

_FALLBACK: dict[Asked, Mapping[str, Curve]] = {
    "words": {
        "fused": Curve(
            -6.7, {"excess": 1.0, "unread": 2.2, "wordless": 2.3, "words": 8.3, "ahead": 14.5, "length": 1.7}
        ),
        "late": Curve(-3.4, {"excess": 2.7, "length": 0.9}),
        "dense": Curve(-2.5, {"excess": 2.1, "length": 0.3}),
        "text": Curve(-12.6, {"words": 12.3, "ahead": 16.2, "length": 3.9}),
    },
    "picture": _BY_LOOKS,
    "both": {
        "fused": Curve(
            -2.6, {"excess": 1.6, "unread": 1.5, "wordless": 0.8, "words": 4.2, "ahead": 5.1, "length": 0.3}
        ),
        "late": Curve(-1.2, {"excess": 2.8}),
        "dense": Curve(-1.9, {"excess": 1.7}),
        "text": Curve(-10.6, {"words": 11.2, "ahead": 5.0, "length": 2.6}),
    },
    "like": _BY_LOOKS,
}
"""Curves for a model that has none of its own: how far a page stands out from its library, whatever the scores are, and
which words it has. They were fitted to nano's scores, and to those of no other model (docs/log.md)."""


def measure_of(calibration: Mapping[str, Any] | None, asked: Asked) -> Measure:
    """The measure of match for a kind of question.

    Args:
        calibration: The model's, from `match.json`; None where it has none.
        asked: What the query is.

    Returns:
        A measure that takes the model's own curve where there is one for the ranking, and a general one where not.

    Raises:
        CheckpointError: The calibration is broken.
    """
    told = {} if calibration is None else calibration.get("curves", {}).get(asked, {})
    curves = {**_FALLBACK[asked], **{by: Curve.read(each) for by, each in told.items()}}
    return lambda evidence: curves[evidence.by](evidence)
