"""Rows of a graph: several sequences side by side, with a mask between them, padded to one of a few sizes.

Shapes: T tokens of a packed batch, R tokens of a row, W width.

A graph takes rows of any size, but compiles its products anew for each: some 10 ms for 6 layers of width 1024. So there
are a few dozen sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ROW = 512
"""Tokens of a row that sequences share. In longer ones the mask, which is a square, costs more than they save."""

LONGEST = 2048
"""Tokens of the longest sequence that a graph takes; it has a row of its own."""

APART = -1e4
"""Added to the attention of tokens that belong to different sequences: nothing is left of it after the softmax, and
every number format holds it."""

RowInputs = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32]]
"""Embedded tokens `[R, W]`, positions `[R]` and mask `[R, R]`: what a graph takes."""


@dataclass(frozen=True, slots=True)
class Row:
    """Which sequences share a row."""

    sequences: tuple[int, ...]
    """Indices into the batch, in the order of their places in the row."""
    size: int
    """Tokens of the row, those of padding included."""


def row_size(tokens: int) -> int:
    """Returns the smallest size of a row for so many tokens.

    Example:
        >>> [row_size(tokens) for tokens in (1, 17, 100, 130, 512, 513)]
        [16, 32, 112, 160, 512, 640]
    """
    step = 16 if tokens <= 128 else 32 if tokens <= ROW else 128
    return -(-tokens // step) * step


def rows_of(lengths: Sequence[int], chosen: Sequence[int], *, one_length: bool) -> list[Row]:
    """Divides sequences into rows: the longest first, each into the first row with room for it.

    Args:
        lengths: Tokens of each sequence of the batch.
        chosen: The sequences to divide; none is longer than `LONGEST`, unless all have one length.
        one_length: Whether each sequence gets a row of its own and no padding, because all have the same length.

    Example:
        >>> rows_of([300, 20, 400, 90], [0, 1, 2, 3], one_length=False)
        [Row(sequences=(2, 3, 1), size=512), Row(sequences=(0,), size=320)]
    """
    if one_length:
        return [Row((i,), lengths[i]) for i in chosen]
    rows: list[list[int]] = []
    filled: list[int] = []
    for i in sorted(chosen, key=lambda i: -lengths[i]):
        place = next((at for at, tokens in enumerate(filled) if tokens + lengths[i] <= ROW), None)
        if place is None:
            rows.append([])
            filled.append(0)
            place = -1
        rows[place].append(i)
        filled[place] += lengths[i]
    return [Row(tuple(row), row_size(tokens)) for row, tokens in zip(rows, filled, strict=True)]


def row_inputs(row: Row, x: npt.NDArray[np.float32], starts: Sequence[int], lengths: Sequence[int]) -> RowInputs:
    """Returns what a graph takes for a row.

    Args:
        row: Which sequences lie in it.
        x: `[T, W]`, the embedded tokens of the whole batch.
        starts: First row of each sequence in `x`.
        lengths: Tokens of each sequence.
    """
    tokens = np.zeros((row.size, x.shape[1]), dtype=np.float32)
    positions = np.zeros(row.size, dtype=np.int64)
    owner = np.full(row.size, -1)
    at = 0
    for i in row.sequences:
        stop = at + lengths[i]
        tokens[at:stop] = x[starts[i] : starts[i] + lengths[i]]
        positions[at:stop] = np.arange(lengths[i])
        owner[at:stop] = i
        at = stop
    mask = np.where(owner[:, None] == owner[None], np.float32(0), np.float32(APART))
    return tokens, positions, mask
