"""The openvino engine: compiled layers in the place of a model's own.

Shapes: T tokens of a packed batch, W width.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from polylens.models.description import Header, TowerPart
from polylens.models.protocol import Item, Model, Tower
from polylens.nn.lora import AdapterRows, adapter_rows
from polylens.nn.packing import Packing
from polylens.runtime.engines.openvino.cache import GraphKey
from polylens.runtime.engines.openvino.calibration import calibration_items
from polylens.runtime.engines.openvino.graphs import Graphs
from polylens.runtime.engines.openvino.rows import LONGEST, RowInputs, row_inputs, rows_of
from polylens.runtime.engines.torch import TorchEngine
from polylens.types import Embedding, FloatArray

TRACED_TOKENS = 24  # of the row by which layers are traced that take rows of any size


class OpenVinoEngine:
    """Runs a model whose layers are compiled by openvino; embedding tables, pooling and heads stay in PyTorch.

    There is a graph per tower and task. One that the cache has is compiled when its first batch comes. One that must be
    converted first is made in the background, and PyTorch computes until it is ready. A quantized graph is waited for,
    because its vectors differ more from PyTorch's than those of two engines do.

    Args:
        model: Its weights lie on the CPU.
        header: The header of its checkpoint.
        quantization: "int8", or None for the number format of the weights.
        cache: The folder of converted graphs.
        background: Where graphs are converted; one thread suffices.
    """

    def __init__(
        self,
        model: Model,
        header: Header,
        *,
        quantization: Literal["int8"] | None,
        cache: Path,
        background: ThreadPoolExecutor,
    ) -> None:
        self._model = model
        self._header = header
        self._layers: dict[str, CompiledLayers] = {}
        dtype = str(next(iter(model.named_parameters()))[1].dtype).removeprefix("torch.")
        key = GraphKey(fingerprint=header.fingerprint, tower="", task=None, dtype=dtype, quantization=quantization)
        for part in header.family.towers:
            tower: Tower | None = getattr(model, part.name)
            if tower is not None:
                calibration = partial(self._calibration, part)
                graphs = Graphs(tower=tower, key=key.of(part.name), cache=cache, calibration=calibration)
                self._layers[part.name] = CompiledLayers(graphs, background, one_length=part.one_length)
        self._torch = TorchEngine(_with_layers(model, self._layers))

    @property
    def converted(self) -> int:
        """How many graphs were converted because the cache did not have them."""
        return sum(layers.graphs.converted for layers in self._layers.values())

    def run(self, items: Sequence[Item]) -> Iterator[list[Embedding]]:
        """Runs one batch; see `Engine.run`."""
        return self._torch.run(items)

    def score(self, items: Sequence[Item]) -> FloatArray:
        """Scores one batch of pairs; see `Engine.score`."""
        return self._torch.score(items)

    def prepare(self, items: Sequence[Item]) -> None:
        """Makes every graph that these inputs need; see `Engine.prepare`."""
        for item in items:
            list(self.run([item]))
        for layers in self._layers.values():
            layers.wait()

    def _calibration(self, part: TowerPart, task: str | None) -> list[RowInputs]:
        """Returns rows of a tower for the texts and images of `calibration_items`."""
        recorded: list[RowInputs] = []

        def record(x: Tensor, packing: Packing, *_adapters: list[AdapterRows]) -> Tensor:
            lengths = packing.lengths
            rows = rows_of(lengths, range(len(lengths)), one_length=part.one_length)
            recorded.extend(row_inputs(row, x.float().numpy(), _starts(lengths), lengths) for row in rows)
            return x

        with torch.inference_mode():
            _with_layers(self._model, {part.name: record}).embed(calibration_items(self._header, task, part))
        return recorded


class CompiledLayers:
    """The layers of a tower, by graphs where there is one, and by PyTorch where there is none; see `Tower.layers`.

    A text of more than `LONGEST` tokens always goes through PyTorch: the mask of its row would be large.

    Args:
        graphs: Those of the tower.
        background: Where graphs are converted.
        one_length: Whether all sequences have the same length; each then has a row of its own.
    """

    def __init__(self, graphs: Graphs, background: ThreadPoolExecutor, *, one_length: bool) -> None:
        self.graphs = graphs
        self._background = background
        self._one_length = one_length
        self._made: dict[str | None, Future[Any]] = {}
        self._lock = threading.Lock()
        self._inference = threading.Lock()

    def __call__(self, x: Tensor, packing: Packing, *adapters: list[AdapterRows]) -> Tensor:
        lengths, starts = packing.lengths, _starts(packing.lengths)
        tasks = _tasks(lengths, adapters)
        tokens, hidden = x.float().numpy(), torch.empty_like(x)
        left: list[int] = []
        for task in dict.fromkeys(tasks):
            chosen = [i for i, its in enumerate(tasks) if its == task]
            fitting = [i for i in chosen if self._one_length or lengths[i] <= LONGEST]
            size = (lengths[0] if self._one_length else TRACED_TOKENS, x.shape[1])
            graph = self._graph(task, size, has_adapters=bool(adapters)) if fitting else None
            if graph is None:
                left += chosen
                continue
            left += [i for i in chosen if i not in fitting]
            for row in rows_of(lengths, fitting, one_length=self._one_length):
                with self._inference:  # a compiled graph has one set of buffers
                    found = torch.from_numpy(graph(row_inputs(row, tokens, starts, lengths), share_inputs=True)[0])
                sizes = [lengths[i] for i in row.sequences]
                for i, states in zip(row.sequences, torch.split(found[: sum(sizes)], sizes), strict=True):
                    hidden[starts[i] : starts[i] + lengths[i]] = states
        if left:
            self._through_torch(hidden, x, lengths, [(i, tasks[i]) for i in left], bool(adapters))
        return hidden

    def wait(self) -> None:
        """Waits until every graph that was begun is ready."""
        for future in list(self._made.values()):
            future.result()

    def _graph(self, task: str | None, size: tuple[int, int], *, has_adapters: bool) -> Any | None:
        with self._lock:
            if task not in self._made:
                self._made[task] = self._begin(task, size, has_adapters)
            made = self._made[task]
        is_needed = self.graphs.key.quantization is not None
        return made.result() if is_needed or made.done() else None

    def _begin(self, task: str | None, size: tuple[int, int], has_adapters: bool) -> Future[Any]:
        compiled = self.graphs.cached(task)
        if compiled is None:
            return self._background.submit(self.graphs.convert, task, size=size, has_adapters=has_adapters)
        made: Future[Any] = Future()
        made.set_result(compiled)
        return made

    def _through_torch(
        self, hidden: Tensor, x: Tensor, lengths: Sequence[int], left: Sequence[tuple[int, str | None]], adapted: bool
    ) -> None:
        """Computes some sequences by the tower's own layers, and writes their rows to `hidden`."""
        starts, sizes = _starts(lengths), [lengths[i] for i, _ in left]
        tokens = torch.cat([torch.arange(starts[i], starts[i] + lengths[i]) for i, _ in left])
        adapters = [adapter_rows([task for _, task in left], sizes, x.device)] if adapted else []
        hidden[tokens] = self.graphs.tower.layers(x[tokens], Packing(sizes, x.device), *adapters)


def _starts(lengths: Sequence[int]) -> list[int]:
    return list(accumulate(lengths, initial=0))[:-1]


def _tasks(lengths: Sequence[int], adapters: tuple[list[AdapterRows], ...]) -> list[str | None]:
    """Returns the task of each sequence."""
    tasks: list[str | None] = [None] * len(lengths)
    starts = np.asarray(_starts(lengths))
    for use in adapters[0] if adapters else []:
        rows = starts if use.rows is None else use.rows.numpy()
        for i in np.flatnonzero(np.isin(starts, rows)):
            tasks[i] = use.task
    return tasks


def _with_layers(model: Model, layers: Mapping[str, Callable[..., Tensor]]) -> Model:
    """Returns a model that shares all weights with another, and computes the layers of some towers differently."""
    network = cast("nn.Module", model)
    served = copy.copy(network)
    served._modules = dict(network._modules)
    for name, compute in layers.items():
        tower = copy.copy(network._modules[name])
        assert tower is not None
        tower.__dict__["layers"] = compute
        served._modules[name] = tower
    return cast("Model", served)
