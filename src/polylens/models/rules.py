"""Rules between published tensors and our parameters: each names both sides, and the functions that convert them.

Most rules only rename. Some reshape, permute or split, and one kind merges an adapter; each is a pure function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MERGE_ROWS = 128  # rows merged in float32 at a time; larger pieces, freed between weights, fragment the memory

Shape = tuple[int, ...]
Fold = Callable[[Sequence[Tensor], torch.dtype], Sequence[Tensor]]
Unfold = Callable[[Sequence[Tensor]], Sequence[Tensor]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One or several published tensors, and the parameters that they become."""

    published: Mapping[str, Shape]
    """Name -> shape, in the order in which `fold` takes them."""
    ours: tuple[str, ...]
    """Names of our parameters, in the order in which `fold` returns them."""
    fold: Fold
    unfold: Unfold
    """The inverse: our tensors, in the order of `ours`, to the published ones."""


def rename(published: str, shape: Shape, ours: str, ours_shape: Shape | None = None) -> Rule:
    """A rule that only renames: the same numbers in the same order.

    Args:
        published: Name in the file.
        shape: Shape in the file.
        ours: Name of our parameter.
        ours_shape: Shape of our parameter where it differs, as for a convolution's kernel that we hold as a matrix.
    """

    def fold(tensors: Sequence[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
        [tensor] = tensors
        return (tensor.view(ours_shape or shape).to(dtype),)

    return Rule(published={published: shape}, ours=(ours,), fold=fold, unfold=lambda ours: [ours[0].reshape(shape)])


def merged(weight: Tensor, left: Tensor, right: Tensor, scaling: float, dtype: torch.dtype) -> Tensor:
    """Returns W + scaling * left @ right, summed in float32 and then cast, some rows at a time."""
    result = torch.empty(weight.shape, dtype=dtype)
    for start in range(0, len(weight), MERGE_ROWS):
        rows = slice(start, start + MERGE_ROWS)
        result[rows] = torch.addmm(weight[rows].float(), left[rows].float(), right.float(), alpha=scaling)
    return result
