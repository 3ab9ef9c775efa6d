"""Packed batches: one `[tokens, ...]` tensor, sequence after sequence, with the lengths beside it.

Shapes: T tokens of all sequences together, N sequences, B borders: one more than sequences, L tokens of the longest
sequence.

No padding exists, so a batch costs what its tokens cost (docs/decisions/0002-packed.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Packing:
    """Where each sequence of a packed batch lies, and which sequences share a length.

    Made once per forward pass and used by every layer. What only some kernels need is computed on first use.

    Args:
        lengths: Tokens of each sequence, in packed order; sequences of length zero are dropped.
        device: Where the packed tensors live.
        windows: Tokens of each window, where some layers attend within windows of the sequences; they add up to the
            same total, and none crosses a sequence's border.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device, *, windows: Sequence[int] = ()) -> None:
        self.lengths = tuple(length for length in lengths if length > 0)
        self.total = sum(self.lengths)
        self.longest = max(self.lengths, default=0)
        self.device = device
        self.windows: Packing | None = Packing(windows, device) if windows else None

    @cached_property
    def bounds(self) -> Int[Tensor, " B"]:
        """Cumulative lengths from 0, as variable-length kernels take them; copied to the device once.

        >>> Packing([3, 2], torch.device("cpu")).bounds.tolist()
        [0, 3, 5]
        """
        return F.pad(torch.tensor(self.lengths).cumsum(0), (1, 0)).to(self.device, torch.int32)

    @property
    def count(self) -> int:
        """How many sequences there are."""
        return len(self.lengths)

    @cached_property
    def positions(self) -> Int[Tensor, " T"]:
        """The place of each token in its sequence, from 0.

        >>> Packing([3, 2], torch.device("cpu")).positions.tolist()
        [0, 1, 2, 0, 1]
        """
        sizes = torch.tensor(self.lengths, dtype=torch.int64)
        starts = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
        return (torch.arange(self.total) - starts).to(self.device)

    @cached_property
    def groups(self) -> list[tuple[int, int]]:
        """(length, number of sequences) for each distinct length, in the order of `order`.

        >>> Packing([7, 3, 3], torch.device("cpu")).groups
        [(7, 1), (3, 2)]
        >>> Packing([3, 7, 3], torch.device("cpu")).groups
        [(3, 2), (7, 1)]
        """
        lengths = self.lengths if self.order is None else sorted(self.lengths)
        return [(length, len(list(same))) for length, same in groupby(lengths)]

    @cached_property
    def order(self) -> Int[Tensor, " T"] | None:
        """Token indices that sort the sequences by length; None where they are sorted already, either way round."""
        ascending = sorted(self.lengths)
        if list(self.lengths) in (ascending, ascending[::-1]):
            return None
        by_length = sorted(range(len(self.lengths)), key=self.lengths.__getitem__)
        return _token_order(self.lengths, by_length).to(self.device)

    @cached_property
    def inverse(self) -> Int[Tensor, " T"] | None:
        """Token indices that undo `order`; None where nothing has to be undone."""
        return None if self.order is None else torch.argsort(self.order)


class MaskedPacking(Packing):
    """A packed batch whose borders are numbers in tensors, so that a compiled graph serves every batch of its size.

    Args:
        total: T.
        device: Where the tensors live.
        positions: The place of each token in its sequence; None for a network that does not ask for it.
        mask: 0 where a token may see another, which in a causal network comes before it or is itself; a large negative
            number elsewhere. None for a single sequence in a network that is not causal.
        windows: For a network with layers that attend within windows.
    """

    def __init__(
        self,
        total: int,
        device: torch.device,
        *,
        positions: Int[Tensor, " T"] | None = None,
        mask: Float[Tensor, "T T"] | None = None,
        windows: PaddedWindows | None = None,
    ) -> None:
        super().__init__((total,), device)
        if positions is not None:
            self.positions = positions
        self.mask = mask
        self.windows = windows


class PaddedWindows(Packing):
    """Sequences of at most L tokens, padded to L inside of attention alone; numbers in tensors, as in `MaskedPacking`.

    Args:
        total: T.
        tokens: The token at each place of each sequence; any token where there is none.
        places: The place of each token, counted through all sequences.
        mask: 0 at real tokens, a large negative number at padding.
    """

    def __init__(
        self, total: int, tokens: Int[Tensor, "N L"], places: Int[Tensor, " T"], mask: Float[Tensor, "N L"]
    ) -> None:
        super().__init__((total,), tokens.device)
        self.tokens = tokens
        self.places = places
        self.mask = mask


class PaddedPacking(Packing):
    """A padded batch whose places are laid out sequence after sequence, for graphs that other programs run.

    Its sizes may be symbols of a tracer. Rows of padding are computed like the others, and mean nothing.

    Args:
        mask: True at real tokens.
    """

    def __init__(self, mask: Bool[Tensor, "N L"]) -> None:
        self.mask = mask
        self.shape = (mask.shape[0], mask.shape[1])
        self.device = mask.device
        self.places = torch.arange(mask.shape[1], device=mask.device)
        self.positions = self.places.expand(self.shape).flatten()

    @property
    def count(self) -> int:
        """N."""
        return self.shape[0]

    def unpacked(self, rows: Float[Tensor, "T ..."]) -> Float[Tensor, "N L ..."]:
        """Returns the rows of each sequence; T is N times L."""
        return rows.reshape(*self.shape, *rows.shape[1:])


def _token_order(lengths: Sequence[int], by_length: list[int]) -> Int[Tensor, " T"]:
    """Token indices that bring the sequences into the order `by_length`."""
    sizes = torch.tensor(lengths)
    starts = sizes.cumsum(0) - sizes
    picked = torch.tensor(by_length)
    within = torch.arange(int(sizes.sum())) - torch.repeat_interleave(
        sizes[picked].cumsum(0) - sizes[picked], sizes[picked]
    )
    return torch.repeat_interleave(starts[picked], sizes[picked]) + within
