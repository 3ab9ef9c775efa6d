"""Rules between published tensors and our parameters: each names both sides, and the functions that convert them.

Most rules only rename. Some reshape, permute or split, and one kind merges an adapter; each is a pure function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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


def norm(published: str, ours: str, width: int) -> Iterator[Rule]:
    """Yields the rules of a LayerNorm, whose weight and bias only change their names."""
    for part in ("weight", "bias"):
        yield rename(f"{published}.{part}", (width,), f"{ours}.{part}")


def linear(published: str, ours: str, outputs: int, inputs: int) -> Iterator[Rule]:
    """Yields the rules of a linear layer, whose weight and bias only change their names."""
    yield rename(f"{published}.weight", (outputs, inputs), f"{ours}.weight")
    yield rename(f"{published}.bias", (outputs,), f"{ours}.bias")


def stacked(published: Mapping[str, Shape], ours: str) -> Rule:
    """Returns the rule that stacks several published tensors of one shape, one below the other."""

    def fold(tensors: Sequence[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
        return (torch.cat([tensor.to(dtype) for tensor in tensors]),)

    def unfold(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return tensors[0].chunk(len(published))

    return Rule(published=published, ours=(ours,), fold=fold, unfold=unfold)


def unfolded(rules: Iterable[Rule], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns published name -> tensor for all of our parameters that the rules name."""
    tensors: dict[str, Tensor] = {}
    for rule in rules:
        published = rule.unfold([parameters[name] for name in rule.ours])
        tensors |= {name: each.contiguous() for name, each in zip(rule.published, published, strict=True)}
    return tensors
