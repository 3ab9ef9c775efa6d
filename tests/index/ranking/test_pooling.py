"""Token pooling against agglomeration by hand."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest

from polylens.errors import InputError
from polylens.index.ranking.pooling import pool_tokens
from polylens.types import FloatArray


def units(*shape: int, seed: int = 0) -> FloatArray:
    rows = np.random.default_rng(seed).standard_normal(shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def slow_pool(vectors: FloatArray, wanted: int) -> FloatArray:
    """Ward: join the two clusters whose union adds least to the squared distances from their means, again and again."""
    clusters = [[i] for i in range(len(vectors))]

    def spread(members: list[int]) -> float:
        rows = vectors[members].astype(np.float64)
        return float(((rows - rows.mean(axis=0)) ** 2).sum())

    while len(clusters) > wanted:
        one, other = min(
            itertools.combinations(range(len(clusters)), 2),
            key=lambda pair: (
                spread(clusters[pair[0]] + clusters[pair[1]]) - spread(clusters[pair[0]]) - spread(clusters[pair[1]])
            ),
        )
        clusters[one] += clusters.pop(other)
    rows = np.stack([vectors[members].mean(axis=0) for members in sorted(clusters, key=min)])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("factor", [2, 3, 7])
def test_it_is_wards_clustering(factor: int) -> None:
    vectors = units(24, 8)
    pooled = pool_tokens(vectors, factor)
    np.testing.assert_allclose(pooled, slow_pool(vectors, math.ceil(24 / factor)), rtol=0, atol=1e-5)
    assert pooled.dtype == np.float32


def test_equal_vectors_become_one() -> None:
    """And no more than are different are left, where more might be."""
    corners = units(3, 8)
    pooled = pool_tokens(corners[[0, 1, 1, 2, 0, 2, 2, 1]], 2)
    assert len(pooled) <= 4
    nearest = (pooled @ corners.T).max(axis=0)
    np.testing.assert_allclose(nearest, 1, rtol=0, atol=1e-6)


def test_what_is_left_alone() -> None:
    vectors = units(5, 8)
    assert pool_tokens(vectors, 1) is vectors
    assert len(pool_tokens(vectors[:1], 4)) == 1
    assert len(pool_tokens(vectors[:0], 4)) == 0


def test_opposite_vectors_give_no_nan() -> None:
    row = units(1, 8)
    assert np.isfinite(pool_tokens(np.concatenate([row, -row]), 2)).all()


def test_what_does_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="at least 1, got 0"):
        pool_tokens(units(4, 8), 0)
    monkeypatch.setitem(sys.modules, "scipy.cluster.hierarchy", None)
    with pytest.raises(InputError, match=r"scipy.*\[pool\]"):
        pool_tokens(units(4, 8), 2)
