"""Fits the curves of a model's measure of match, and judges them on material that they were not fitted to.

Shapes: N pages of all searches together, F features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from polylens.index.ranking.match import GOOD, Asked, Background, Measure, features, measure_of, scores_of
from polylens.index.search import RANKINGS, By
from polylens.lab.match.asking import Case

Floats = npt.NDArray[np.float64]

TOP = 10
"""Pages of each search that count, for fitting and for judging: those that a person looks at."""

WEIGHED: dict[By, tuple[str, ...]] = {
    "fused": ("excess", "unread", "wordless", "words", "ahead", "length", "background"),
    "late": ("excess", "length", "background"),
    "dense": ("excess", "length", "background"),
    "text": ("words", "ahead", "length"),
}
"""The features that the curve of a ranking weighs."""

RIDGE = 1.0
"""Penalty of a standardised weight of 1, in units of the log-likelihood of one page."""

LARGE = 30
"""Pages of a library whose background is a usual one; in a smaller library, what is asked for is a part of it."""

BINS = 10


def fit(cases: Sequence[Case], *, with_usual: bool = True) -> dict[str, dict[str, Any]]:
    """The curves for each kind of question and each ranking, as `measure_of` reads them.

    Args:
        cases: Questions with their answers.
        with_usual: Whether the model's usual background counts. Without it, they are such as the general ones of
            `ranking.match`.
    """
    curves: dict[str, dict[str, Any]] = {}
    for asked in asked_in(cases):
        curves[asked] = {}
        for by in rankings_of(asked):
            ranked = [case.ranked(by) for case in cases if case.asked == asked]
            usual = _usual(ranked) if with_usual else None
            rows, right = _rows([case for case in ranked if len(case.right)], WEIGHED[by], usual)
            bias, weights = logistic(rows, right)
            named = {name: round(weight, 4) for name, weight in zip(WEIGHED[by], weights.tolist(), strict=True)}
            told = {} if usual is None else {"middle": round(usual.middle, 4), "spread": round(usual.spread, 4)}
            curves[asked][by] = {"bias": round(bias, 4), "weights": named, **told}
    return curves


def asked_in(cases: Iterable[Case]) -> list[Asked]:
    """The kinds of questions of some cases."""
    there = {case.asked for case in cases}
    return [asked for asked in get_args(Asked) if asked in there]


def rankings_of(asked: Asked) -> list[By]:
    """The rankings that such a question can have: a picture has no words."""
    return [by for by in RANKINGS if by != "text" or asked in ("words", "both")]


def logistic(rows: Floats, right: npt.NDArray[np.bool_], steps: int = 30) -> tuple[float, Floats]:
    """Logistic regression with a small ridge, by Newton's method (Hastie et al. 2009, section 4.4.1).

    Args:
        rows: `[N, F]`.
        right: `[N]`.
        steps: Of Newton's method; ten suffice.

    Returns:
        The bias and the weights, `[F]`.

    Example:
        >>> x = np.repeat([0.0, 1.0], 100)
        >>> bias, [weight] = logistic(x[:, None], np.arange(200) % 4 < 1 + 2 * x)
        >>> [round(float(1 / (1 + np.exp(-bias - weight * value))), 2) for value in (0, 1)]  # 1/4 and 3/4, but for it
        [0.26, 0.74]
    """
    mean, spread = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-9)
    scaled = np.column_stack([np.ones(len(rows)), (rows - mean) / spread])
    penalty = np.diag([1e-9, *[RIDGE] * rows.shape[1]])
    weights = np.zeros(scaled.shape[1])
    for _ in range(steps):
        probability = 1 / (1 + np.exp(-np.clip(scaled @ weights, -30, 30)))
        gradient = scaled.T @ (right - probability) - penalty @ weights
        curvature = (scaled * (probability * (1 - probability))[:, None]).T @ scaled + penalty
        weights += np.linalg.solve(curvature, gradient)
    own = weights[1:] / spread
    return float(weights[0] - own @ mean), own


def _usual(ranked: Sequence[Case]) -> Background | None:
    """The usual background of a ranking: the mean over the larger libraries."""
    found = [Background.of(scores, None) for case in ranked if len(scores := scores_of(case.evidence)) >= LARGE]
    if not found:
        return None
    return Background(*np.mean([(each.middle, each.spread) for each in found], axis=0).tolist())


def _rows(
    ranked: Sequence[Case], names: Sequence[str], usual: Background | None
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The features `[N, F]` of the first pages of each search, and which pages are right, `[N]`."""
    found = [features(case.evidence, usual) for case in ranked]
    rows = [np.stack([each[name][:TOP] for name in names], axis=1) for each in found]
    return np.concatenate(rows).astype(np.float64), np.concatenate([case.right[:TOP] for case in ranked])


@dataclass(frozen=True, slots=True)
class Bin:
    """Pages whose match lies between two values."""

    low: float
    high: float
    pages: int
    said: float
    """The mean match."""
    right: float
    """The share of pages that are right."""


@dataclass(frozen=True, slots=True)
class Judged:
    """How well a measure keeps its word on the first pages of some searches, for one kind of question and ranking."""

    asked: Asked
    by: By
    answered: int
    """Questions with an answer in the library."""
    unanswered: int
    bins: tuple[Bin, ...]
    precision: float
    """Share of right pages among those with a match of at least `GOOD`."""
    recall: float
    """Share of the answered questions for which a right page has such a match."""
    found: float
    """The same without asking for a match: a right page is among the first."""
    rightly_empty: float
    """Share of the questions without an answer for which no page has such a match."""

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of what was said from what is right, over the pages."""
        total = sum(each.pages for each in self.bins)
        return sum(each.pages * abs(each.said - each.right) for each in self.bins) / max(1, total)


def judge(cases: Sequence[Case], calibration: Mapping[str, Any] | None) -> list[Judged]:
    """Judges a calibration, or the fallback, on cases that it was not fitted to."""
    judged = []
    for asked in asked_in(cases):
        measure = measure_of(calibration, asked)
        for by in rankings_of(asked):
            judged.append(_judge(asked, by, [case.ranked(by) for case in cases if case.asked == asked], measure))
    return judged


def _judge(asked: Asked, by: By, ranked: Sequence[Case], measure: Measure) -> Judged:
    matches = [measure(case.evidence)[:TOP] for case in ranked]
    rights = [case.right[:TOP] for case in ranked]
    every, right = np.concatenate(matches), np.concatenate(rights)
    good = every >= GOOD
    answered = [(match, own) for match, own, case in zip(matches, rights, ranked, strict=True) if case.is_answered]
    empty = [not (match >= GOOD).any() for match, case in zip(matches, ranked, strict=True) if not case.is_answered]
    return Judged(
        asked,
        by,
        len(answered),
        len(empty),
        tuple(_bins(every, right)),
        precision=_mean(right[good]),
        recall=_mean([((match >= GOOD) & own).any() for match, own in answered]),
        found=_mean([own.any() for _, own in answered]),
        rightly_empty=_mean(empty),
    )


def _bins(matches: npt.NDArray[Any], right: npt.NDArray[np.bool_]) -> Iterable[Bin]:
    places = np.minimum((matches * BINS).astype(int), BINS - 1)
    for place in range(BINS):
        inside = places == place
        yield Bin(place / BINS, (place + 1) / BINS, int(inside.sum()), _mean(matches[inside]), _mean(right[inside]))


def _mean(values: Any) -> float:
    """The mean; 0 of nothing."""
    return float(np.mean(values)) if len(values) else 0.0
