"""Adapters: a batch of mixed tasks = one task at a time = weights merged by hand; no task = the base."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polylens.nn.lora import LoRAConfig, LoRALinear, adapter_rows, merge_adapter

CPU = torch.device("cpu")
CONFIG = LoRAConfig(tasks=("retrieval", "text-matching", "code"), rank=3, alpha=12.0)
ROUNDING = 5e-6  # float32, sums of 16 products near one times a scaling of 4


@pytest.fixture
def layer() -> LoRALinear:
    layer = LoRALinear(16, 10, bias=True, lora=CONFIG)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return layer


def merged(layer: LoRALinear, x: Tensor, task: str | None) -> Tensor:
    """W + (alpha / r) B A, in float64."""
    weight = layer.weight.double()
    if task is not None:
        weight = weight + CONFIG.alpha / CONFIG.rank * layer.lora_b[task].double() @ layer.lora_a[task].double()
    return (x.double() @ weight.T + layer.bias.double()).float()


def tokens(count: int) -> Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("task", [*CONFIG.tasks, None])
def test_one_task_equals_weights_merged_by_hand(layer: LoRALinear, task: str | None) -> None:
    x = tokens(7)
    mine = layer(x, adapter_rows([task, task], [3, 4], CPU))
    torch.testing.assert_close(mine, merged(layer, x, task), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(
    "tasks",
    [
        ["code", "retrieval", "code", "text-matching"],
        ["retrieval", None, "code", None],
        [None, "code", "code", "code"],
        [None, None, None, None],
    ],
)
def test_mixed_tasks_equal_one_at_a_time(layer: LoRALinear, tasks: list[str | None]) -> None:
    lengths = [2, 5, 1, 3]
    x = tokens(sum(lengths))
    mine = layer(x, adapter_rows(tasks, lengths, CPU))
    for part, out, task in zip(x.split(lengths), mine.split(lengths), tasks, strict=True):
        alone = layer(part, adapter_rows([task], [len(part)], CPU))
        torch.testing.assert_close(out, alone, rtol=0, atol=ROUNDING)
        torch.testing.assert_close(out, merged(layer, part, task), rtol=0, atol=ROUNDING)


def test_an_adapter_learns_from_its_own_rows_only(layer: LoRALinear) -> None:
    layer(tokens(6), adapter_rows(["code", "retrieval"], [4, 2], CPU))[:4].sum().backward()
    assert layer.lora_a["code"].grad.abs().sum() > 0
    assert layer.lora_a["retrieval"].grad.abs().sum() == 0
    assert layer.lora_a["text-matching"].grad is None


def test_rows() -> None:
    def rows(tasks: list[str | None], lengths: list[int]) -> list[tuple[str, list[int] | None]]:
        uses = adapter_rows(tasks, lengths, CPU)
        return [(use.task, None if use.rows is None else use.rows.tolist()) for use in uses]

    assert rows(["b"], [3]) == [("b", None)]
    assert rows(["b", "b"], [3, 1]) == [("b", None)]
    assert rows(["b", None, "a", "b"], [2, 1, 1, 1]) == [("a", [3]), ("b", [0, 1, 4])]
    assert rows([None, None], [2, 1]) == []


def test_scaling_is_alpha_over_rank() -> None:
    assert CONFIG.scaling == 4.0
    assert LoRAConfig(tasks=(), rank=32, alpha=32.0).scaling == 1.0


@pytest.mark.parametrize("task", [*CONFIG.tasks, None])
def test_a_merged_adapter_computes_the_same_without_one(layer: LoRALinear, task: str | None) -> None:
    x = tokens(7)
    expected = layer(x, adapter_rows([task], [7], CPU))
    merge_adapter(layer, task)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    torch.testing.assert_close(layer(x, []), expected, rtol=0, atol=ROUNDING)
