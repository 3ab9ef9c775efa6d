"""Pooling: from token vectors to one vector per input.

Shapes: T tokens, N inputs, E embedding width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def span_mean(
    tokens: Float[Tensor, "T E"], starts: Int[Tensor, " N"], stops: Int[Tensor, " N"]
) -> Float[Tensor, "N E"]:
    """Averages the rows `starts[i] : stops[i]` of each input, in float32.

    Args:
        tokens: Rows of the whole packed batch.
        starts: First row of each span.
        stops: One past the last row of each span. Every span has at least one row; spans do not overlap.

    Example:
        >>> span_mean(torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([0, 2]), torch.tensor([2, 3]))
        tensor([[2.],
                [9.]])
    """
    sizes = stops - starts
    owner = torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes)
    within = torch.arange(len(owner), device=sizes.device) - (sizes.cumsum(0) - sizes)[owner]
    picked = tokens[starts[owner] + within].float()
    sums = torch.zeros(len(sizes), tokens.shape[1], dtype=torch.float32, device=tokens.device)
    return sums.index_add(0, owner, picked) / sizes[:, None]


def truncate(vectors: Float[Tensor, "*N E"], dim: int) -> Float[Tensor, "*N D"]:
    """Truncates vectors to their first `dim` numbers and normalises them again (Matryoshka).

    Kusupati et al. 2022, https://arxiv.org/abs/2205.13147.

    Example:
        >>> truncate(torch.tensor([0.6, 0.0, 0.8]), 2)
        tensor([1., 0.])
    """
    return F.normalize(vectors[..., :dim].float(), dim=-1)
