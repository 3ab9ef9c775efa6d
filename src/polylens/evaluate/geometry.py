"""Geometry of two modalities in their shared space: alignment, gap and cone effect.

Shapes: N pairs, E embedding width, W draws. All vectors are of unit length, row i of one side belongs to row i of the
other. `weights` `[W, N]` says how often each draw contains each pair: ones are the sample itself, others come
from `metrics.bootstrap_statistic`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.floating]
Weights = npt.NDArray[np.float64]
Figures = npt.NDArray[np.float64]


def alignment(left: Vectors, right: Vectors, weights: Weights) -> Figures:
    """Returns the mean cosine of matching pairs, `[W]`, between -1 and 1.

    The cross-modal alignment score of Eslami & de Melo 2025, https://arxiv.org/abs/2406.17639, as
    used by the paper of jina-embeddings-v4 (section on its embedding space).

    Args:
        left: `[N, E]`, such as images.
        right: `[N, E]`, their texts.
        weights: `[W, N]`.

    Example:
        >>> alignment(np.eye(2), np.array([[1.0, 0.0], [1.0, 0.0]]), np.ones((1, 2)))
        array([0.5])
    """
    return weights @ matching(left, right) / weights.sum(axis=1)


def strangers(left: Vectors, right: Vectors, weights: Weights) -> Figures:
    """Returns the mean cosine of all pairs that do not match, `[W]`, between -1 and 1.

    For one modality with itself, this is the cone effect of Liang et al. 2022, https://arxiv.org/abs/2203.02053: 0 if
    vectors point everywhere, near 1 if all lie in a narrow cone.

    Args:
        left: `[N, E]`, N at least 2.
        right: `[N, E]`; `left` again for the cone.
        weights: `[W, N]`; a pair that a draw contains twice still matches itself.

    Example:
        >>> strangers(np.eye(2), np.array([[1.0, 0.0], [1.0, 0.0]]), np.ones((1, 2)))
        array([0.5])
    """
    cosines = left @ right.T
    np.fill_diagonal(cosines, 0.0)
    pairs = weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)
    return ((weights @ cosines) * weights).sum(axis=1) / pairs


def centroid_distance(left: Vectors, right: Vectors, weights: Weights) -> Figures:
    """Returns the distance between the means of two modalities, `[W]`, between 0 and 2: the modality gap.

    Liang et al. 2022, https://arxiv.org/abs/2203.02053, section 4. The distance of a sample is
    biased upwards, more so for a smaller sample.

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
    """Returns the cosine of each matching pair, `[N]`."""
    return (left * right).sum(axis=1, dtype=np.float64)


def not_matching(left: Vectors, right: Vectors) -> Figures:
    """Returns the cosine of every pair that does not match, `[N * (N - 1)]`."""
    return (left @ right.T)[~np.eye(len(left), dtype=bool)].astype(np.float64)
