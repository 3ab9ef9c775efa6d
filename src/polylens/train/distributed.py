"""Several processes on one batch: each process contrasts with the vectors of all, and keeps the gradients of its own.

Each process holds a slice of the batch. It computes the loss of the whole batch from all vectors, of which only its own
carry gradients; the sum of all processes' gradients then is the gradient of one process with the whole batch.

Processes and their devices are accelerate's; a process that was started alone is the only one.
"""

from __future__ import annotations

import atexit
import importlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from polylens.train.joint import Vectors

Thing = TypeVar("Thing")


@runtime_checkable
class Processes(Protocol):
    """The part of accelerate's `PartialState` that is used here; accelerate itself is imported when a run begins."""

    device: torch.device
    is_main_process: bool
    process_index: int
    num_processes: int

    def wait_for_everyone(self) -> None: ...

    def main_process_first(self) -> AbstractContextManager[None]: ...


@cache
def processes() -> Processes:
    """The processes that `torchrun` or `accelerate launch` started, each with a GPU of its own where there are GPUs."""
    from accelerate import PartialState

    # These functions have the group of the moment of their import as a default, and the first optimiser imports them.
    # Within the group they would keep it: its threads would let go of tensors while Python shuts down, and abort.
    importlib.import_module("torch.distributed.nn.functional")
    state = PartialState(cpu=not torch.cuda.is_available())
    atexit.register(state.destroy_process_group)
    return state


def slice_of(count: int, rank: int, num_ranks: int) -> range:
    """The share of a rank in `count` things, as evenly divided as possible.

    Example:
        >>> [list(slice_of(5, rank, 2)) for rank in range(2)]
        [[0, 1], [2, 3, 4]]
    """
    return range(count * rank // num_ranks, count * (rank + 1) // num_ranks)


def gathered(vectors: Vectors) -> Vectors:
    """The vectors of all processes in the order of ranks; gradients flow to those of this process.

    Args:
        vectors: The vectors of this process.
    """
    lengths = _from_all(vectors.lengths)
    return Vectors(
        _rows_of_all(vectors.dense, [len(each) for each in lengths]),
        _rows_of_all(vectors.tokens, [sum(each) for each in lengths]),
        tuple(length for each in lengths for length in each),
    )


def gathered_rows(rows: Tensor) -> Tensor:
    """The rows of all processes in the order of ranks; gradients flow to those of this process.

    Args:
        rows: `[N, dim]` of this process; N may differ between processes.
    """
    return _rows_of_all(rows, _from_all(len(rows)))


def _rows_of_all(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """The rows of all ranks; they differ in number, so each rank sends its own padded to the longest."""
    from accelerate.utils import gather, pad_across_processes

    if len(counts) == 1:
        return rows
    received = gather(pad_across_processes(rows.detach())).view(len(counts), max(counts), rows.shape[1])
    parts = [each[:count] for each, count in zip(received, counts, strict=True)]
    parts[processes().process_index] = rows
    return torch.cat(parts)


def any_of(here: bool) -> bool:
    """Whether a condition holds in any process; the answer is the same in all of them.

    Args:
        here: Whether it holds in this process.
    """
    return any(_from_all(here))


def add_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Sums the gradients of all processes, in place."""
    from accelerate.utils import reduce

    if processes().num_processes > 1:
        for parameter in parameters:
            parameter.grad = reduce(parameter.grad, "sum")


def _from_all(thing: Thing) -> list[Thing]:
    """The values of all processes, in the order of ranks."""
    from accelerate.utils import gather_object

    processes()  # without it accelerate treats a process without a GPU as the only one
    return gather_object([thing])
