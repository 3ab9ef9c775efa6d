"""Which inputs share a forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

TOKEN_BUDGET = 8_192
"""Decoder tokens per batch. Nothing is padded: a larger batch only costs memory, a smaller one may leave the processor
idle."""


def batches(sizes: Sequence[int], *, max_items: int | None, token_budget: int = TOKEN_BUDGET) -> Iterator[list[int]]:
    """Groups inputs of similar size into batches.

    Args:
        sizes: Tokens of each input.
        max_items: Largest number of inputs per batch; None leaves only the budget.
        token_budget: Largest number of tokens per batch; an input that exceeds it is a batch of its own.

    Yields:
        Indices into `sizes`, each exactly once. The longest inputs come first, so that what does not fit into memory
        fails at once.

    Example:
        >>> list(batches([3, 9, 4, 2], max_items=None, token_budget=10))
        [[1], [2, 0, 3]]
    """
    batch: list[int] = []
    tokens = 0
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        full = max_items is not None and len(batch) >= max_items
        if batch and (full or tokens + sizes[index] > token_budget):
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += sizes[index]
    if batch:
        yield batch
