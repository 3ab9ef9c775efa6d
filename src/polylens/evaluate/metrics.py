"""Retrieval metrics and their confidence intervals.

Shapes: Q queries, D documents. A query may have several relevant documents, all equally relevant. Among equal scores,
irrelevant documents are ranked first: a model that scores everything alike finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
Relevance = npt.NDArray[np.bool_]
PerQuery = npt.NDArray[np.float64]
NUM_DRAWS = 2000  # per bootstrap


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float


def ndcg(scores: Scores, relevant: Relevance, k: int) -> PerQuery:
    """Returns the normalised discounted cumulative gain of each query, `[Q]`, between 0 and 1.

    Järvelin & Kekäläinen 2002, https://doi.org/10.1145/582415.582418, with gains of 0 and 1.

    Args:
        scores: `[Q, D]`, higher is better.
        relevant: `[Q, D]`, at least one per query.
        k: How many results count.

    Example:
        >>> ndcg(np.array([[3.0, 2.0, 1.0]]), np.array([[False, True, False]]), k=5).round(3)
        array([0.631])
    """
    discounts = _discounts(k, relevant.shape[1])
    gains = _ranked(scores, relevant)[:, : len(discounts)] @ discounts
    return gains / _ideal(relevant, discounts)


def recall(scores: Scores, relevant: Relevance, k: int) -> PerQuery:
    """Returns the share of relevant documents among the first `k` of each query, `[Q]`. Arguments are those of `ndcg`.

    Example:
        >>> recall(np.array([[3.0, 2.0, 1.0]]), np.array([[True, False, True]]), k=2)
        array([0.5])
    """
    return _ranked(scores, relevant)[:, :k].sum(axis=1) / relevant.sum(axis=1)


def chance_ndcg(relevant: Relevance, k: int) -> float:
    """Returns the expected `ndcg` of a random order."""
    discounts = _discounts(k, relevant.shape[1])
    expected = relevant.mean(axis=1) * discounts.sum()
    return float((expected / _ideal(relevant, discounts)).mean())


def bootstrap(groups: Sequence[PerQuery], clusters: Sequence[npt.NDArray[np.int64]], *, seed: int = 0) -> Estimate:
    """Averages the means of the groups, with a 95 % interval by the percentile bootstrap (Efron 1979).

    Queries about one page succeed or fail together, so pages are resampled instead of queries.

    Args:
        groups: Values of the queries of each group, such as a task.
        clusters: For each value of each group, the number of the page it is about.
        seed: Seed of the 2,000 draws.
    """
    return _interval(_mean(groups), _drawn_means(groups, clusters, seed))


def bootstrap_ratio(
    groups: Sequence[PerQuery],
    others: Sequence[PerQuery],
    clusters: Sequence[npt.NDArray[np.int64]],
    *,
    seed: int = 0,
) -> Estimate:
    """Divides one mean by another over the same queries, resampled together: a share kept, or a gain.

    Args:
        groups: As for `bootstrap`.
        others: The divisors: values of the same queries in the same order, not all zero. Draws in which they are all
            zero are left out.
        clusters: As for `bootstrap`, shared by both.
        seed: As for `bootstrap`.

    Example:
        >>> half, whole = np.array([0.2, 0.4]), np.array([0.4, 0.8])
        >>> bootstrap_ratio([half], [whole], [np.arange(2)])
        Estimate(mean=0.5, low=0.5, high=0.5)
    """
    above, below = _drawn_means(groups, clusters, seed), _drawn_means(others, clusters, seed)
    return _interval(_mean(groups) / _mean(others), above[below != 0] / below[below != 0])


def bootstrap_statistic(statistic: Callable[[PerQuery], PerQuery], count: int, *, seed: int = 0) -> Estimate:
    """Estimates any statistic of a sample, with a 95 % interval by the percentile bootstrap.

    Args:
        statistic: Maps weights `[draws, count]`, which say how often each draw contains each member of the sample, to
            one figure per draw, `[draws]`. To compare two models, pass the difference of their statistics.
        count: Number of members of the sample.
        seed: Seed of the 2,000 draws.

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
    """Sorts each row of `relevant` by its scores, best first."""
    order = np.lexsort((relevant, -scores), axis=1)
    return np.take_along_axis(relevant, order, axis=1)


def _discounts(k: int, documents: int) -> PerQuery:
    return 1 / np.log2(np.arange(min(k, documents)) + 2)


def _ideal(relevant: Relevance, discounts: PerQuery) -> PerQuery:
    best = np.minimum(relevant.sum(axis=1), len(discounts))
    return np.concatenate([[0.0], np.cumsum(discounts)])[best]
