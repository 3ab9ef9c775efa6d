"""Attention over packed sequences.

Shapes: T tokens of all sequences together, H query heads, K key/value heads, C channels a head.

A ragged batch is one `[tokens, ...]` tensor, sequence after sequence, with the lengths beside it. No padding exists, so
a batch costs what its tokens cost and a sequence never sees its neighbours (docs/decisions/0002-packed.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

SHORT = 128  # tokens; up to here plain batched products beat PyTorch's fused kernel on a CPU
SHORT_WITH_GRAD = 512  # tokens; the fused kernel's backward pass on a CPU is several times slower than plain products


class Packing:
    """Where each sequence of a packed batch lies, and which sequences share a length.

    Made once a forward pass and used by every layer.

    Args:
        lengths: Tokens of each sequence, in packed order; zero-length sequences are dropped.
        device: Where the packed tensors live.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.lengths = tuple(length for length in lengths if length > 0)
        self.total = sum(self.lengths)
        self.longest = max(self.lengths, default=0)
        self.device = device
        by_length = sorted(range(len(self.lengths)), key=self.lengths.__getitem__)
        self.groups = _runs([self.lengths[i] for i in by_length])
        self.order: Int[Tensor, " T"] | None = None
        self.inverse: Int[Tensor, " T"] | None = None
        if by_length != list(range(len(self.lengths))):
            self.order = _token_order(self.lengths, by_length).to(device)
            self.inverse = torch.argsort(self.order)

    def bounds(self) -> Int[Tensor, " S"]:
        """Cumulative lengths from 0, as variable-length kernels take them."""
        return F.pad(torch.tensor(self.lengths, device=self.device).cumsum(0), (1, 0)).to(torch.int32)


def _runs(lengths: list[int]) -> list[tuple[int, int]]:
    """(length, how many) for sorted lengths.

    >>> _runs([3, 3, 7])
    [(3, 2), (7, 1)]
    """
    runs: list[tuple[int, int]] = []
    for length in lengths:
        if runs and runs[-1][0] == length:
            runs[-1] = (length, runs[-1][1] + 1)
        else:
            runs.append((length, 1))
    return runs


def _token_order(lengths: Sequence[int], by_length: list[int]) -> Int[Tensor, " T"]:
    """Token indices that bring the sequences into the order `by_length`."""
    sizes = torch.tensor(lengths)
    starts = sizes.cumsum(0) - sizes
    picked = torch.tensor(by_length)
    within = torch.arange(int(sizes.sum())) - torch.repeat_interleave(
        sizes[picked].cumsum(0) - sizes[picked], sizes[picked]
    )
    return torch.repeat_interleave(starts[picked], sizes[picked]) + within


def attention(
    queries: Float[Tensor, "T H C"],
    keys: Float[Tensor, "T K C"],
    values: Float[Tensor, "T K C"],
    packing: Packing,
    *,
    causal: bool,
) -> Float[Tensor, "T H C"]:
    """Softmax attention inside each sequence of a packed batch; nothing crosses a sequence's border.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; grouped key/value heads, Ainslie et al. 2023,
    https://arxiv.org/abs/2305.13245: query head h reads key head h // (H / K).

    Args:
        queries: Already rotated.
        keys: Already rotated.
        values: One a key.
        packing: The sequences; its lengths add up to T.
        causal: True where a token sees itself and what came before it.

    Returns:
        One row a token, in the order that came in.
    """
    groups = queries.shape[1] // keys.shape[1]
    if groups > 1:
        keys, values = keys.repeat_interleave(groups, dim=1), values.repeat_interleave(groups, dim=1)
    if queries.is_cuda and queries.dtype in (torch.bfloat16, torch.float16):
        return _flash(queries, keys, values, packing, causal=causal)
    if packing.order is not None:
        queries, keys, values = (x.index_select(0, packing.order) for x in (queries, keys, values))
    limit = SHORT_WITH_GRAD if torch.is_grad_enabled() and queries.requires_grad else SHORT
    sizes = [length * count for length, count in packing.groups]
    outputs = []
    # split, not slices: its backward pass is one concatenation, theirs a full-sized sum for each group
    by_length = (torch.split(x, sizes) for x in (queries, keys, values))
    for (length, count), *group in zip(packing.groups, *by_length, strict=True):
        q, k, v = (x.view(count, length, *x.shape[1:]).transpose(1, 2) for x in group)
        attend = _products if length <= limit and not q.is_cuda else _fused
        outputs.append(attend(q, k, v, causal).transpose(1, 2).flatten(0, 1))
    mixed = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return mixed if packing.inverse is None else mixed.index_select(0, packing.inverse)


def _products(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """The definition, batched: `[N, H, L, C]` in and out."""
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
    if causal:
        later = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return torch.matmul(scores.softmax(dim=-1), v)


def _fused(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


def _flash(q: Tensor, k: Tensor, v: Tensor, packing: Packing, *, causal: bool) -> Tensor:
    """Variable-length flash attention: one kernel over the whole ragged batch."""
    from torch.nn.attention.varlen import varlen_attn

    bounds = packing.bounds()
    window = (-1, 0) if causal else (-1, -1)
    mixed = varlen_attn(q, k, v, bounds, bounds, packing.longest, packing.longest, window_size=window)
    assert isinstance(mixed, Tensor)
    return mixed
