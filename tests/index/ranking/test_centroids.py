"""Centroids against all products, and pages told by them against slow loops."""

from __future__ import annotations

import numpy as np
import pytest

from polylens.index.ranking import centroids as module
from polylens.index.ranking import inverted
from polylens.index.ranking.centroids import Centroids, num_centroids
from polylens.index.ranking.inverted import Segment, by_codes, nearest_pages, page_codes, similarities, transposed


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def scattered(rng: np.random.Generator, around: np.ndarray, num: int, noise: float = 0.5) -> np.ndarray:
    """Unit vectors around some topics."""
    chosen = around[rng.integers(0, len(around), num)]
    return unit(chosen + noise * unit(rng.standard_normal(chosen.shape))).astype(np.float16)


@pytest.fixture
def topics() -> np.ndarray:
    return unit(np.random.default_rng(0).standard_normal((300, 32)).astype(np.float32))


class TestCentroids:
    def test_they_are_where_the_vectors_are(self, topics: np.ndarray) -> None:
        sample = scattered(np.random.default_rng(1), topics[:40], 4_000)
        found = Centroids.train(sample, 80)
        assert found.vectors.shape == (80, 32)
        assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)
        best = (topics[:40] @ found.vectors.T).max(axis=1)
        assert np.mean(best > 0.95) > 0.9  # nearly every topic has a centroid of its own
        assert np.array_equal(found.vectors, Centroids.train(sample, 80).vectors)

    def test_the_nearest_one(self, topics: np.ndarray) -> None:
        vectors = scattered(np.random.default_rng(2), topics, 500)
        labels = Centroids(topics).nearest(vectors)
        assert labels.dtype == np.uint16
        assert labels.tolist() == [max(range(300), key=lambda at: float(topics[at] @ each)) for each in vectors]

    def test_that_of_the_nearest_groups_is_nearly_always_the_nearest(
        self, topics: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vectors = scattered(np.random.default_rng(3), topics, 5_000)
        exact = Centroids(topics).nearest(vectors)
        monkeypatch.setattr(module, "_GROUPS_FROM", 100)
        monkeypatch.setattr(module, "_GROUPS", 30)
        found = Centroids(topics).nearest(vectors)
        assert 0.98 < np.mean(found == exact) < 1  # below 1, or the groups were not used
        loss = np.einsum("td,td->t", vectors.astype(np.float32), topics[exact] - topics[found])
        assert loss.mean() < 0.005

    def test_fewer_vectors_than_centroids(self) -> None:
        sample = unit(np.random.default_rng(0).standard_normal((3, 8))).astype(np.float16)
        assert Centroids.train(sample, 64).vectors.shape == (3, 8)

    def test_their_number_grows_with_the_root(self) -> None:
        numbers = [num_centroids(each) for each in (1, 1_000, 100_000, 10_000_000, 10**12)]
        assert numbers == [64, 128, 2_048, 16_384, 16_384]


def random_segment(rng: np.random.Generator, pages: int, num: int) -> tuple[Segment, list[list[int]]]:
    labels = [rng.integers(0, num, rng.integers(0, 9)).tolist() for _ in range(pages)]
    flat = np.array([label for each in labels for label in each], np.uint16)
    ends, codes = page_codes(flat, [len(each) for each in labels])
    return Segment(ends, codes, *transposed(ends, codes, num)), labels


def slow(similar: np.ndarray, labels: list[int]) -> float:
    return sum(max(float(row[label]) for label in labels) for row in similar) if labels else -np.inf


class TestPagesByCentroids:
    def test_every_page_has_its_centroids_and_every_centroid_its_pages(self) -> None:
        segment, labels = random_segment(np.random.default_rng(0), 50, 20)
        for page, each in enumerate(labels):
            codes = segment.codes[segment.code_ends[page] : segment.code_ends[page + 1]]
            assert codes.tolist() == sorted(set(each))
        for centroid in range(20):
            pages = segment.pages[segment.list_ends[centroid] : segment.list_ends[centroid + 1]]
            assert pages.tolist() == [page for page, each in enumerate(labels) if centroid in each]

    def test_maxsim_over_centroids_equals_a_slow_loop(self) -> None:
        rng = np.random.default_rng(1)
        segment, labels = random_segment(rng, 40, 12)
        similar = rng.standard_normal((5, 12)).astype(np.float32)
        found = by_codes(similar, segment, np.arange(40))
        assert found == pytest.approx([slow(similar, each) for each in labels], abs=1e-5)
        assert by_codes(similar, segment, np.zeros(0, np.int64)).tolist() == []

    @pytest.mark.parametrize("parts", [1, 3])
    def test_the_best_pages_of_all_segments(self, parts: int) -> None:
        rng = np.random.default_rng(2)
        made = [random_segment(rng, 30, 12) for _ in range(parts)]
        similar = rng.standard_normal((5, 12)).astype(np.float32)
        scores = {
            (at, page): slow(similar, each) for at, (_, labels) in enumerate(made) for page, each in enumerate(labels)
        }
        best = sorted(scores, key=lambda place: -scores[place])
        segments = [segment for segment, _ in made]
        assert nearest_pages(similar, segments, 10) == best[:10]
        keep = [rng.random(30) < 0.5 for _ in range(parts)]
        assert nearest_pages(similar, segments, 10, keep) == [(at, page) for at, page in best if keep[at][page]][:10]
        assert nearest_pages(similar, segments, 10, [np.zeros(30, bool)] * parts) == []

    def test_the_lists_find_what_all_centroids_would(self, topics: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where only one page in fifty is looked at as a whole."""
        rng = np.random.default_rng(3)
        pages = [scattered(rng, topics[rng.integers(0, 300, 8)], 20) for _ in range(2_000)]
        centroids = Centroids(topics)
        ends, codes = page_codes(centroids.nearest(np.concatenate(pages)), [20] * 2_000)
        segment = Segment(ends, codes, *transposed(ends, codes, 300))
        shares = []
        for _ in range(20):
            query = scattered(rng, pages[rng.integers(0, 2_000)].astype(np.float32), 8).astype(np.float32)
            similar = similarities(query, topics)
            monkeypatch.setattr(inverted, "SHORTLIST", 2_000)
            exact = nearest_pages(similar, [segment], 10)
            monkeypatch.setattr(inverted, "SHORTLIST", 40)
            shares.append(len(set(exact) & set(nearest_pages(similar, [segment], 10))) / 10)
        assert np.mean(shares) > 0.95

    def test_a_long_query_is_added_up(self, topics: np.ndarray) -> None:
        few = scattered(np.random.default_rng(4), topics[:10], 60).astype(np.float32)
        assert np.array_equal(similarities(few, topics), few @ topics.T)
        many = scattered(np.random.default_rng(5), topics[:10], 900, noise=0.1).astype(np.float32)
        found = similarities(many, topics)
        assert len(found) == 10  # each near one of ten centroids
        assert found.sum(axis=0) == pytest.approx((many @ topics.T).sum(axis=0), abs=1e-2)
