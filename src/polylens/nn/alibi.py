"""Attention with linear biases (ALiBi), symmetric: what stands farther away counts less, to the left and to the right.

Shapes: H heads, L tokens of a sequence.

Press et al. 2021, https://arxiv.org/abs/2108.12409; the symmetric form is that of JinaBERT, Günther et al. 2023,
https://arxiv.org/abs/2310.19923, section 3.1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def alibi_slopes(num_heads: int) -> Float[Tensor, " H"]:
    """Returns the slope of each head: 2^(-8/n), 2^(-16/n), ... for n heads, where n is a power of two.

    Other numbers of heads take the slopes of the next smaller power of two, and then every second slope of the next
    larger one.

    Example:
        >>> alibi_slopes(8)[:3]
        tensor([0.5000, 0.2500, 0.1250])
    """
    whole = 1 << (num_heads.bit_length() - 1)
    slopes = [2.0 ** (-8 * (i + 1) / whole) for i in range(whole)]
    between = [2.0 ** (-4 * (i + 1) / whole) for i in range(0, 2 * whole, 2)]
    return torch.tensor([*slopes, *between[: num_heads - whole]])


def reversed_biases(
    slopes: Float[Tensor, " H"], length: int, *, causal: bool, dtype: torch.dtype
) -> Float[Tensor, "H L L"]:
    """Returns the biases of a sequence, -slope * |i - j|, with the rows of the last query first.

    In this order a row is the one above it, moved by one column. So the matrix of a head is a view of one vector of
    2L - 1 numbers, and no memory is needed for it.

    Args:
        slopes: One per head.
        length: Number of tokens.
        causal: True where a token does not see those after it; their bias is minus infinity.
        dtype: Of the result.

    Example:
        >>> reversed_biases(torch.ones(1), 3, causal=False, dtype=torch.float32)
        tensor([[[-2., -1., -0.],
                 [-1., -0., -1.],
                 [-0., -1., -2.]]])
    """
    distances = torch.arange(1 - length, length, device=slopes.device)
    biases = -slopes[:, None] * distances.abs()
    if causal:
        biases[:, length:] = -torch.inf
    return biases.to(dtype).unfold(1, length, 1)
