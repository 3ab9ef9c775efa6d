"""Rows of a graph: several sequences side by side, with a mask between them, padded to one of a few sizes.

Shapes: T tokens of a packed batch, R tokens of a row, W width, P rotated pairs per head, A numbers per token between
the two products of all adapters, N windows, L tokens of the longest window.

A graph takes rows of any size, but compiles its products anew for each: some 10 ms for 6 layers of width 1024. So sizes
go in steps. An image of any size has a row to itself without padding, and so needs no mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

ROW = 512
"""Tokens of a row that sequences share. In longer ones the mask, which is a square, costs more than they save."""

LONGEST = 2176
"""Tokens of the longest sequence with a mask that a graph takes: a page of 2,052 visual tokens and its prompt. It has a
row of its own."""

APART = -1e4
"""Added to the attention of tokens that do not see each other: nothing is left of it after the softmax, and every
number format holds it."""

TRACED_TOKENS = 24  # of the row by which layers are traced that take rows of any size
TRACED_WINDOWS = (16, 8)  # their tokens add up to those of that row

RowInputs = dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]]
"""What a graph takes, in its order: `x`, the embedded tokens, and some of

* `positions` `[R]`, the place of each token in its sequence;
* `cos` and `sin` `[R, 1, P]`, the rotation of each token, in the place of positions;
* `mask` `[R, R]`, which tokens see each other;
* `choice` `[R, A]`, 1 at the numbers of the adapter that a token uses, and 0 elsewhere;
* `tokens` `[N, L]`, `places` `[R]` and `within` `[N, L]`, the windows; see `PaddedWindows`.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """The arguments of a tower's layers as arrays."""

    x: FloatArray
    """`[T, W]`, the embedded tokens."""
    lengths: tuple[int, ...]
    """Tokens of each sequence."""
    rotation: tuple[FloatArray, FloatArray] | None = None
    """Cosines and sines, `[T, 1, P]` each; None for a tower that derives them from positions, or has none."""
    choice: FloatArray | None = None
    """`[T, A]`; None where the graph has at most one adapter, merged into its weights."""
    windows: tuple[int, ...] = ()
    """Tokens of each window; empty for a tower without windows."""
    causal: bool = False
    alone: bool = False
    """Whether each sequence has a row of its own without padding."""
    masked: bool = True
    """Whether the graph has a mask; without one, sequences must be alone."""

    @property
    def starts(self) -> list[int]:
        """The first token of each sequence."""
        return list(accumulate(self.lengths, initial=0))[:-1]

    def windows_of(self, sequence: int) -> tuple[int, ...]:
        """Returns the tokens of each window of a sequence."""
        stops = list(accumulate(self.windows))
        first, last = self.starts[sequence], self.starts[sequence] + self.lengths[sequence]
        return tuple(size for size, stop in zip(self.windows, stops, strict=True) if first < stop <= last)


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
        >>> [row_size(tokens) for tokens in (1, 17, 100, 130, 790)]
        [16, 32, 112, 160, 800]
    """
    step = 16 if tokens <= 128 else 32
    return -(-tokens // step) * step


def rows_of(lengths: Sequence[int], chosen: Sequence[int], *, alone: bool) -> list[Row]:
    """Divides sequences into rows: the longest first, each into the first row with room for it.

    Args:
        lengths: Tokens of each sequence of the batch.
        chosen: The sequences to divide; none is longer than `LONGEST`, unless they are alone.
        alone: Whether each sequence gets a row of its own and no padding.

    Example:
        >>> rows_of([300, 20, 400, 90], [0, 1, 2, 3], alone=False)
        [Row(sequences=(2, 3, 1), size=512), Row(sequences=(0,), size=320)]
    """
    if alone:
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


def row_inputs(row: Row, batch: Batch) -> RowInputs:
    """Returns what a graph takes for a row of a batch."""
    lengths = [batch.lengths[i] for i in row.sequences]
    source = np.concatenate([np.arange(batch.lengths[i]) + batch.starts[i] for i in row.sequences])
    padding = row.size - len(source)

    def placed(values: FloatArray) -> FloatArray:
        return np.concatenate((values[source], np.zeros((padding, *values.shape[1:]), dtype=np.float32)))

    inputs: RowInputs = {"x": placed(batch.x)}
    if batch.rotation is None:
        inputs["positions"] = np.concatenate([np.arange(length) for length in [*lengths, 0]] + [np.zeros(padding, int)])
    else:
        inputs |= {"cos": placed(batch.rotation[0]), "sin": placed(batch.rotation[1])}
    if batch.masked:
        inputs["mask"] = _mask(lengths, row.size, causal=batch.causal)
    if batch.choice is not None:
        inputs["choice"] = placed(batch.choice)
    if batch.windows:
        inputs |= _windows(batch.windows_of(row.sequences[0]))
    return inputs


def example_inputs(batch: Batch) -> RowInputs:
    """Returns a short row by which the layers are traced; of the batch's own length if all sequences have one."""
    total = batch.lengths[0] if batch.alone and batch.masked else TRACED_TOKENS

    def short(values: FloatArray) -> FloatArray:
        return np.zeros((total, *values.shape[1:]), dtype=np.float32)

    example = Batch(
        x=short(batch.x),
        lengths=(total,),
        rotation=None if batch.rotation is None else (short(batch.rotation[0]), short(batch.rotation[1])),
        choice=None if batch.choice is None else short(batch.choice),
        windows=TRACED_WINDOWS if batch.windows else (),
        causal=batch.causal,
        alone=batch.alone,
        masked=batch.masked,
    )
    return row_inputs(Row((0,), total), example)


def _mask(lengths: Sequence[int], size: int, *, causal: bool) -> FloatArray:
    """Returns which tokens of a row see each other, `[R, R]`; those of the padding see the padding."""
    owner = np.repeat(np.arange(len(lengths) + 1), [*lengths, size - sum(lengths)])
    sees = owner[:, None] == owner[None]
    return np.where(np.tril(sees) if causal else sees, np.float32(0), np.float32(APART))


def _windows(sizes: Sequence[int]) -> RowInputs:
    """Returns the windows of an image in the form of `PaddedWindows`."""
    tokens = np.zeros((len(sizes), max(sizes)), dtype=np.int64)
    real = np.arange(max(sizes)) < np.asarray(sizes)[:, None]
    tokens[real] = np.arange(sum(sizes))
    within = np.where(real, np.float32(0), np.float32(APART))
    return {"tokens": tokens, "places": np.flatnonzero(real), "within": within}
