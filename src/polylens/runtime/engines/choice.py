"""Which engine runs a model."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import torch

from polylens.caches import cache_folder
from polylens.errors import InputError
from polylens.models.description import Family, Header
from polylens.models.protocol import Model
from polylens.runtime.engines.protocol import Engine
from polylens.runtime.engines.reordering import with_reordered_weights
from polylens.runtime.engines.torch import TorchEngine

if TYPE_CHECKING:
    from polylens.runtime.engines.openvino.engine import OpenVinoEngine

EngineName = Literal["torch", "openvino"]
ENGINES: tuple[EngineName, ...] = ("torch", "openvino")
Quantization = Literal["int8", "int4"]
QUANTIZATIONS: tuple[Quantization, ...] = ("int8", "int4")


def choose_engine(
    engine: str | None, quantization: str | None, *, family: Family, device: torch.device, dtype: torch.dtype
) -> EngineName:
    """Returns the name of the engine that will run a model.

    Without a name it is torch, or openvino where a quantization is asked for, which torch does not have. Which name
    suits the machine best, says `fastest.fastest_engine`.

    Args:
        engine: "torch", "openvino" or None.
        quantization: "int8", "int4" or None.
        family: The family of the model.
        device: Where the model will run.
        dtype: The number format of its weights.

    Raises:
        InputError: There is no such engine or quantization, it is not installed, or it does not run this model.
    """
    if engine is not None and engine not in ENGINES:
        raise InputError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if quantization is not None and quantization not in QUANTIZATIONS:
        raise InputError(f"quantization must be one of {', '.join(QUANTIZATIONS)}, got {quantization!r}")
    if engine == "torch" and quantization is not None:
        raise InputError(f"the engine torch has no quantization, got {quantization!r}; use the engine openvino")
    if engine is None and quantization is None:
        return "torch"
    if engine == "torch":
        return "torch"
    _require_openvino(quantization, family, device, dtype)
    return "openvino"


def _require_openvino(quantization: str | None, family: Family, device: torch.device, dtype: torch.dtype) -> None:
    if not family.towers:
        raise InputError(
            f"the engine openvino does not run models of the family {family.name}; leave engine and quantization out"
        )
    if quantization == "int4" and not any(part.causal for part in family.towers):
        raise InputError(f"int4 is for models with a decoder, which the family {family.name} has not; use int8")
    if device.type != "cpu":
        raise InputError(f"the engine openvino runs on the CPU, got device {str(device)!r}; use the engine torch there")
    if dtype == torch.float16:
        raise InputError("the engine openvino computes in bfloat16 or float32, got dtype float16")
    needed = ["openvino"] if quantization is None else ["openvino", "nncf"]
    for module in needed:
        if find_spec(module) is None:
            raise InputError(
                f"the engine openvino needs {module}, which is not installed; it comes with "
                "pip install 'polylens[openvino]'"
            )


def make_engine(name: EngineName, model: Model, header: Header, *, quantization: str | None) -> Engine:
    """Makes an engine for a loaded model.

    Args:
        name: As `choose_engine` returns it.
        model: Its weights may lie on any device that the engine takes.
        header: The header of its checkpoint.
        quantization: As for `choose_engine`.
    """
    if name == "torch":
        return TorchEngine(with_reordered_weights(model))
    return _openvino(model, header, quantization)


def _openvino(model: Model, header: Header, quantization: str | None) -> OpenVinoEngine:
    from concurrent.futures import ThreadPoolExecutor

    from polylens.runtime.engines.openvino.engine import OpenVinoEngine

    return OpenVinoEngine(
        model,
        header,
        quantization=cast("Quantization | None", quantization),
        cache=cache_folder(),
        background=ThreadPoolExecutor(1, thread_name_prefix="polylens-openvino"),
    )


def model_stem(name: str | Path) -> str:
    """Returns what a model is called in its `model_id`: a catalog name as it is, a folder's last part."""
    return Path(name).resolve().name if Path(name).is_dir() else str(name)


def model_id(name: str, header: Header, quantization: str | None) -> str:
    """Returns the name and fingerprint of what produces the vectors: vectors of different ids cannot be compared.

    Args:
        name: What the model is called.
        header: The header of its checkpoint.
        quantization: A quantization changes the vectors, so it is a part of the id; another engine does not.
    """
    return f"{name}@{header.fingerprint}" + ("" if quantization is None else f"+{quantization}")


def quantization_of(model_id: str) -> str | None:
    """Returns the quantization that a `model_id` names.

    Example:
        >>> quantization_of("nano@0123456789ab+int8"), quantization_of("a+b@0123456789ab")
        ('int8', None)
    """
    return model_id.rpartition("@")[2].partition("+")[2] or None
