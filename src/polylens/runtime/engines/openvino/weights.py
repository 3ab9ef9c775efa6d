"""The weights of a tower on their way into a graph, and out of memory once they are there.

Shapes: R tokens of a row, I input width, O output width, A numbers between the two products of all adapters.
"""

from __future__ import annotations

import copy
import ctypes
import mmap
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polylens.models.protocol import Tower
from polylens.nn.lora import AdapterRows, LoRAEmbedding, LoRALinear, merge_adapter
from polylens.runtime.engines.openvino.rows import FloatArray

LARGE = 500_000_000
"""Numbers from which a tower's weights are too many to be copied in float32, or once for each task."""


def is_large(tower: Tower) -> bool:
    """Returns whether the linear layers of a tower have at least `LARGE` numbers."""
    return sum(layer.weight.numel() for layer in _linear_layers(_network(tower))) >= LARGE


def small_twin(tower: Tower, task: str | None) -> nn.Module:
    """Returns a copy of a tower in float32, with a task's adapter merged into it.

    Embedding tables keep their dtype: they are large and do not belong to the layers. What is in float32 already is
    shared and not copied.
    """
    network = _network(tower)
    tables = {id(p) for m in network.modules() if isinstance(m, (nn.Embedding, LoRAEmbedding)) for p in m.parameters()}
    known: dict[int, Any] = {}
    for parameter in network.parameters():
        weight = parameter.detach() if id(parameter) in tables else parameter.detach().float()
        known[id(parameter)] = nn.Parameter(weight, requires_grad=False)
    twin = copy.deepcopy(network, known)
    merge_adapter(twin, task)
    return twin


def large_twin(tower: Tower) -> nn.Module:
    """Returns a copy of a tower that shares its matrices, computes in float32, and has all adapters; see `Linear`."""
    network = _network(tower)
    twin = copy.deepcopy(network, {id(parameter): parameter for parameter in network.parameters()})
    for module in list(twin.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, (nn.Linear, LoRALinear)):
                setattr(module, name, Linear(child))
        if not isinstance(module, (nn.Linear, LoRALinear, nn.Embedding)):
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(parameter.detach().float(), requires_grad=False))
    return twin


class Linear(nn.Module):
    """A linear layer with all its adapters; its matrices keep their number format, products are in float32.

    y = W x + b + U (c * D x), where D and U are the two matrices of each adapter side by side, and c is 1 at the
    numbers of the adapter that a token uses. So one graph has all tasks, and a row may mix them.

    Args:
        layer: Its matrix is shared.
    """

    down: nn.Parameter | None
    up: nn.Parameter | None

    def __init__(self, layer: nn.Linear | LoRALinear) -> None:
        super().__init__()
        self.weight = layer.weight
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().float(), requires_grad=False)
        self.down = self.up = None
        if isinstance(layer, LoRALinear) and layer.lora_a:
            scaled = [layer.scaling * up.detach() for up in layer.lora_b.values()]
            self.down = nn.Parameter(torch.cat(list(layer.lora_a.values())), requires_grad=False)
            self.up = nn.Parameter(torch.cat(scaled, dim=1), requires_grad=False)

    def forward(
        self, x: Float[Tensor, "R I"], choice: Float[Tensor, "R A"] | list[AdapterRows] | None = None
    ) -> Float[Tensor, "R O"]:
        y = F.linear(x, self.weight.float(), self.bias)
        if self.down is None or self.up is None or not isinstance(choice, Tensor):
            return y
        return y + F.linear(F.linear(x, self.down.float()) * choice, self.up.float())


def adapter_choice(tower: Tower, uses: Iterable[AdapterRows], total: int) -> FloatArray | None:
    """Returns `choice` of `Linear` for a packed batch, `[T, A]`; None for a tower without adapters.

    Args:
        tower: All its adapters have the same tasks and rank.
        uses: Which tokens use which task's adapter.
        total: Tokens of the batch.
    """
    layers = [layer for layer in _linear_layers(_network(tower)) if isinstance(layer, LoRALinear) and layer.lora_a]
    if not layers:
        return None
    downs = layers[0].lora_a
    ranks = [len(down) for down in downs.values()]
    stops = dict(zip(downs, np.cumsum(ranks), strict=True))
    choice = np.zeros((total, sum(ranks)), dtype=np.float32)
    for use in uses:
        rows = slice(None) if use.rows is None else use.rows.numpy()
        choice[rows, stops[use.task] - len(downs[use.task]) : stops[use.task]] = 1
    return choice


def page_out(tower: Tower) -> None:
    """Asks the system to take the memory of a tower's matrices back, once a graph has them.

    Where they lie in the checkpoint's file, as weights of its own dtype do, they are read again when they are needed,
    for a text that is too long for a graph. Others stay in memory. Only Linux has this.
    """
    if not sys.platform.startswith("linux"):
        return
    pageout, page = 21, mmap.PAGESIZE  # MADV_PAGEOUT, https://man7.org/linux/man-pages/man2/madvise.2.html
    madvise = ctypes.CDLL(None).madvise
    for layer in _linear_layers(_network(tower)):
        start = -(-layer.weight.data_ptr() // page) * page
        size = layer.weight.data_ptr() + layer.weight.nbytes - start
        if size > 0:
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), ctypes.c_int(pageout))  # an older system refuses


def _linear_layers(network: nn.Module) -> list[nn.Linear | LoRALinear]:
    return [module for module in network.modules() if isinstance(module, (nn.Linear, LoRALinear))]


def _network(tower: Tower) -> nn.Module:
    assert isinstance(tower, nn.Module)
    return tower
