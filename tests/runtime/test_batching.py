"""How many tokens share a forward pass."""

from __future__ import annotations

import pytest
import torch

from polylens.runtime.batching import BYTES_PER_TOKEN, GPU_TOKENS, TOKENS, token_budget

GIB = 1 << 30
CUDA = torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("free", "reserved", "expected"),
    [
        (100 * GIB, 8 * GIB, GPU_TOKENS),
        (GIB, 8 * GIB, GIB // BYTES_PER_TOKEN),
        (GIB, 9 * GIB, 2 * GIB // BYTES_PER_TOKEN),  # torch keeps a gibibyte of an earlier batch
        (0, 8 * GIB, 1),
    ],
    ids=["plenty", "little", "kept", "nothing"],
)
def test_a_gpu_takes_what_fits(monkeypatch: pytest.MonkeyPatch, free: int, reserved: int, expected: int) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 141 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: reserved)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 8 * GIB)
    assert token_budget(CUDA) == expected


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_other_devices_have_a_fixed_budget(device: str) -> None:
    assert token_budget(torch.device(device)) == TOKENS


@pytest.mark.gpu
def test_a_real_gpu() -> None:
    assert 1 <= token_budget(CUDA) <= GPU_TOKENS
