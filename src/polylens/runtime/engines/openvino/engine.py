"""The openvino engine: compiled layers in the place of a model's own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from polylens.models.description import Header, TowerPart
from polylens.models.protocol import Item, Model, Tower
from polylens.runtime.engines.openvino.cache import GraphKey
from polylens.runtime.engines.openvino.calibration import calibration_items
from polylens.runtime.engines.openvino.graphs import Graphs
from polylens.runtime.engines.openvino.layers import CompiledLayers, recorded_rows
from polylens.runtime.engines.openvino.rows import RowInputs
from polylens.runtime.engines.openvino.weights import is_large
from polylens.runtime.engines.torch import TorchEngine
from polylens.types import Embedding, FloatArray


class OpenVinoEngine:
    """Runs a model whose layers are compiled by openvino; embedding tables, pooling and heads stay in PyTorch.

    There is a graph per tower and task, or one for all tasks of a large tower. One that the cache has is compiled when
    its first batch comes. One that must be converted first is made in the background, and PyTorch computes until it is
    ready. A quantized graph is waited for, because its vectors differ more from PyTorch's than those of two engines do.

    Args:
        model: Its weights lie on the CPU.
        header: The header of its checkpoint.
        quantization: "int8", "int4", or None for the number format of the weights.
        cache: The folder of converted graphs.
        background: Where graphs are converted; one thread suffices.
    """

    def __init__(
        self,
        model: Model,
        header: Header,
        *,
        quantization: Literal["int8", "int4"] | None,
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
                graphs = Graphs(
                    tower=tower,
                    is_large=is_large(tower),
                    part=part,
                    key=key.of(part.name),
                    cache=cache,
                    calibration=partial(self._calibration, part),
                )
                self._layers[part.name] = CompiledLayers(graphs, background)
        self._torch = TorchEngine(_with_layers(model, self._layers))

    @property
    def converted(self) -> int:
        """How many graphs were converted because the cache did not have them."""
        return sum(layers.graphs.converted for layers in self._layers.values())

    @property
    def is_preparing(self) -> bool:
        """Whether a graph is being converted; see `Engine.is_preparing`."""
        return any(layers.is_preparing for layers in self._layers.values())

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

        def record(x: Tensor, *arguments: Any) -> Tensor:
            recorded.extend(recorded_rows(part, x, arguments))
            return x

        with torch.inference_mode():
            _with_layers(self._model, {part.name: record}).embed(calibration_items(self._header, task, part))
        return recorded


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
