"""How the vectors of two modalities lie in their shared space: aligned, apart, in a cone.

Shapes: N pairs, E embedding width, W draws. All vectors are of unit length, row i of one side belongs to row i of the
other, and `weights` `[W, N]` say how often each pair stands in each draw: ones are the sample itself, the rest is for
`metrics.bootstrap_statistic`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.floating]
Weights = npt.NDArray[np.float64]
Figures = npt.NDArray[np.float64]


def alignment(left: Vectors, right: Vectors, weights: Weights) -> Figures:
    """Mean cosine of matching pairs, `[W]`, between -1 and 1.

    The cross-modal alignment score of Eslami & de Melo 2025, https://arxiv.org/abs/2406.17639, as
    jina-embeddings-v4's paper (section on its embedding space) takes it.

    Args:
        left: `[N, E]`, such as pictures.
        right: `[N, E]`, their texts.
        weights: `[W, N]`.

    Example:
        >>> alignment(np.eye(2), np.array([[1.0, 0.0], [1.0, 0.0]]), np.ones((1, 2)))
        array([0.5])
    """
    return weights @ matching(left, right) / weights.sum(axis=1)


def strangers(left: Vectors, right: Vectors, weights: Weights) -> Figures:
    """Mean cosine of pairs that do not match, over all of them, `[W]`, between -1 and 1.

    Of one modality with itself it is the cone effect of Liang et al. 2022, https://arxiv.org/abs/2203.02053: 0 where
    vectors point everywhere, near 1 where all lie in a narrow cone.

    Args:
        left: `[N, E]`, N at least 2.
        right: `[N, E]`; `left` again for the cone.
        weights: `[W, N]`; a pair that a draw has twice is still no stranger to itself.

    Example:
        >>> strangers(np.eye(2), np.array([[1.0, 0.0], [1.0, 0.0]]), np.ones((1, 2)))
        array([0.5])
    """
    cosines = left @ right.T
    np.fill_diagonal(cosines, 0.0)
    pairs = weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)
    return ((weights @ cosines) * weights).sum(axis=1) / pairs


def centroid_distance(left: Vectors, right: Vectors, weights: Weights) -> Figures:
    """Distance between the means of two modalities, `[W]`, between 0 and 2: the modality gap.

    Liang et al. 2022, https://arxiv.org/abs/2203.02053, section 4. A sample's is a little larger than the truth, the
    more so the smaller the sample.

    Args:
        left: `[N, E]`.
        right: `[N, E]`.
        weights: `[W, N]`.

    Example:
        >>> centroid_distance(np.eye(2), -np.eye(2), np.ones((1, 2))).round(3)
        array([1.414])
    """
    apart = weights @ (left - right) / weights.sum(axis=1, keepdims=True)
    return np.linalg.norm(apart, axis=1).astype(np.float64)


def matching(left: Vectors, right: Vectors) -> Figures:
    """Cosine of each matching pair, `[N]`."""
    return (left * right).sum(axis=1, dtype=np.float64)


def not_matching(left: Vectors, right: Vectors) -> Figures:
    """Cosine of every pair that does not match, `[N * (N - 1)]`."""
    return (left @ right.T)[~np.eye(len(left), dtype=bool)].astype(np.float64)
