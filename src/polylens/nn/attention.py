"""Attention over packed sequences: a sequence never sees its neighbours.

Shapes: T tokens of all sequences together, H query heads, K key/value heads, C channels per head.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polylens.nn.alibi import reversed_biases
from polylens.nn.packing import MaskedPacking, Packing, PaddedPacking, PaddedWindows

SHORT = 128  # tokens; up to here plain batched products beat PyTorch's fused kernel on a CPU
SHORT_WITH_GRAD = 512  # tokens; the fused kernel's backward pass on a CPU is several times slower than plain products
APART = -1e4  # added to a score that does not count; nothing is left of it after the softmax
BIASES = 1 << 22  # biases that the fused kernel gets at a time: those of all heads at 8,192 tokens are 800 million

AMPERE = (8, 0)  # compute capability of the first GPUs with bfloat16 arithmetic and variable-length flash attention


def has_flash(device: torch.device, dtype: torch.dtype) -> bool:
    """Returns whether variable-length flash attention runs here: on GPUs since Ampere, in 16-bit types."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    return torch.cuda.get_device_capability(device) >= AMPERE


def attention(
    queries: Float[Tensor, "T H C"],
    keys: Float[Tensor, "T K C"],
    values: Float[Tensor, "T K C"],
    packing: Packing,
    *,
    causal: bool,
    slopes: Float[Tensor, " H"] | None = None,
) -> Float[Tensor, "T H C"]:
    """Computes softmax attention inside each sequence of a packed batch; nothing crosses a sequence's border.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; grouped key/value heads, Ainslie et al. 2023,
    https://arxiv.org/abs/2305.13245: query head h reads key head h // (H / K).

    Args:
        queries: Already rotated.
        keys: Already rotated.
        values: One per key.
        packing: The sequences; its lengths add up to T.
        causal: True where a token sees itself and the tokens before it only.
        slopes: For ALiBi, one per head: the score of tokens i and j of a sequence gets the bias -slope * |i - j|. There
            is no flash attention with biases.

    Returns:
        One row per token, in the order of the input.
    """
    compiled = isinstance(packing, (MaskedPacking, PaddedPacking, PaddedWindows))
    if not compiled and slopes is None and has_flash(queries.device, queries.dtype):
        return _flash(queries, keys, values, packing, causal=causal)
    groups = queries.shape[1] // keys.shape[1]
    if groups > 1:
        keys, values = keys.repeat_interleave(groups, dim=1), values.repeat_interleave(groups, dim=1)
    if isinstance(packing, MaskedPacking):
        return _masked(queries, keys, values, packing, slopes)
    if isinstance(packing, PaddedWindows):
        return _in_windows(queries, keys, values, packing)
    if isinstance(packing, PaddedPacking):
        return _padded(queries, keys, values, packing, causal, slopes)
    if packing.order is not None:
        queries, keys, values = (x.index_select(0, packing.order) for x in (queries, keys, values))
    limit = SHORT_WITH_GRAD if torch.is_grad_enabled() and queries.requires_grad else SHORT
    sizes = [length * count for length, count in packing.groups]
    outputs = []
    # split, not slices: its backward pass is one concatenation; that of slices sums a full-sized tensor per group
    by_length = (torch.split(x, sizes) for x in (queries, keys, values))
    for (length, count), *group in zip(packing.groups, *by_length, strict=True):
        q, k, v = (x.view(count, length, *x.shape[1:]).transpose(1, 2) for x in group)
        attend = _products if length <= limit and not q.is_cuda else _fused
        outputs.append(attend(q, k, v, causal, slopes).transpose(1, 2).flatten(0, 1))
    mixed = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return mixed if packing.inverse is None else mixed.index_select(0, packing.inverse)


