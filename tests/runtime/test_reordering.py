"""Reordered weights: the same vectors bit by bit, from a model that stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.support import tiny, tiny_bert, tiny_clip
from torch import nn

from polylens.checkpoints.loading import load_model, read_header
from polylens.nn.linear import Linear
from polylens.nn.lora import LoRALinear
from polylens.runtime.embedder import load
from polylens.runtime.engines import reordering
from polylens.runtime.engines.reordering import with_reordered_weights
from polylens.runtime.engines.torch import TorchEngine

CPU = torch.device("cpu")
NO_BFLOAT16 = not any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16"))
needs_bfloat16 = pytest.mark.skipif(NO_BFLOAT16, reason="needs an x86 processor that computes in bfloat16")


def weights(model: object) -> list[torch.Tensor]:
    assert isinstance(model, nn.Module)
    return [layer.weight for layer in model.modules() if isinstance(layer, (Linear, LoRALinear))]


@needs_bfloat16
@pytest.mark.parametrize("write", [tiny.write, tiny_clip.write, tiny_bert.write], ids=["v4", "clip", "bert"])
def test_the_same_vectors_bit_by_bit(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    header = read_header(write(tmp_path / "model"))
    model = load_model(header, device=CPU, dtype=torch.bfloat16)
    faster = with_reordered_weights(model)
    assert all(weight.is_mkldnn for weight in weights(faster)) and weights(faster)
    assert not any(weight.is_mkldnn for weight in weights(model))
    task, prompt_name = header.processor.role(None, None)
    texts = ("a", "a longer text, of some tokens")
    items = [header.processor.text(text, task=task, prompt_name=prompt_name, max_length=None) for text in texts]
    for mine, theirs in zip(TorchEngine(faster).run(items), TorchEngine(model).run(items), strict=True):
        assert (mine[0].dense == theirs[0].dense).all()
        assert (mine[0].multivector == theirs[0].multivector).all()


@needs_bfloat16
def test_loading_reorders_and_leaves_the_model_whole(tmp_path: Path) -> None:
    embedder = load(tiny_bert.write(tmp_path / "model"), device="cpu", dtype="bfloat16")
    assert isinstance(embedder.engine, TorchEngine)
    assert all(weight.is_mkldnn for weight in weights(embedder.engine.model))
    assert not any(weight.is_mkldnn for weight in weights(embedder.model))


def test_what_does_not_gain_stays_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = read_header(tiny_bert.write(tmp_path / "model"))
    in_float32 = load_model(header, device=CPU, dtype=torch.float32)
    assert with_reordered_weights(in_float32) is in_float32
    model = load_model(header, device=CPU, dtype=torch.bfloat16)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "bf16": True})
    assert with_reordered_weights(model) is model
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(reordering, "LARGEST", sum(weight.nbytes for weight in weights(model)) - 1)
    assert with_reordered_weights(model) is model
