"""Where a model runs, and in which type, on processors that this machine may not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support import tiny, tiny_clip

import polylens
from polylens.checkpoints.loading import read_header
from polylens.errors import InputError
from polylens.runtime.devices import choose_device, choose_dtype

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")
EPYC = {"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True, "amx_bf16": False}
SAPPHIRE_RAPIDS = {"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}
LAPTOP = {"architecture": "x86_64", "avx2": True, "avx512_bf16": False, "amx_bf16": False}
GRAVITON_3 = {"architecture": "aarch64", "neon": True, "bf16": True, "sve_bf16": True}
GRAVITON_2 = {"architecture": "aarch64", "neon": True, "bf16": False}


class TestDtype:
    @pytest.mark.parametrize(
        ("capability", "expected"),
        [((7, 0), torch.float32), ((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
        ids=["V100", "T4", "A100", "H100"],
    )
    def test_of_a_gpu(
        self, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: torch.dtype
    ) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)  # by emulation, it says, everywhere
        assert choose_dtype(None, CUDA) == expected

    @pytest.mark.parametrize(
        ("capabilities", "expected"),
        [
            (EPYC, torch.bfloat16),
            (SAPPHIRE_RAPIDS, torch.bfloat16),
            (LAPTOP, torch.float32),
            (GRAVITON_3, torch.bfloat16),
            (GRAVITON_2, torch.float32),
        ],
        ids=["AVX-512", "AMX", "neither", "Graviton 3", "Graviton 2"],
    )
    def test_of_a_cpu(
        self, monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, Any], expected: torch.dtype
    ) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
        assert choose_dtype(None, CPU) == expected
        assert choose_dtype(None, MPS) == torch.float32

    def test_what_is_named_is_taken_whatever_the_processor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
        assert choose_dtype("bfloat16", CUDA) == torch.bfloat16
        assert choose_dtype(torch.float16, CUDA) == torch.float16
        assert choose_dtype("float32", CPU) == torch.float32


class TestFloat16:
    """Activations of Qwen2.5-VL go beyond 65,504: float16 would give vectors of NaN."""

    @pytest.mark.parametrize("dtype", ["float16", torch.float16])
    def test_is_refused_where_it_overflows(self, tmp_path: Path, dtype: Any) -> None:
        folder = tiny.write(tmp_path / "v4")
        with pytest.raises(InputError, match=r"float16 overflows in .* use bfloat16 or float32"):
            polylens.load(folder, device="cpu", dtype=dtype)

    def test_is_taken_where_it_does_not(self, tmp_path: Path) -> None:
        header = read_header(tiny_clip.write(tmp_path / "v3", tiny_clip.V3))
        assert not header.family.overflows_in_float16
        assert choose_dtype("float16", CPU, float16_overflows=header.family.overflows_in_float16) == torch.float16

    def test_nothing_else_is_refused(self) -> None:
        assert choose_dtype("bfloat16", CPU, float16_overflows=True) == torch.bfloat16
        assert choose_dtype("float32", CPU, float16_overflows=True) == torch.float32


class TestDevice:
    def test_a_gpu_is_taken_where_there_is_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert choose_device(None) == torch.device("cuda")

    def test_apples_gpu_is_not_taken_unasked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
        assert choose_device(None) == CPU
