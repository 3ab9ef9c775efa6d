"""Retrieval metrics and their confidence intervals.

Shapes: Q queries, D documents. A query may have several right documents; each is as right as the others. Where scores
are equal, wrong documents are ranked first: a model that scores everything alike finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
Relevance = npt.NDArray[np.bool_]
PerQuery = npt.NDArray[np.float64]
NUM_DRAWS = 2000  # of a bootstrap


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and where it would lie in 95 of 100 such experiments."""

    mean: float
    low: float
    high: float


def ndcg(scores: Scores, relevant: Relevance, k: int) -> PerQuery:
    """Normalised discounted cumulative gain of each query, `[Q]`, between 0 and 1.

    Järvelin & Kekäläinen 2002, https://doi.org/10.1145/582415.582418, with gains of 0 and 1.

    Args:
        scores: `[Q, D]`, higher is better.
        relevant: `[Q, D]`, at least one a query.
        k: How many results count.

    Example:
        >>> ndcg(np.array([[3.0, 2.0, 1.0]]), np.array([[False, True, False]]), k=5).round(3)
        array([0.631])
    """
    discounts = _discounts(k, relevant.shape[1])
    gains = _ranked(scores, relevant)[:, : len(discounts)] @ discounts
    return gains / _ideal(relevant, discounts)


def recall(scores: Scores, relevant: Relevance, k: int) -> PerQuery:
    """Share of its right documents that each query has among its first `k`, `[Q]`. Arguments are those of `ndcg`.

    Example:
        >>> recall(np.array([[3.0, 2.0, 1.0]]), np.array([[True, False, True]]), k=2)
        array([0.5])
    """
    return _ranked(scores, relevant)[:, :k].sum(axis=1) / relevant.sum(axis=1)


def chance_ndcg(relevant: Relevance, k: int) -> float:
    """What `ndcg` of a random order is on average."""
    discounts = _discounts(k, relevant.shape[1])
    expected = relevant.mean(axis=1) * discounts.sum()
    return float((expected / _ideal(relevant, discounts)).mean())


def bootstrap(groups: Sequence[PerQuery], clusters: Sequence[npt.NDArray[np.int64]], *, seed: int = 0) -> Estimate:
    """Mean over groups of the mean within each, with a 95 % interval by the percentile bootstrap (Efron 1979).

    Queries about one page succeed or fail together, so pages are drawn anew and not queries.

    Args:
        groups: Values of the queries of each group, such as a task.
        clusters: For each value of each group, the number of the page it is about.
        seed: Of the 2,000 draws.
    """
    return _interval(_mean(groups), _drawn_means(groups, clusters, seed))


def bootstrap_ratio(
    groups: Sequence[PerQuery],
    others: Sequence[PerQuery],
    clusters: Sequence[npt.NDArray[np.int64]],
    *,
    seed: int = 0,
) -> Estimate:
    """One mean divided by another of the same queries, drawn together: what is kept, or gained.

    Args:
        groups: As for `bootstrap`.
        others: What they are divided by, value for value about the same queries, and not all zero; draws in which they
            are all zero are left out.
        clusters: As for `bootstrap`, of both.
        seed: As for `bootstrap`.

    Example:
        >>> half, whole = np.array([0.2, 0.4]), np.array([0.4, 0.8])
        >>> bootstrap_ratio([half], [whole], [np.arange(2)])
        Estimate(mean=0.5, low=0.5, high=0.5)
    """
    above, below = _drawn_means(groups, clusters, seed), _drawn_means(others, clusters, seed)
    return _interval(_mean(groups) / _mean(others), above[below != 0] / below[below != 0])


def bootstrap_statistic(statistic: Callable[[PerQuery], PerQuery], count: int, *, seed: int = 0) -> Estimate:
    """Any figure of a sample, with a 95 % interval by the percentile bootstrap.

    Args:
        statistic: Of weights `[draws, count]`, how often each member of the sample stands in each draw: a figure a
            draw, `[draws]`. Two models are compared by a statistic that is the difference of theirs.
        count: Members of the sample.
        seed: Of the 2,000 draws.

    Example:
        >>> values = np.array([1.0, 1.0, 1.0])
        >>> bootstrap_statistic(lambda weights: weights @ values / 3, 3)
        Estimate(mean=1.0, low=1.0, high=1.0)
    """
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=NUM_DRAWS).astype(np.float64)
    return _interval(float(statistic(np.ones((1, count)))[0]), statistic(weights))


def _drawn_means(
    groups: Sequence[PerQuery], clusters: Sequence[npt.NDArray[np.int64]], seed: int
) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    draws = np.zeros(NUM_DRAWS)
    for values, owners in zip(groups, clusters, strict=True):
        _, owner = np.unique(owners, return_inverse=True)
        counts = np.bincount(owner)
        sums = np.bincount(owner, weights=values)
        drawn = rng.integers(len(counts), size=(len(draws), len(counts)))
        draws += sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1) / len(groups)
    return draws


def _mean(groups: Sequence[PerQuery]) -> float:
    return float(np.mean([values.mean() for values in groups]))


def _interval(mean: float, draws: npt.NDArray[np.float64]) -> Estimate:
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(mean, float(low), float(high))


def _ranked(scores: Scores, relevant: Relevance) -> Relevance:
    """`relevant`, each row in the order of its scores."""
    order = np.lexsort((relevant, -scores), axis=1)
    return np.take_along_axis(relevant, order, axis=1)


def _discounts(k: int, documents: int) -> PerQuery:
    return 1 / np.log2(np.arange(min(k, documents)) + 2)


def _ideal(relevant: Relevance, discounts: PerQuery) -> PerQuery:
    best = np.minimum(relevant.sum(axis=1), len(discounts))
    return np.concatenate([[0.0], np.cumsum(discounts)])[best]
