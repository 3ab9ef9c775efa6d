"""Alignment, gap and cone against slow loops over pairs, weighted as a bootstrap draws them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from polylens.evaluate.geometry import alignment, centroid_distance, matching, not_matching, strangers
from polylens.evaluate.metrics import bootstrap_statistic

COUNT, WIDTH = 9, 5


def unit(seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((COUNT, WIDTH)) + 0.4
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


IMAGES, TEXTS = unit(1), unit(2)
DRAWS = np.array([np.ones(COUNT), [3, 0, 1, 0, 2, 1, 0, 1, 1]], dtype=np.float64)


def drawn(weights: np.ndarray) -> list[int]:
    """Members of a draw, as often as they are in it."""
    return [index for index, times in enumerate(weights) for _ in range(int(times))]


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return sum(float(a) * float(b) for a, b in zip(left, right, strict=True))


def test_alignment_is_the_mean_over_matching_pairs() -> None:
    for found, weights in zip(alignment(IMAGES, TEXTS, DRAWS), DRAWS, strict=True):
        slow = [cosine(IMAGES[i], TEXTS[i]) for i in drawn(weights)]
        assert found == pytest.approx(sum(slow) / len(slow))


@pytest.mark.parametrize("right", [TEXTS, IMAGES], ids=["of two modalities", "of one: the cone"])
def test_strangers_are_all_pairs_of_different_things(right: np.ndarray) -> None:
    for found, weights in zip(strangers(IMAGES, right, DRAWS), DRAWS, strict=True):
        members = drawn(weights)
        slow = [cosine(IMAGES[i], right[j]) for i in members for j in members if i != j]
        assert found == pytest.approx(sum(slow) / len(slow))


def test_the_gap_is_the_distance_of_the_means() -> None:
    for found, weights in zip(centroid_distance(IMAGES, TEXTS, DRAWS), DRAWS, strict=True):
        members = drawn(weights)
        apart = [
            sum(IMAGES[i][axis] for i in members) / len(members) - sum(TEXTS[i][axis] for i in members) / len(members)
            for axis in range(WIDTH)
        ]
        assert found == pytest.approx(math.hypot(*apart))


def test_pairs_for_histograms_have_the_means_of_the_figures() -> None:
    ones = np.ones((1, COUNT))
    assert matching(IMAGES, TEXTS).mean() == pytest.approx(alignment(IMAGES, TEXTS, ones)[0])
    assert len(not_matching(IMAGES, TEXTS)) == COUNT * (COUNT - 1)
    assert not_matching(IMAGES, TEXTS).mean() == pytest.approx(strangers(IMAGES, TEXTS, ones)[0])


def test_the_interval_of_a_mean_is_the_one_that_theory_gives() -> None:
    values = np.random.default_rng(3).standard_normal(400)
    found = bootstrap_statistic(lambda weights: weights @ values / len(values), len(values))
    error = 1.96 * values.std() / len(values) ** 0.5
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.15 * error)
