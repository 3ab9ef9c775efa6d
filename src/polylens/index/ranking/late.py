"""Exact late interaction (MaxSim) of a query with many pages.

Shapes: S query tokens, T page tokens, E numbers per token vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from polylens.types import FloatArray

_CHUNK = 4_096  # page tokens turned into float32 at a time: 2 MB, which stays in the cache

_SIGN_AND_REST = np.uint32(0x8FFF_E000).view(np.int32)  # where a float16's bits come to lie in a float32
_LARGER = np.float32(2**112)  # the exponents of float16 and float32 count from 15 and from 127


def maxsim(query: FloatArray, pages: Sequence[npt.NDArray[Any]]) -> FloatArray:
    """Late-interaction score of a query with each page: each query token keeps its best page token, then we sum.

    Khattab & Zaharia 2020, https://arxiv.org/abs/2004.12832.

    Args:
        query: Unit-length token vectors, `[S, E]`.
        pages: Unit-length token vectors of each page, `[T, E]`, in any precision; the products are float32.

    Returns:
        One score per page, between -S and S; -inf where a page has no token.

    Example:
        >>> maxsim(np.eye(2, dtype=np.float32), [np.array([[1.0, 0.0], [0.6, 0.8]]), np.zeros((0, 2))])
        array([ 1.8, -inf], dtype=float32)
    """
    query = np.ascontiguousarray(query, np.float32)
    scores = np.full(len(pages), -np.inf, np.float32)
    for group in _groups(pages):
        tokens = np.concatenate([pages[i] for i in group])
        starts = np.cumsum([0, *(len(pages[i]) for i in group[:-1])])
        scores[group] = np.maximum.reduceat(_products(query, tokens), starts, axis=1).sum(axis=0)
    return scores


def _products(query: FloatArray, tokens: npt.NDArray[Any]) -> FloatArray:
    """Every query token with every page token in float32: `[S, E]`, `[T, E]` -> `[S, T]`.

    NumPy widens half precision one number after the other, which is most of what MaxSim costs. Moved by 13 bits, the
    bits of a finite float16 are those of a float32 that is 2**112 times smaller: sign, exponent and mantissa find their
    places, and only the exponents count from another zero. So the page tokens are moved, eight times sooner, and the
    query is made 2**112 times larger. Every product is the same to the last bit.
    """
    if tokens.dtype != np.float16:
        return query @ tokens.astype(np.float32, copy=False).T
    bits = tokens.view(np.int16).astype(np.int32)  # the sign is in all of the upper bits
    bits <<= 13
    bits &= _SIGN_AND_REST
    larger = np.multiply(query, _LARGER, dtype=np.float32)
    return np.asarray(larger @ bits.view(np.float32).T)


def _groups(pages: Sequence[npt.NDArray[Any]]) -> Iterable[list[int]]:
    """Positions of the pages that have tokens, in runs of about `_CHUNK` tokens."""
    group: list[int] = []
    total = 0
    for i, page in enumerate(pages):
        if group and total + len(page) > _CHUNK:
            yield group
            group, total = [], 0
        if len(page):
            group.append(i)
            total += len(page)
    if group:
        yield group
