"""Several processes on one batch: everyone's vectors as documents for everyone, gradients to whom they belong.

Each process holds a slice of the batch. It computes the loss of the whole batch from all vectors, of which only its own
carry gradients; the sum of all processes' gradients then is the gradient of one process with the whole batch.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from polylens.train.joint import Vectors


@contextmanager
def processes(device: torch.device) -> Iterator[tuple[int, int]]:
    """(rank, number of processes), as `torchrun` started them; (0, 1) without it."""
    if "WORLD_SIZE" not in os.environ:
        yield 0, 1
        return
    # These functions have the group of the moment of their import as a default, and the first optimiser imports them.
    # Within the group they would keep it: its threads would let go of tensors while Python shuts down, and abort.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield dist.get_rank(), dist.get_world_size()
    finally:
        dist.destroy_process_group()


def slice_of(count: int, rank: int, num_ranks: int) -> range:
    """Which of `count` things a rank has, as even as can be.

    Example:
        >>> [list(slice_of(5, rank, 2)) for rank in range(2)]
        [[0, 1], [2, 3, 4]]
    """
    return range(count * rank // num_ranks, count * (rank + 1) // num_ranks)


def gathered(vectors: Vectors, num_ranks: int) -> Vectors:
    """Everyone's vectors in the order of ranks; gradients flow to one's own.

    Args:
        vectors: Of this process.
        num_ranks: How many processes there are.
    """
    if num_ranks == 1:
        return vectors
    lengths: list[tuple[int, ...]] = [()] * num_ranks
    dist.all_gather_object(lengths, vectors.lengths)
    return Vectors(
        _rows_of_all(vectors.dense, [len(each) for each in lengths]),
        _rows_of_all(vectors.tokens, [sum(each) for each in lengths]),
        tuple(length for each in lengths for length in each),
    )


def gathered_rows(rows: Tensor, num_ranks: int) -> Tensor:
    """The same of a matrix, `[N, dim]`, of which each process may have another number of rows.

    Args:
        rows: Of this process.
        num_ranks: How many processes there are.
    """
    if num_ranks == 1:
        return rows
    counts: list[int] = [0] * num_ranks
    dist.all_gather_object(counts, len(rows))
    return _rows_of_all(rows, counts)


def _rows_of_all(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """All ranks' rows; they differ in number, so each is sent padded to the longest."""
    sent = rows.new_zeros(max(counts), rows.shape[1])
    sent[: len(rows)] = rows.detach()
    received = [torch.empty_like(sent) for _ in counts]
    dist.all_gather(received, sent)
    parts = [each[:count] for each, count in zip(received, counts, strict=True)]
    parts[dist.get_rank()] = rows
    return torch.cat(parts)


def wait_for_all(num_ranks: int) -> None:
    """Returns once every process has come here."""
    any_of(False, num_ranks)


def any_of(here: bool, num_ranks: int) -> bool:
    """Whether it holds in any process: the same answer in all of them.

    Args:
        here: Whether it holds in this one.
        num_ranks: How many processes there are.
    """
    if num_ranks == 1:
        return here
    everywhere = [False] * num_ranks
    dist.all_gather_object(everywhere, here)
    return any(everywhere)


def add_gradients(parameters: Sequence[nn.Parameter], num_ranks: int) -> None:
    """Sums every process's gradients, in place."""
    if num_ranks > 1:
        for parameter in parameters:
            assert parameter.grad is not None
            dist.all_reduce(parameter.grad)
