"""Which inputs share a forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

TOKENS = 2_048
"""Tokens per batch. Nothing is padded: a smaller batch may leave the processor idle, and what lies between the products
of a larger one leaves its cache."""

GPU_TOKENS = 16_384
"""Tokens per batch on a GPU, which needs more at once to be busy."""

BYTES_PER_TOKEN = 1 << 18
"""Memory that a token needs during a forward pass, at most. In jina-embeddings-v4 in bfloat16 the MLP of the decoder
holds 66 kB, and that of the vision tower 82 kB for the four patches of a token; float32 takes twice as much."""


def token_budget(device: torch.device) -> int:
    """Returns how many tokens a batch may have on a device; on a GPU those for which memory is free.

    Args:
        device: Where the model runs, with its weights already there.
    """
    if device.type != "cuda":
        return TOKENS
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for the next batch
    free = torch.cuda.mem_get_info(device)[0] + kept
    return max(1, min(GPU_TOKENS, free // BYTES_PER_TOKEN))


def batches(sizes: Sequence[int], *, max_items: int | None, token_budget: int) -> Iterator[list[int]]:
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
