"""Which device a model runs on, and in which number format its weights are held."""

from __future__ import annotations

import torch

from polylens.errors import InputError
from polylens.nn.attention import AMPERE

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

CPU_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")  # instruction sets; "bf16" is ARM's name (Graviton 3, Apple M2)


def choose_device(device: str | torch.device | None) -> torch.device:
    """Returns the named device; for None a CUDA GPU where there is one, otherwise the CPU.

    Apple's GPU ("mps") is used only when it is named: no test of this project has run on one.

    Raises:
        InputError: This machine has no such device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError, TypeError) as unusable:
        reason = str(unusable).splitlines()[0].partition(". ")[0]
        raise InputError(f"device {device!r} cannot be used here: {reason}") from unusable
    return target


def choose_dtype(
    dtype: str | torch.dtype | None, device: torch.device, *, float16_overflows: bool = False
) -> torch.dtype:
    """Returns the named number format; for None bfloat16 where the device computes in it, otherwise float32.

    Args:
        dtype: "float32", "bfloat16" or "float16", or torch's type of that name.
        device: Where the model will run.
        float16_overflows: Whether the model's activations exceed what float16 can hold, as its family says.

    Raises:
        InputError: Weights cannot be held in this format, or the model cannot run in it.
    """
    if dtype is None:
        return torch.bfloat16 if computes_in_bfloat16(device) else torch.float32
    if isinstance(dtype, torch.dtype):
        dtype = str(dtype).removeprefix("torch.")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    if dtype == "float16" and float16_overflows:
        raise InputError("float16 overflows in this model's activations, got dtype float16; use bfloat16 or float32")
    return DTYPES[dtype]


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16. PyTorch emulates the format elsewhere, slowly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= AMPERE
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(capabilities.get(name, False) for name in CPU_BFLOAT16)


def mixed_precision(device: torch.device) -> torch.autocast:
    """A context in which products are computed in bfloat16 where the device has it, while weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bfloat16(device))