def _masked(q: Tensor, k: Tensor, v: Tensor, packing: MaskedPacking, slopes: Tensor | None) -> Tensor:
    """Computes attention over all tokens at once, with a mask of numbers: `[T, H, C]` in and out."""
    bias = None if packing.mask is None else packing.mask[None]
    if slopes is not None:
        assert bias is not None, "linear biases come with a mask"
        distances = (packing.positions[:, None] - packing.positions[None]).abs()
        bias = bias - slopes[:, None, None] * distances
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    mask = None if bias is None else bias[None].to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)[0].transpose(0, 1)


def _in_windows(q: Tensor, k: Tensor, v: Tensor, packing: PaddedWindows) -> Tensor:
    """Computes attention in which no token is causal, over sequences padded to one length: `[T, H, C]` in and out."""
    q, k, v = (x[packing.tokens].transpose(1, 2) for x in (q, k, v))
    mask = packing.mask[:, None, None].to(q.dtype)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return mixed.transpose(1, 2).flatten(0, 1)[packing.places]


def _padded(q: Tensor, k: Tensor, v: Tensor, packing: PaddedPacking, causal: bool, slopes: Tensor | None) -> Tensor:
    """Computes attention over a padded batch, in which nothing attends to padding: `[N L, H, C]` in and out."""
    apart = ~packing.mask[:, None, None]
    if causal:
        apart = apart | (packing.places[None] > packing.places[:, None])
    bias = apart.to(q.dtype) * APART
    if slopes is not None:
        bias = bias - slopes[:, None, None] * (packing.places[:, None] - packing.places[None]).abs()
    q, k, v = (packing.unpacked(x).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(0, 1)


def _products(q: Tensor, k: Tensor, v: Tensor, causal: bool, slopes: Tensor | None) -> Tensor:
    """Computes attention as it is defined, for a batch of sequences of one length: `[N, H, L, C]` in and out."""
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
    if slopes is not None:
        scores = scores + reversed_biases(slopes, q.shape[-2], causal=causal, dtype=scores.dtype).flip(1)
    elif causal:
        later = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return torch.matmul(scores.softmax(dim=-1), v)


def _fused(q: Tensor, k: Tensor, v: Tensor, causal: bool, slopes: Tensor | None) -> Tensor:
    """Runs PyTorch's fused kernel; with biases on some query rows at a time, because it wants a mask of numbers."""
    if slopes is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    length = q.shape[-2]
    biases = reversed_biases(slopes, length, causal=causal, dtype=q.dtype)
    rows = max(1, BIASES // (len(slopes) * length))
    blocks = zip(torch.split(q.flip(-2), rows, dim=-2), torch.split(biases, rows, dim=1), strict=True)
    mixed = [F.scaled_dot_product_attention(block, k, v, attn_mask=bias.contiguous()[None]) for block, bias in blocks]
    return torch.cat(mixed, dim=-2).flip(-2)


@functools.cache
def _parameters(kernel: Callable[..., Any]) -> frozenset[str]:
    """The names of a kernel's parameters; looked up once, because each layer asks."""
    return frozenset(inspect.signature(kernel).parameters)


def _flash(q: Tensor, k: Tensor, v: Tensor, packing: Packing, *, causal: bool) -> Tensor:
    """Runs variable-length flash attention: one kernel over the whole ragged batch, with grouped heads as they are.

    `num_splits=1` keeps a sequence's result the same whatever the longest of its batch is. Versions of PyTorch that do
    not know these options get a key per query head.
    """
    from torch.nn.attention.varlen import varlen_attn

    bounds = packing.bounds
    window = (-1, 0) if causal else (-1, -1)
    longest, groups = packing.longest, q.shape[1] // k.shape[1]
    known = _parameters(varlen_attn)
    options: dict[str, Any] = {"num_splits": 1} if "num_splits" in known else {}
    if "enable_gqa" in known:
        options["enable_gqa"] = groups > 1
    elif groups > 1:
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    mixed = varlen_attn(q, k, v, bounds, bounds, longest, longest, window_size=window, **options)
    assert isinstance(mixed, Tensor)
    return mixed
