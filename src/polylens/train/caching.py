"""Cached gradients: a batch of thousands in the memory of one part of it.

Gao et al. 2021, https://arxiv.org/abs/2101.06983. Vectors are computed first, without gradients; the loss then gives
the gradient of each vector; at last each part of the batch is computed once more, to propagate that gradient into the
weights. The result is that of the whole batch at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from polylens.models.protocol import Item, Model, Outputs

MakeContext = Callable[[], AbstractContextManager[object]]
"""Makes the context in which the model computes, such as that of bfloat16."""


@dataclass(frozen=True, slots=True)
class CachedVectors:
    """The vectors of a batch, as leaves that gather gradients."""

    leaves: tuple[Tensor, ...]
    """The dense vectors, and the token vectors where the family has them; packed, unit rows."""
    lengths: tuple[int, ...]
    """Tokens of each item."""


def in_parts(items: Iterable[Item], part_tokens: int) -> Iterator[list[Item]]:
    """The items in order, in parts of at most `part_tokens` tokens; a longer item is a part of its own.

    Args:
        items: Consumed as parts are asked for, so a generator keeps one part in memory.
        part_tokens: Most tokens per part.
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


def embed_cached(model: Model, parts: Iterable[list[Item]], make_context: MakeContext) -> CachedVectors:
    """Embeds a batch part by part, without gradients.

    Args:
        model: Any family's.
        parts: The batch; at least one part.
        make_context: Makes the context in which the model computes.
    """
    with torch.no_grad(), make_context():
        outputs = [model.embed(part) for part in parts]
    kinds = zip(*map(_vectors, outputs), strict=True)
    leaves = tuple(torch.cat(kind).requires_grad_() for kind in kinds)
    return CachedVectors(leaves, tuple(chain.from_iterable(each.lengths for each in outputs)))


def backprop_cached(
    model: Model, parts: Iterable[list[Item]], cached: CachedVectors, make_context: MakeContext
) -> None:
    """Propagates the gradients of cached vectors into the weights, part by part.

    Args:
        model: As it was in `embed_cached`.
        parts: The same parts again.
        cached: The result of `embed_cached`, after the loss was propagated back to it.
        make_context: As in `embed_cached`.
    """
    rows = [0] * len(cached.leaves)
    for part in parts:
        with make_context():
            vectors = _vectors(model.embed(part))
        gradients = []
        for kind, (each, leaf) in enumerate(zip(vectors, cached.leaves, strict=True)):
            assert leaf.grad is not None
            gradients.append(leaf.grad[rows[kind] : rows[kind] + len(each)])
            rows[kind] += len(each)
        torch.autograd.backward(vectors, gradients)


def _vectors(outputs: Outputs) -> tuple[Tensor, ...]:
    return (outputs.dense,) if outputs.multivector is None else (outputs.dense, outputs.multivector)
