"""Centroids of token vectors: a small vocabulary in which every page of an index can be told in a few numbers.

A token vector is near one of a few thousand centroids, so a page is about the set of centroids that its tokens are
nearest to, and MaxSim over those is about its MaxSim. Santhanam et al. 2022 (PLAID, https://arxiv.org/abs/2205.09707)
find candidates by that alone.

Shapes: C centroids, T token vectors, E numbers per vector.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from polylens.types import FloatArray

LEAST, MOST = 64, 16_384
"""Fewest and most centroids. More of them tell pages apart better, and take longer to find."""

SAMPLE = 32
"""Token vectors per centroid that are looked at to find the centroids."""

_ROUNDS = 6  # of k-means
_CHUNK = 8_192  # token vectors compared at a time
_GROUPS_FROM = 1_024  # centroids; so many fewer are all compared with
_GROUPS = 128
_NEAR_GROUPS = 8  # of which the members are compared: 99 of 100 vectors get the centroid that is nearest of all


def num_centroids(num_vectors: int) -> int:
    """How many centroids an index of so many token vectors has: a power of two near eight times the square root.

    Example:
        >>> num_centroids(50), num_centroids(70_000), num_centroids(64_000_000)
        (64, 2048, 16384)
    """
    wanted = 8 * num_vectors**0.5
    return int(np.clip(2 ** int(np.log2(max(1.0, wanted))), LEAST, MOST))


class Centroids:
    """Unit vectors, near which the token vectors of an index lie.

    Args:
        vectors: `[C, E]`.
    """

    def __init__(self, vectors: FloatArray) -> None:
        self.vectors = vectors
        self._groups: tuple[FloatArray, list[npt.NDArray[np.int64]]] | None = None

    @classmethod
    def train(cls, sample: npt.NDArray[np.float16], num: int) -> Centroids:
        """Spherical k-means; the same sample always gives the same.

        Args:
            sample: Unit vectors, `[T, E]`, at least one.
            num: C; there are fewer where there are fewer vectors.
        """
        rng = np.random.default_rng(0)
        found = cls(sample[rng.permutation(len(sample))[:num]].astype(np.float32))
        for _ in range(_ROUNDS):
            labels = found.nearest(sample)
            order = np.argsort(labels, kind="stable")
            present, starts = np.unique(labels[order], return_index=True)
            # A centroid that is nearest to nothing begins again at some vector.
            sums = sample[rng.integers(0, len(sample), len(found.vectors))].astype(np.float32)
            sums[present] = np.add.reduceat(sample[order].astype(np.float32), starts, axis=0)
            found = cls(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12))
        return found

    def nearest(self, vectors: npt.NDArray[np.float16]) -> npt.NDArray[np.uint16]:
        """The centroid of each vector, the nearest by dot product or one that is nearly as near: `[T, E]` -> `[T]`."""
        labels = np.empty(len(vectors), np.uint16)
        for start in range(0, len(vectors), _CHUNK):
            part = vectors[start : start + _CHUNK].astype(np.float32)
            labels[start : start + _CHUNK] = (
                self._nearest_in_groups(part)
                if len(self.vectors) > _GROUPS_FROM
                else (part @ self.vectors.T).argmax(axis=1)
            )
        return labels

    def _nearest_in_groups(self, vectors: FloatArray) -> npt.NDArray[np.int64]:
        """The nearest centroid of those in the nearest groups: a tenth of the products with all of them."""
        centres, members = self._grouped()
        near = np.argpartition(vectors @ -centres.T, _NEAR_GROUPS - 1, axis=1)[:, :_NEAR_GROUPS]
        best = np.full(len(vectors), -np.inf, np.float32)
        labels = np.zeros(len(vectors), np.int64)
        order = np.argsort(near, axis=None, kind="stable")
        ends = np.searchsorted(near.reshape(-1)[order], np.arange(len(centres) + 1))
        for group, centroids in enumerate(members):
            rows = order[ends[group] : ends[group + 1]] // _NEAR_GROUPS
            products = vectors[rows] @ self.vectors[centroids].T
            at = products.argmax(axis=1)
            found = products[np.arange(len(rows)), at]
            better = found > best[rows]
            best[rows[better]] = found[better]
            labels[rows[better]] = centroids[at[better]]
        return labels

    def _grouped(self) -> tuple[FloatArray, list[npt.NDArray[np.int64]]]:
        """Centres of groups of centroids, and which centroids each group has."""
        if self._groups is None:
            centres = Centroids.train(self.vectors.astype(np.float16), _GROUPS)
            labels = centres.nearest(self.vectors.astype(np.float16))
            members = [np.flatnonzero(labels == group) for group in range(len(centres.vectors))]
            some = [group for group, each in enumerate(members) if len(each)]
            self._groups = centres.vectors[some], [members[group] for group in some]
        return self._groups
