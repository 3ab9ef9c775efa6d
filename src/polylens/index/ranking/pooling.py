"""Fewer vectors per page: similar ones are merged.

Clavié, Chaffin and Adams 2024, https://arxiv.org/abs/2409.14683, section 3 ("hierarchical clustering").
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from polylens.errors import InputError
from polylens.types import FloatArray


def evenly(vectors: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    """At most `most` of a page's vectors, evenly spread over the page: `[T, E]` -> `[min(T, most), E]`.

    Example:
        >>> evenly(np.arange(5)[:, None], 3)[:, 0].tolist()
        [0, 2, 4]
    """
    return vectors[np.linspace(0, len(vectors) - 1, min(most, len(vectors))).round().astype(int)]


def pool_tokens(vectors: FloatArray, factor: int) -> FloatArray:
    """Merges a page's vectors until one of every `factor` is left.

    Ward's clustering of the unit vectors, cut at that number of clusters. Each cluster becomes the mean of its vectors,
    of unit length, in the order in which the clusters first appear on the page.

    Args:
        vectors: Unit rows, `[T, E]`.
        factor: How many times fewer vectors are left; 1 changes nothing.

    Returns:
        `[ceil(T / factor), E]`, unit rows; fewer where vectors are equal.

    Raises:
        InputError: The factor is below 1, or the extra that clustering needs is not installed.

    Example:
        >>> rows = np.eye(2, dtype=np.float32)[[0, 0, 1, 0]]
        >>> pool_tokens(rows, 2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    if factor < 1:
        raise InputError(f"the pooling factor must be at least 1, got {factor}")
    wanted = math.ceil(len(vectors) / factor)
    if wanted == len(vectors):
        return vectors
    try:
        from scipy.cluster.hierarchy import fcluster, ward
    except ModuleNotFoundError as missing:
        raise InputError(
            "pooling needs scipy, which is not installed; it comes with pip install 'polylens[pool]'"
        ) from missing
    labels = fcluster(ward(vectors.astype(np.float64)), wanted, criterion="maxclust")
    _, first, cluster = np.unique(labels, return_index=True, return_inverse=True)
    sums = np.zeros((len(first), vectors.shape[1]))
    np.add.at(sums, cluster, vectors)
    sums = sums[np.argsort(first)]
    norms = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return (sums / norms).astype(np.float32)
