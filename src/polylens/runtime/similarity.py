"""Scores between two lists of encoded inputs, as arrays."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch

from polylens.errors import InputError
from polylens.nn.similarity import ragged_maxsim
from polylens.types import FloatArray


def similarity(queries: Any, documents: Any) -> FloatArray:
    """Scores every query against every document; `Embedder.similarity` says how.

    Raises:
        InputError: One side is dense and the other is not, or their widths differ.
    """
    left, right = _vectors(queries, "queries"), _vectors(documents, "documents")
    if isinstance(left, list) != isinstance(right, list):
        raise InputError("queries and documents must both be dense vectors or both be lists of multi-vectors")
    widths = {array.shape[-1] for side in (left, right) for array in (side if isinstance(side, list) else [side])}
    if len(widths) > 1:
        raise InputError(f"all vectors must have one width, got {' and '.join(map(str, sorted(widths)))}")
    if isinstance(left, list) and isinstance(right, list):
        if not left or not right:
            return np.zeros((len(left), len(right)), dtype=np.float32)
        scores: FloatArray = ragged_maxsim(
            [torch.from_numpy(q) for q in left], [torch.from_numpy(d) for d in right]
        ).numpy()
        return scores
    cosines: FloatArray = (_unit(cast("FloatArray", left)) @ _unit(cast("FloatArray", right)).T).astype(np.float32)
    return cosines


def _vectors(value: Any, name: str) -> FloatArray | list[FloatArray]:
    """Dense vectors `[N, dim]`, or multi-vectors as a list of `[tokens, width]`."""
    try:
        if isinstance(value, np.ndarray) and value.ndim in (1, 2):
            return np.atleast_2d(value).astype(np.float32, copy=False)
        several = isinstance(value, (list, tuple, np.ndarray))
        rows = [np.asarray(row, dtype=np.float32) for row in value] if several else []
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must hold numbers: {error}") from error
    if several and all(row.ndim == 2 for row in rows):
        if empty := [i for i, row in enumerate(rows) if len(row) == 0]:
            raise InputError(f"{name} must have at least one token each, number {empty[0]} has none")
        return rows
    if rows and all(row.ndim == 1 for row in rows) and len({len(row) for row in rows}) == 1:
        return np.stack(rows)
    raise InputError(f"{name} must be vectors [N, dim] or a list of multi-vectors [tokens, width]")


def _unit(vectors: FloatArray) -> FloatArray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
