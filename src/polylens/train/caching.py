"""Cached gradients: a batch of thousands in the memory of one part of it.

Gao et al. 2021, https://arxiv.org/abs/2101.06983. Vectors first, without gradients; then, from the loss, the gradient
of each vector; then each part of the batch once more, to carry that gradient into the weights. The result is that of
the whole batch at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from polylens.models.protocol import Item, Model, Outputs

Mixed = Callable[[], AbstractContextManager[object]]
"""Makes the context in which the model computes, such as that of bfloat16."""


def in_parts(items: Iterable[Item], part_tokens: int) -> Iterator[list[Item]]:
    """A batch in order, in parts of at most so many tokens; an item that has more is a part alone.

    Args:
        items: Taken as they are asked for, so a generator of them holds one part in memory.
        part_tokens: Of the largest part.
    """
    part: list[Item] = []
    tokens = 0
    for item in items:
        if part and tokens + item.num_tokens > part_tokens:
            yield part
            part, tokens = [], 0
        part.append(item)
        tokens += item.num_tokens
    if part:
        yield part


def leaves(model: Model, parts: Iterable[list[Item]], mixed: Mixed) -> tuple[Tensor, ...]:
    """Vectors of a batch, part by part, in which gradients will gather: the dense ones, and those of tokens if any.

    Args:
        model: Any family's.
        parts: Of the batch; at least one.
        mixed: Makes the context in which the model computes.
    """
    with torch.no_grad(), mixed():
        found = [_vectors(model.embed(part)) for part in parts]
    return tuple(torch.cat(kind).requires_grad_() for kind in zip(*found, strict=True))


def carry(model: Model, parts: Iterable[list[Item]], cached: tuple[Tensor, ...], mixed: Mixed) -> None:
    """The gradients of the vectors into the weights, part by part.

    Args:
        model: As it was in `leaves`.
        parts: The same again.
        cached: What `leaves` gave, after the loss was propagated back to it.
        mixed: As there.
    """
    rows = [0] * len(cached)
    for part in parts:
        with mixed():
            found = _vectors(model.embed(part))
        slices = []
        for kind, (vectors, leaf) in enumerate(zip(found, cached, strict=True)):
            assert leaf.grad is not None
            slices.append(leaf.grad[rows[kind] : rows[kind] + len(vectors)])
            rows[kind] += len(vectors)
        torch.autograd.backward(found, slices)


def _vectors(found: Outputs) -> tuple[Tensor, ...]:
    return (found.dense,) if found.multivector is None else (found.dense, found.multivector)
