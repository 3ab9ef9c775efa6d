"""Layers that more than one network uses.

Shapes: ... any leading axes, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Divides by the root mean square of the last axis, in float32, then scales in the type of the input.

    Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467.

    Args:
        width: Size of the last axis.
        eps: Added to the mean square.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "... W"]) -> Float[Tensor, "... W"]:
        # the weight stays outside: the published code rounds to the type of the input before it scales
        return self.weight * F.rms_norm(x, self.weight.shape, eps=self.eps)
