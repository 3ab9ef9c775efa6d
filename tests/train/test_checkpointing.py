"""Gradient checkpointing: which layers it reaches, what is kept in memory, and when it is chosen."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest
import torch
from tests.support import tiny, tiny_clip
from torch import Tensor, nn

from polylens.checkpoints.loading import load_model, read_header
from polylens.models.protocol import Item, Model
from polylens.runtime.prepare import prepare
from polylens.train.checkpointing import checkpoint_layers, wants_checkpointing

CPU = torch.device("cpu")
LAYERS = {"v4": 4 + 3, "clip": 3 + 3}


@pytest.fixture(scope="module", params=LAYERS)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    writer = {"v4": tiny.write, "clip": tiny_clip.write}[family]
    return writer(tmp_path_factory.mktemp("models") / family)


@pytest.fixture
def model(folder: Path) -> nn.Module:
    found = load_model(read_header(folder), device=CPU, dtype=torch.float32)
    assert isinstance(found, nn.Module)
    return found.requires_grad_(True)


@pytest.fixture(scope="module")
def items(folder: Path) -> list[Item]:
    header = read_header(folder)
    inputs = ["a harbour in winter " * 8, PIL.Image.new("RGB", (84, 56), "red"), "salt"]
    task, prompt = header.processor.role("retrieval", "passage")
    return [
        prepare(
            header.processor,
            header.modalities,
            value,
            0,
            task=task,
            prompt_name=prompt,
            max_length=None,
            max_pixels=None,
        )
        for value in inputs
    ]


def total(model: nn.Module, items: list[Item]) -> Tensor:
    assert isinstance(model, Model)
    outputs = model.embed(items)
    loss = (outputs.dense[0] * outputs.dense[1]).sum()
    return loss if outputs.multivector is None else loss + outputs.multivector[0].sum()


def kept(model: nn.Module, items: list[Item]) -> int:
    """Bytes that the graph of a forward pass keeps besides the weights; a tensor and its views count once."""
    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = total(model, items)
    loss.backward()
    return sum(found.values())


def test_gradients_are_the_same_and_less_is_kept(family: str, model: nn.Module, items: list[Item]) -> None:
    before = kept(model, items)
    plain = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad(set_to_none=True)
    assert checkpoint_layers(model) == LAYERS[family]
    after = kept(model, items)
    again = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    assert again.keys() == plain.keys() and any(name.endswith("0.mlp.down.weight") for name in plain)
    assert all(torch.equal(each, again[name]) for name, each in plain.items())
    assert after < before / 3


def test_vectors_are_the_same_without_gradients(model: nn.Module, items: list[Item]) -> None:
    with torch.no_grad():
        before = total(model, items)
        checkpoint_layers(model)
        assert torch.equal(total(model, items), before)


def test_a_large_model_on_a_gpu_is_checkpointed_by_itself() -> None:
    large, small = (nn.Linear(32_768, rows, device="meta", bias=False) for rows in (30_518, 30_517))
    gpu = torch.device("cuda")
    assert wants_checkpointing(None, large, gpu) and not wants_checkpointing(None, small, gpu)  # a billion, and less
    assert not wants_checkpointing(None, large, CPU)
    assert wants_checkpointing(True, small, CPU) and not wants_checkpointing(False, large, gpu)
