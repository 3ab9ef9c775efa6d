"""Metrics against slow definitions, against scikit-learn, and against a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from polylens.evaluate.bm25 import K1, B, bm25, terms
from polylens.evaluate.metrics import bootstrap, bootstrap_ratio, chance_ndcg, ndcg, recall


def draw(seed: int, queries: int = 40, documents: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    relevant = rng.random((queries, documents)) < 0.2
    relevant[np.arange(queries), rng.integers(documents, size=queries)] = True
    return rng.standard_normal((queries, documents)), relevant


@pytest.mark.parametrize("k", [1, 3, 5, 100])
def test_ndcg_and_recall_equal_a_loop(k: int) -> None:
    scores, relevant = draw(1)
    for row in range(len(scores)):
        order = sorted(range(scores.shape[1]), key=lambda document: -scores[row, document])
        gain = sum(1 / math.log2(rank + 2) for rank, document in enumerate(order[:k]) if relevant[row, document])
        best = sum(1 / math.log2(rank + 2) for rank in range(min(k, int(relevant[row].sum()))))
        assert ndcg(scores, relevant, k)[row] == pytest.approx(gain / best)
        found = sum(bool(relevant[row, document]) for document in order[:k])
        assert recall(scores, relevant, k)[row] == pytest.approx(found / relevant[row].sum())


def test_ndcg_equals_that_of_scikit_learn() -> None:
    theirs = pytest.importorskip("sklearn.metrics")
    scores, relevant = draw(2)
    assert ndcg(scores, relevant, 5).mean() == pytest.approx(theirs.ndcg_score(relevant.astype(int), scores, k=5))


def test_equal_scores_count_against_the_right_documents() -> None:
    relevant = np.eye(10, dtype=bool)
    assert ndcg(np.zeros((10, 10)), relevant, 5).tolist() == [0.0] * 10
    assert ndcg(relevant.astype(float), relevant, 5).tolist() == [1.0] * 10


def test_chance_is_what_random_orders_give() -> None:
    _, relevant = draw(3, queries=200)
    rng = np.random.default_rng(4)
    simulated = np.mean([ndcg(rng.random(relevant.shape), relevant, 5).mean() for _ in range(60)])
    assert chance_ndcg(relevant, 5) == pytest.approx(simulated, abs=0.012)  # four standard errors of the simulation


def test_the_bootstrap_gives_the_interval_of_a_mean_and_draws_pages_not_queries() -> None:
    values = np.random.default_rng(5).random(400)
    alone = bootstrap([values], [np.arange(400)])
    assert alone.mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert (alone.high - alone.low) / 2 == pytest.approx(half, rel=0.1)
    copies = bootstrap([np.repeat(values, 5)], [np.repeat(np.arange(400), 5)])  # five like queries a page add nothing
    assert copies.high - copies.low == pytest.approx(alone.high - alone.low, rel=0.1)
    both = bootstrap([values, np.zeros(30)], [np.arange(400), np.arange(30)])
    assert both.mean == pytest.approx(values.mean() / 2)
    assert both.high - both.low == pytest.approx((alone.high - alone.low) / 2, rel=0.1)


def test_bm25_equals_a_loop() -> None:
    documents = [["Harbour", "ice", "ice"], ["harbour", "(winter),", "2021"], ["東京都", "ice"]]
    queries = ["ice harbour", "Winter 2021 ice", "東京"]
    bags = [[term for word in words for term in terms(word)] for words in documents]
    average = sum(map(len, bags)) / len(bags)
    for row, query in enumerate(queries):
        for column, bag in enumerate(bags):
            expected = 0.0
            for term in {term for word in query.split() for term in terms(word)}:
                holding = sum(term in other for other in bags)
                rarity = math.log(1 + (len(bags) - holding + 0.5) / (holding + 0.5))
                count = bag.count(term)
                expected += rarity * count * (K1 + 1) / (count + K1 * (1 - B + B * len(bag) / average))
            assert bm25(queries, documents)[row, column] == pytest.approx(expected)


def test_a_ratio_is_drawn_together() -> None:
    """What goes up and down with the other has a narrow interval, however wide theirs are."""
    rng = np.random.default_rng(9)
    whole, pages = rng.random(60), np.arange(60)
    kept = bootstrap_ratio([0.9 * whole], [whole], [pages])
    assert (kept.mean, kept.low, kept.high) == pytest.approx((0.9, 0.9, 0.9))
    other = bootstrap_ratio([rng.permutation(0.9 * whole)], [whole], [pages])
    assert other.low < 0.85 < 0.9 < 0.95 < other.high


def test_draws_of_a_ratio_that_have_nothing_below_are_left_out() -> None:
    found = bootstrap_ratio([np.array([0.0, 1.0])], [np.array([0.0, 2.0])], [np.arange(2)])
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)
