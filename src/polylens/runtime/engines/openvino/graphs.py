"""From the layers of a tower to a compiled graph."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from polylens.models.description import TowerPart
from polylens.models.protocol import Tower
from polylens.nn.packing import MaskedPacking, PaddedWindows
from polylens.nn.rope import Rotation
from polylens.runtime.engines.openvino.cache import GraphKey, read_graph, write_graph
from polylens.runtime.engines.openvino.library import computes_in_bfloat16, core, multiplies_tiles, nncf, openvino
from polylens.runtime.engines.openvino.rows import RowInputs
from polylens.runtime.engines.openvino.weights import large_twin, page_out, small_twin

THIN = r".*aten::linear/MatMul_[12]$"  # the products of adapters: the second and third of `weights.Linear`

Calibration = Callable[[str | None], Sequence[RowInputs]]
"""Task -> rows by which the ranges of the activations are measured."""

GROUP = 128
"""Weights of a 4-bit matrix that share a scale; fewer where the matrix's inputs cannot be divided by it."""

ACTIVATION_GROUP = 128
"""Activations that share a scale where only weights are quantized: openvino then rounds activations to 8 bits as they
come, which it does in graphs of float32 alone. With 32, the layers of jina-embeddings-v4 took 24 % longer."""


@dataclass(kw_only=True, slots=True)
class Graphs:
    """The graphs of one tower: converted once per task, read from the cache afterwards.

    A large tower has one graph with all its adapters, whose matrices are never copied in float32; see `weights.LARGE`.

    Args:
        tower: The network; it stays as it is.
        is_large: Whether it is large.
        part: What the family says of it.
        key: What every graph of it depends on; the task is filled in.
        cache: The folder of converted graphs.
        calibration: For int8, unless only weights are quantized.
    """

    tower: Tower
    is_large: bool
    part: TowerPart
    key: GraphKey
    cache: Path
    calibration: Calibration
    converted: int = field(default=0, init=False)
    """How many graphs the cache did not have."""
    _sources: list[nn.Module] = field(default_factory=list, init=False)
    """Twins that a graph reads its weights from, because there is no file."""

    def cached(self, task: str | None) -> Any | None:
        """Returns the compiled graph of a task; None where the cache does not have it."""
        path = read_graph(self.cache, replace(self.key, task=task))
        if path is None:
            return None
        try:
            return self._compile(str(path))
        except RuntimeError:  # whole, but openvino cannot read it: it is made again
            return None

    def convert(self, task: str | None, *, example: RowInputs, has_adapters: bool) -> Any:
        """Converts the layers with a task's adapter merged, keeps the graph in the cache, and compiles it.

        Args:
            task: None is the network without an adapter, or a large one with all.
            example: A row. The graph takes rows of any number of tokens, unless the layers hold something for each
                place, as for the patches of an image at one size.
            has_adapters: Whether the layers take a list of adapters.
        """
        self.converted += 1
        # the graph borrows the weights, and does not keep those in bfloat16 alive
        twin = large_twin(self.tower) if self.is_large else small_twin(self.tower, task)
        graph = _traced(cast("Tower", twin), example, has_adapters=has_adapters)
        if self._weights_only:
            graph = _with_small_weights(graph, in_4_bits=self.key.quantization == "int4" and self.part.causal)
        elif self.key.quantization is not None:
            graph = _quantized(graph, self.calibration(task))
        key = replace(self.key, task=task)
        path = write_graph(self.cache, key, graph, half=self.key.dtype != "float32" and not self.is_large)
        if path is None:
            self._sources.append(twin)
            return self._compile(graph)
        if self.is_large:
            page_out(self.tower)
        return self._compile(str(path))

    @property
    def _weights_only(self) -> bool:
        """Whether only weights are quantized: those of Qwen's towers.

        With fixed ranges for their activations too, nano's vectors fell to a cosine of 0.982 with those of float32.
        """
        return self.key.quantization is not None and (self.part.causal or self.part.any_image)

    def _compile(self, graph: Any) -> Any:
        in_bfloat16 = self.key.dtype == "bfloat16" and computes_in_bfloat16()
        if self._weights_only:
            in_bfloat16 &= multiplies_tiles()  # otherwise activations are rounded to 8 bits
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if in_bfloat16 else "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": ACTIVATION_GROUP,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # a server's worker processes would all be pinned to the same cores
        }
        return core().compile_model(graph, "CPU", options)


