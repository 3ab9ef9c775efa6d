"""A folder in the official layout to a model, and back.

The model is built on the meta device, every published tensor is used exactly once, and nothing may be left on meta.
Tensors are memory-mapped: those that already have the wanted type are never copied.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from polylens.errors import CheckpointError
from polylens.models.jina_v4.config import JinaV4Config, parse_config
from polylens.models.jina_v4.model import JinaV4
from polylens.models.jina_v4.processing import JinaV4Processor
from polylens.models.jina_v4.state_dict import adapter_names, base_names, published_shape

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ADAPTER = "adapters/adapter_model.safetensors"
ADAPTER_CONFIG = "adapters/adapter_config.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a folder held."""

    model: JinaV4
    processor: JinaV4Processor
    fingerprint: str
    """Twelve hexadecimal digits that change when the weights do."""


def load_checkpoint(folder: Path, *, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """Loads a checkpoint of the jina-embeddings-v4 family.

    Args:
        folder: Holds `config.json`, `preprocessor_config.json`, `tokenizer.json`, one or several safetensors files with
            the published names, and `adapters/`.
        device: Where the weights go.
        dtype: In which type they are held.

    Raises:
        CheckpointError: A file or a tensor is missing, left over or of the wrong shape; the message names it.
    """
    config = read_config(folder)
    processor = JinaV4Processor.from_folder(folder, config)  # before the weights: what is cheap to refuse comes first
    with torch.device("meta"):
        model = JinaV4(config)
    tensors = {
        **_read(_base_files(folder), base_names(config), model, device, dtype),
        **_read([folder / ADAPTER], adapter_names(config), model, device, dtype),
    }
    model.load_state_dict(tensors, strict=True, assign=True)
    left = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if left:
        raise CheckpointError(f"no rule fills these parameters: {_some(left)}")
    model.requires_grad_(False).eval()
    return Checkpoint(model, processor, fingerprint(folder))


def read_config(folder: Path) -> JinaV4Config:
    """Reads the two configuration files.

    Raises:
        CheckpointError: One of them is missing, not JSON, or does not describe this family.
    """
    return parse_config(_json(folder / "config.json"), _json(folder / ADAPTER_CONFIG))


def fingerprint(folder: Path) -> str:
    """Identity of a model: its small files whole; of the weights their sizes and a few bytes from many places."""
    digest = hashlib.sha256()
    for name in ("config.json", ADAPTER_CONFIG, "preprocessor_config.json", "tokenizer.json"):
        digest.update((folder / name).read_bytes())
    for path in [*_base_files(folder), folder / ADAPTER]:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            for step in range(256):
                file.seek(size * step // 256)
                digest.update(file.read(64))
    return digest.hexdigest()[:12]


def _json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise CheckpointError(f"{path.parent} lacks {path.name}; is it a folder in the official layout?") from missing
    except (json.JSONDecodeError, UnicodeDecodeError) as broken:
        raise CheckpointError(f"{path} is not JSON: {broken}") from broken
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value


def _base_files(folder: Path) -> list[Path]:
    if not (folder / INDEX).exists():
        return [folder / SINGLE]
    shards = _json(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise CheckpointError(f"{folder / INDEX} has no weight_map that names the file of each tensor")
    return [folder / name for name in sorted(set(shards.values()))]


def _read(
    files: list[Path], names: Mapping[str, str], model: JinaV4, device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Our names to tensors, checked against the model's shapes."""
    expected = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    tensors: dict[str, Tensor] = {}
    left_over: list[str] = []
    for path in files:
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                for published in file.keys():  # noqa: SIM118 - a safetensors file is no mapping
                    ours = names.get(published)
                    if ours is None:
                        left_over.append(published)
                        continue
                    if ours in tensors:
                        raise CheckpointError(f"{published} is there twice, the second time in {path.name}")
                    tensor = file.get_tensor(published)
                    _check_shape(published, tensor, published_shape(model.config, ours, expected[ours]))
                    tensors[ours] = tensor.view(expected[ours]).to(device=device, dtype=dtype)
        except FileNotFoundError as missing:
            raise CheckpointError(f"{path.parent} lacks {path.name}") from missing
        except SafetensorError as broken:
            raise CheckpointError(f"{path} is not a whole safetensors file: {broken}") from broken
    missing_names = [published for published, ours in names.items() if ours not in tensors]
    if missing_names or left_over:
        raise CheckpointError(
            f"the tensors in {files[0].parent} do not fit: "
            f"{len(missing_names)} missing ({_some(missing_names)}), {len(left_over)} left over ({_some(left_over)})"
        )
    return tensors


def _check_shape(published: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise CheckpointError(
            f"{published} has shape {list(tensor.shape)}, the model's configuration asks for {list(expected)}"
        )


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "none"
