"""Several processes on one batch: everyone's vectors as documents for everyone, gradients to whom they belong.

Each process holds a slice of the batch. It computes the loss of the whole batch from all vectors, of which only its own
carry gradients; the sum of all processes' gradients then is the gradient of one process with the whole batch.

Processes and their devices are accelerate's; a process that nothing has started with others is one of one.
"""

from __future__ import annotations

import atexit
import importlib
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from polylens.train.joint import Vectors

if TYPE_CHECKING:
    from accelerate import PartialState  # of the train extra; recipes can be listed without it

Thing = TypeVar("Thing")


@cache
def processes() -> PartialState:
    """Those that `torchrun` or `accelerate launch` started, of which each has a GPU of its own where there are any."""
    from accelerate import PartialState

    # These functions have the group of the moment of their import as a default, and the first optimiser imports them.
    # Within the group they would keep it: its threads would let go of tensors while Python shuts down, and abort.
    importlib.import_module("torch.distributed.nn.functional")
    state = PartialState(cpu=not torch.cuda.is_available())
    atexit.register(state.destroy_process_group)
    return state


def slice_of(count: int, rank: int, num_ranks: int) -> range:
    """Which of `count` things a rank has, as even as can be.

    Example:
        >>> [list(slice_of(5, rank, 2)) for rank in range(2)]
        [[0, 1], [2, 3, 4]]
    """
    return range(count * rank // num_ranks, count * (rank + 1) // num_ranks)


def gathered(vectors: Vectors) -> Vectors:
    """Everyone's vectors in the order of ranks; gradients flow to one's own.

    Args:
        vectors: Of this process.
    """
    lengths = _from_all(vectors.lengths)
    return Vectors(
        _rows_of_all(vectors.dense, [len(each) for each in lengths]),
        _rows_of_all(vectors.tokens, [sum(each) for each in lengths]),
        tuple(length for each in lengths for length in each),
    )


def gathered_rows(rows: Tensor) -> Tensor:
    """The same of a matrix, `[N, dim]`, of which each process may have another number of rows.

    Args:
        rows: Of this process.
    """
    return _rows_of_all(rows, _from_all(len(rows)))


def _rows_of_all(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """All ranks' rows; they differ in number, so each is sent padded to the longest."""
    from accelerate.utils import gather, pad_across_processes

    if len(counts) == 1:
        return rows
    received = gather(pad_across_processes(rows.detach())).view(len(counts), max(counts), rows.shape[1])
    parts = [each[:count] for each, count in zip(received, counts, strict=True)]
    parts[processes().process_index] = rows
    return torch.cat(parts)


def any_of(here: bool) -> bool:
    """Whether it holds in any process: the same answer in all of them.

    Args:
        here: Whether it holds in this one.
    """
    return any(_from_all(here))


def add_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Sums every process's gradients, in place."""
    from accelerate.utils import reduce

    if processes().num_processes > 1:
        for parameter in parameters:
            parameter.grad = reduce(parameter.grad, "sum")


def _from_all(thing: Thing) -> list[Thing]:
    """Each process's, in the order of ranks."""
    from accelerate.utils import gather_object

    processes()  # otherwise accelerate takes a process without a GPU for one that is alone
    return gather_object([thing])
