"""The places on a page's picture that fit a query by their looks, from the vectors that the index has.

Late interaction compares every token of a query with every visual token of a page. Each visual token is a square of the
page, so the similarities form a map of the page, and its peaks are places.

Shapes: S query tokens, R rows, C columns of squares, E numbers per token vector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from polylens.index.ranking.places import Place
from polylens.types import Box, FloatArray

MAX_PEAKS = 3
_OF_THE_PEAK = 0.85  # of the map's highest value, from which on squares next to each other are one place
_MOST = 0.2  # of a page's squares that one place may take; else it is its peak and the squares around it


class Grid(Protocol):
    """Where the tokens of a picture lie on it: `polylens.models.description.HeatGrid`."""

    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def tokens(self) -> npt.NDArray[np.int64]: ...


@dataclass(frozen=True, slots=True)
class Looks:
    """A query, as far as it can be looked for on pictures."""

    vectors: FloatArray
    """`[S, E]`: the vectors of its words, without those of the prompt."""
    grid: Callable[[int, int], Grid]
    """Width and height of a picture in pixels -> where its tokens lie among a page's vectors."""


def heat(likeness: FloatArray, top: float) -> FloatArray:
    """The heat of each square: 0 for no likeness at all, 1 for the best match of the whole query.

    Args:
        likeness: Cosine of some query tokens with each square, `[S, R * C]`.
        top: The best one of the whole query.
    """
    return np.clip(likeness.max(axis=0) / max(top, 1e-6), 0.0, 1.0)


def look_places(looks: Looks, size: tuple[int, int], vectors: npt.NDArray[Any]) -> tuple[Place, ...]:
    """The peaks of the heat map of a query on a page, highest first; none where its vectors are no grid.

    Args:
        looks: The query.
        size: Width and height of the page's picture in pixels.
        vectors: The page's multi-vector, `[T, E]`, that of its picture first.
    """
    grid = looks.grid(*size)
    if not len(grid.tokens) or not len(looks.vectors) or grid.tokens[-1] >= len(vectors):
        return ()
    likeness = looks.vectors @ vectors[grid.tokens].astype(np.float32).T
    return peaks(heat(likeness, float(likeness.max())).reshape(grid.rows, grid.columns))


def peaks(warmth: FloatArray) -> tuple[Place, ...]:
    """The warmest regions of a map `[R, C]`, at most three, the one with the highest peak first.

    Example:
        >>> warmth = np.zeros((4, 5), np.float32)
        >>> warmth[1, 2:4] = 1.0, 0.9
        >>> [place.box for place in peaks(warmth)]
        [Box(left=0.4, top=0.25, width=0.4, height=0.25)]
    """
    rows, columns = warmth.shape
    left = warmth >= max(_OF_THE_PEAK * float(warmth.max()), 1e-6)
    places: list[Place] = []
    while left.any() and len(places) < MAX_PEAKS:
        peak = np.unravel_index(np.argmax(np.where(left, warmth, -1.0)), warmth.shape)
        region = _region(left, (int(peak[0]), int(peak[1])))
        left &= ~region
        if region.sum() > _MOST * region.size:
            region = np.zeros_like(region)
            region[max(0, peak[0] - 1) : peak[0] + 2, max(0, peak[1] - 1) : peak[1] + 2] = True
        down, across = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
        top, bottom, first, last = int(down[0]), int(down[-1]) + 1, int(across[0]), int(across[-1]) + 1
        places.append(Place(Box(first / columns, top / rows, (last - first) / columns, (bottom - top) / rows), None))
    return tuple(places)


def _region(inside: npt.NDArray[np.bool_], start: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The squares that hang together with one, side by side."""
    region, waiting = np.zeros_like(inside), [start]
    while waiting:
        row, column = waiting.pop()
        is_on_page = 0 <= row < inside.shape[0] and 0 <= column < inside.shape[1]
        if is_on_page and inside[row, column] and not region[row, column]:
            region[row, column] = True
            waiting += [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return region
