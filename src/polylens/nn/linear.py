"""Linear layers whose weights may lie in the order in which a processor's kernel reads them.

Shapes: ... any leading axes, I input width, O output width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def linear(
    x: Float[Tensor, "... I"], weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"] | None
) -> Float[Tensor, "... O"]:
    """Computes W x + b.

    Args:
        x: Any number of rows.
        weight: As it was read, or from `reordered`, which computes no gradients.
        bias: One per output, or None.
    """
    if weight.is_mkldnn:
        # what torch's own compiler calls for linear layers on a CPU; the last three arguments are for an activation
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return product
    return F.linear(x, weight, bias)


def reordered(weight: Float[Tensor, "O I"], rows: int) -> Float[Tensor, "O I"]:
    """Returns a copy of a weight in oneDNN's own order. Without it oneDNN reorders a weight for every product.

    Args:
        weight: In bfloat16, on a CPU.
        rows: Rows of the products that it will be used for, roughly; other numbers of rows work too.
    """
    copy: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)
    return copy


class Linear(nn.Linear):
    """A linear layer whose weight may be reordered."""

    def forward(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        return linear(x, self.weight, self.bias)
