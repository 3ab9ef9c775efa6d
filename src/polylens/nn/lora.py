"""Low-rank adapters, chosen per row of a packed batch.

Shapes: T tokens, I input width, O output width, W width of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polylens.nn.linear import linear


@dataclass(frozen=True, kw_only=True, slots=True)
class LoRAConfig:
    """The contents of a published `adapter_config.json`."""

    tasks: tuple[str, ...]  # one adapter per task, in the order of the published configuration
    rank: int  # width of the bottleneck
    alpha: float  # the low-rank product is scaled by alpha / rank

    @property
    def scaling(self) -> float:
        return self.alpha / self.rank


NO_ADAPTERS = LoRAConfig(tasks=(), rank=1, alpha=1.0)
"""For a model without adapters: its layers are plain linear ones."""


@dataclass(frozen=True, slots=True)
class AdapterRows:
    """Which tokens of a packed batch use which adapter."""

    task: str
    rows: Int[Tensor, " R"] | None
    """Indices of the tokens; None if all tokens of the batch use it."""


def adapter_rows(tasks: Sequence[str | None], lengths: Sequence[int], device: torch.device) -> list[AdapterRows]:
    """Groups the tokens of a packed batch by task.

    Args:
        tasks: One per sequence; None is the model without an adapter.
        lengths: Tokens of each sequence.
        device: Where the batch lives.

    Example:
        >>> [(use.task, use.rows.tolist()) for use in adapter_rows(["a", "b", "a"], [1, 2, 1], torch.device("cpu"))]
        [('a', [0, 3]), ('b', [1, 2])]
    """
    distinct = sorted({task for task in tasks if task is not None})
    if len(distinct) == 1 and None not in tasks:
        return [AdapterRows(distinct[0], None)]
    task_ids = [-1 if task is None else distinct.index(task) for task in tasks]
    token_tasks = torch.repeat_interleave(torch.tensor(task_ids), torch.tensor(lengths))
    return [AdapterRows(task, (token_tasks == i).nonzero()[:, 0].to(device)) for i, task in enumerate(distinct)]


class LoRALinear(nn.Module):
    """A linear layer with a low-rank correction per task: y = W x + b + (alpha / r) B_task A_task x.

    Hu et al. 2021, https://arxiv.org/abs/2106.09685. The base product runs once over all tokens, each adapter's product
    over the rows of its task: a batch may mix tasks, and no weights are swapped.

    Args:
        inputs: Input width.
        outputs: Output width.
        bias: Whether the base layer has a bias; the adapters have none.
        lora: The adapters.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool, lora: LoRAConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.scaling = lora.scaling
        self.lora_a = nn.ParameterDict({task: torch.empty(lora.rank, inputs) for task in lora.tasks})
        self.lora_b = nn.ParameterDict({task: torch.empty(outputs, lora.rank) for task in lora.tasks})

    def forward(self, x: Float[Tensor, "T I"], adapters: list[AdapterRows]) -> Float[Tensor, "T O"]:
        y = linear(x, self.weight, self.bias)
        for use in adapters:
            down, up = self.lora_a[use.task], self.lora_b[use.task].T
            if use.rows is None:
                y = torch.addmm(y, F.linear(x, down), up, alpha=self.scaling)
            else:
                y = y.index_add(0, use.rows, F.linear(x.index_select(0, use.rows), down) @ up, alpha=self.scaling)
        return y


def merge_adapter(network: nn.Module, task: str | None) -> None:
    """Adds the product of a task's adapter to each linear layer's weight, in place, and removes all adapters of it.

    Args:
        network: Its linear layers change; embedding tables stay as they are.
        task: None only removes the adapters.
    """
    for layer in network.modules():
        if isinstance(layer, LoRALinear):
            if task is not None:
                product = layer.lora_b[task].float() @ layer.lora_a[task].float()
                merged = layer.weight.float() + layer.scaling * product
                layer.weight = nn.Parameter(merged.to(layer.weight.dtype), requires_grad=False)
            layer.lora_a, layer.lora_b = nn.ParameterDict(), nn.ParameterDict()


class LoRAEmbedding(nn.Module):
    """An embedding table with a low-rank correction per task: row i is E[i] + (alpha / r) A_task[i] B_task.

    As in jina-embeddings-v3; jina_clip_v2 facts, section 1.4.

    Args:
        rows: Number of vectors in the table.
        width: Width of each vector.
        lora: The adapters.
    """

    def __init__(self, rows: int, width: int, *, lora: LoRAConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))
        self.scaling = lora.scaling
        self.lora_a = nn.ParameterDict({task: torch.empty(rows, lora.rank) for task in lora.tasks})
        self.lora_b = nn.ParameterDict({task: torch.empty(lora.rank, width) for task in lora.tasks})

    def forward(self, ids: Int[Tensor, " T"], adapters: list[AdapterRows]) -> Float[Tensor, "T W"]:
        y = F.embedding(ids, self.weight)
        for use in adapters:
            down, up = self.lora_a[use.task], self.lora_b[use.task]
            rows = torch.arange(len(ids), device=ids.device) if use.rows is None else use.rows
            y = y.index_add(0, rows, F.embedding(ids[rows], down) @ up, alpha=self.scaling)
        return y


@torch.no_grad()
def merge_tables(network: nn.Module, task: str | None) -> None:
    """Adds the product of a task's adapter to each embedding table, in place, and removes all adapters of it.

    Args:
        network: Its embedding tables change; linear layers stay as they are.
        task: None only removes the adapters.
    """
    for table in network.modules():
        if isinstance(table, LoRAEmbedding):
            if task is not None:
                table.weight.addmm_(table.lora_a[task], table.lora_b[task], alpha=table.scaling)
            table.lora_a, table.lora_b = nn.ParameterDict(), nn.ParameterDict()