class _Layers(nn.Module):
    """The layers of a tower as a function of tensors alone, named as in `RowInputs`."""

    def __init__(self, tower: Tower, names: Sequence[str], total: int, *, has_adapters: bool) -> None:
        super().__init__()
        self.tower = tower
        self.names = names
        self.total = total
        self.has_adapters = has_adapters

    def forward(self, *tensors: Tensor) -> Tensor:
        given = dict(zip(self.names, tensors, strict=True))
        rotation = [Rotation(given["cos"], given["sin"])] if "cos" in given else []
        adapters: list[Any] = [given.get("choice", [])] if self.has_adapters else []
        return self.tower.layers(given["x"], *rotation, self._packing(given), *adapters)

    def _packing(self, given: Mapping[str, Tensor]) -> MaskedPacking:
        windows = None
        if "tokens" in given:
            windows = PaddedWindows(self.total, given["tokens"], given["places"], given["within"])
        device = given["x"].device
        return MaskedPacking(
            self.total, device, positions=given.get("positions"), mask=given.get("mask"), windows=windows
        )


def _traced(tower: Tower, example: RowInputs, *, has_adapters: bool) -> Any:
    """Returns an `openvino.Model` of the layers, which computes in float32."""
    tensors = tuple(torch.from_numpy(values) for values in example.values())
    layers = _Layers(tower, list(example), len(tensors[0]), has_adapters=has_adapters).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openvino traces with torch.jit, which torch calls deprecated
        layers(*tensors)  # what a tower computes once and keeps, such as angles, is then traced as a constant
        return openvino().convert_model(layers, example_input=tensors)


def _quantized(graph: Any, rows: Sequence[RowInputs]) -> Any:
    """Returns the graph with products of 8-bit integers; the ranges of its activations are those of the rows.

    SmoothQuant, which nncf applies by itself, is left out: on random weights of 6 layers the least cosine with float32
    fell from 0.9997 to 0.9953.
    """
    library = nncf()
    parameters = library.AdvancedQuantizationParameters()
    parameters.smooth_quant_alphas.matmul = parameters.smooth_quant_alphas.convolution = -1
    data = library.Dataset([tuple(row.values()) for row in rows])
    with contextlib.redirect_stdout(io.StringIO()):  # progress bars
        return library.quantize(
            graph,
            data,
            model_type=library.ModelType.TRANSFORMER,
            subset_size=len(rows),
            advanced_parameters=parameters,
        )


def _with_small_weights(graph: Any, *, in_4_bits: bool) -> Any:
    """Returns the graph with its matrices in 4 or 8 bits; those of adapters, which are thin, always get 8.

    Each group of weights has a zero point: without one, nncf 3.4 made numbers that are none from bfloat16.
    """
    library = nncf()
    modes = library.CompressWeightsMode
    with contextlib.redirect_stdout(io.StringIO()):  # progress bars
        if in_4_bits:
            advanced = library.AdvancedCompressionParameters(
                group_size_fallback_mode=library.GroupSizeFallbackMode.ADJUST
            )
            graph = library.compress_weights(
                graph,
                mode=modes.INT4_ASYM,
                all_layers=True,
                group_size=GROUP,
                ignored_scope=library.IgnoredScope(patterns=[THIN], validate=False),
                advanced_parameters=advanced,
            )
        return library.compress_weights(graph, mode=modes.INT8_ASYM)
