"""What stands in the place of a tower's layers: compiled graphs, and PyTorch where there is none.

Shapes: T tokens of a packed batch, W width.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polylens.models.description import TowerPart
from polylens.nn.lora import AdapterRows, adapter_rows
from polylens.nn.packing import Packing
from polylens.nn.rope import Rotation
from polylens.runtime.engines.openvino.graphs import Graphs
from polylens.runtime.engines.openvino.rows import LONGEST, Batch, RowInputs, example_inputs, row_inputs, rows_of
from polylens.runtime.engines.openvino.weights import adapter_choice


class CompiledLayers:
    """The layers of a tower, by graphs where there is one, and by PyTorch where there is none; see `Tower.layers`.

    A text of more than `LONGEST` tokens always goes through PyTorch: the mask of its row would be large.

    Args:
        graphs: Those of the tower.
        background: Where graphs are converted.
    """

    def __init__(self, graphs: Graphs, background: ThreadPoolExecutor) -> None:
        self.graphs = graphs
        self._background = background
        self._made: dict[str | None, Future[Any]] = {}
        self._lock = threading.Lock()
        self._inference = threading.Lock()

    def __call__(self, x: Tensor, *arguments: Any) -> Tensor:
        rotation, _, adapters = _told_apart(arguments)
        is_large = self.graphs.is_large
        batch = batch_of(self.graphs.part, x, arguments, choice=self._choice(adapters, len(x)) if is_large else None)
        tasks = _tasks(batch, adapters or [])
        graph_of: list[str | None] = [None] * len(tasks) if is_large else tasks
        hidden = torch.empty_like(x)
        left: list[int] = []
        for task in dict.fromkeys(graph_of):
            chosen = [i for i, its in enumerate(graph_of) if its == task]
            fitting = [i for i in chosen if batch.alone or batch.lengths[i] <= LONGEST]
            graph = self._graph(task, batch, has_adapters=adapters is not None) if fitting else None
            if graph is None:
                left += chosen
                continue
            left += [i for i in chosen if i not in fitting]
            self._through_graph(hidden, graph, batch, fitting)
        if len(left) == len(tasks):
            return self.graphs.tower.layers(x, *arguments)
        if left:
            self._through_torch(hidden, x, batch, [(i, tasks[i]) for i in left], rotation, adapters is not None)
        return hidden

    @property
    def is_preparing(self) -> bool:
        """Whether a graph is being converted."""
        return not all(future.done() for future in list(self._made.values()))

    def wait(self) -> None:
        """Waits until every graph that was begun is ready."""
        for future in list(self._made.values()):
            future.result()

    def _choice(self, adapters: list[AdapterRows] | None, total: int) -> Any:
        return None if adapters is None else adapter_choice(self.graphs.tower, adapters, total)

    def _graph(self, task: str | None, batch: Batch, *, has_adapters: bool) -> Any | None:
        with self._lock:
            if task not in self._made:
                self._made[task] = self._begin(task, batch, has_adapters)
            made = self._made[task]
        is_needed = self.graphs.key.quantization is not None
        return made.result() if is_needed or made.done() else None

    def _begin(self, task: str | None, batch: Batch, has_adapters: bool) -> Future[Any]:
        compiled = self.graphs.cached(task)
        if compiled is None:
            example = example_inputs(batch)
            return self._background.submit(self.graphs.convert, task, example=example, has_adapters=has_adapters)
        made: Future[Any] = Future()
        made.set_result(compiled)
        return made

    def _through_graph(self, hidden: Tensor, graph: Any, batch: Batch, chosen: Sequence[int]) -> None:
        """Computes some sequences by a graph, and writes their rows to `hidden`."""
        starts, lengths = batch.starts, batch.lengths
        for row in rows_of(lengths, chosen, alone=batch.alone):
            inputs = tuple(row_inputs(row, batch).values())
            with self._inference:  # a compiled graph has one set of buffers
                found = torch.from_numpy(graph(inputs, share_inputs=True)[0])
            sizes = [lengths[i] for i in row.sequences]
            for i, states in zip(row.sequences, torch.split(found[: sum(sizes)], sizes), strict=True):
                hidden[starts[i] : starts[i] + lengths[i]] = states

    def _through_torch(
        self,
        hidden: Tensor,
        x: Tensor,
        batch: Batch,
        left: Sequence[tuple[int, str | None]],
        rotation: Rotation | None,
        adapted: bool,
    ) -> None:
        """Computes some sequences by the tower's own layers, and writes their rows to `hidden`."""
        starts, sizes = batch.starts, [batch.lengths[i] for i, _ in left]
        tokens = torch.cat([torch.arange(starts[i], starts[i] + batch.lengths[i]) for i, _ in left])
        windows = [size for i, _ in left for size in batch.windows_of(i)] if batch.windows else []
        packing = Packing(sizes, x.device, windows=windows)
        turned = [] if rotation is None else [Rotation(rotation.cos[tokens], rotation.sin[tokens])]
        adapters = [adapter_rows([task for _, task in left], sizes, x.device)] if adapted else []
        hidden[tokens] = self.graphs.tower.layers(x[tokens], *turned, packing, *adapters)


def batch_of(part: TowerPart, x: Tensor, arguments: Sequence[Any], *, choice: Any = None) -> Batch:
    """Returns the arguments of a tower's layers as arrays.

    Args:
        part: What the family says of the tower.
        x: The first argument.
        arguments: The others; see `Tower.layers`.
        choice: As in `Batch`.
    """
    rotation, packing, _ = _told_apart(arguments)
    return Batch(
        x=x.float().numpy(),
        lengths=packing.lengths,
        rotation=None if rotation is None else (rotation.cos.numpy(), rotation.sin.numpy()),
        choice=choice,
        windows=() if packing.windows is None else packing.windows.lengths,
        causal=part.causal,
        alone=part.one_length or part.any_image,
        masked=not part.any_image,
    )


def recorded_rows(part: TowerPart, x: Tensor, arguments: Sequence[Any]) -> list[RowInputs]:
    """Returns the rows that a graph of one task would get; the arguments are those of `batch_of`."""
    batch = batch_of(part, x, arguments)
    chosen = [i for i, length in enumerate(batch.lengths) if batch.alone or length <= LONGEST]
    return [row_inputs(row, batch) for row in rows_of(batch.lengths, chosen, alone=batch.alone)]


def _told_apart(arguments: Sequence[Any]) -> tuple[Rotation | None, Packing, list[AdapterRows] | None]:
    """Returns the arguments of `Tower.layers` after the first: which of them there are depends on the tower."""
    rotation = next((each for each in arguments if isinstance(each, Rotation)), None)
    packing = next(each for each in arguments if isinstance(each, Packing))
    return rotation, packing, next((each for each in arguments if isinstance(each, list)), None)


def _tasks(batch: Batch, adapters: Sequence[AdapterRows]) -> list[str | None]:
    """Returns the task of each sequence."""
    tasks: list[str | None] = [None] * len(batch.lengths)
    starts = np.asarray(batch.starts)
    for use in adapters:
        rows = starts if use.rows is None else use.rows.numpy()
        for i in np.flatnonzero(np.isin(starts, rows)):
            tasks[i] = use.task
    return tasks
