"""Reads safetensors files into a model's parameters, by the family's rules.

Each published tensor is used exactly once. An error names tensors that are missing, left over or of the wrong shape.
Tensors are memory-mapped: one that a rule only renames, and that already has the right dtype, is never copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from polylens.errors import CheckpointError
from polylens.models.files import read_json
from polylens.models.rules import Rule

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

MAPPED_BYTES = 64 * 1024**2
"""Number of bytes read after which a file is reopened, so that the mapped pages of converted tensors leave memory."""


def weight_files(folder: Path) -> list[Path]:
    """Returns the paths of the weights: one file, or the shards that an index names."""
    if not (folder / INDEX).exists():
        return [folder / SINGLE]
    shards = read_json(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise CheckpointError(f"{folder / INDEX} has no weight_map that names the file of each tensor")
    return [folder / name for name in sorted(set(shards.values()))]


def read_tensors(
    files: Sequence[Path],
    rules: Iterable[Rule],
    *,
    device: torch.device,
    dtype: torch.dtype,
    skipped: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """Reads the tensors of the rules.

    Args:
        files: Safetensors files that together hold every published tensor once.
        rules: The rules by which published tensors become ours.
        device: The device for the tensors.
        dtype: The dtype of the tensors.
        skipped: Prefixes of names that may stay unread.

    Returns:
        Our name -> tensor.

    Raises:
        CheckpointError: A file or a tensor is missing, or a tensor is left over, there twice, or of the wrong shape.
    """
    rules = list(rules)
    home = _homes(files)
    wanted = {name for rule in rules for name in rule.published}
    missing = [name for rule in rules for name in rule.published if name not in home]
    left_over = [name for name in home if name not in wanted and not name.startswith(skipped)]
    if missing or left_over:
        folders = " and ".join(dict.fromkeys(str(file.parent) for file in files))
        raise CheckpointError(
            f"the tensors in {folders} do not fit: "
            f"{len(missing)} missing ({some(missing)}), {len(left_over)} left over ({some(left_over)})"
        )
    tensors: dict[str, Tensor] = {}
    reader = _Reader(home)
    for rule in rules:
        read = [reader.read(name, shape) for name, shape in rule.published.items()]
        for name, tensor in zip(rule.ours, rule.fold(read, dtype), strict=True):
            tensors[name] = tensor.to(device)
    return tensors


def assign(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Assigns the parameters of a model that was built on meta, and checks that none is left there."""
    model.load_state_dict(tensors, strict=True, assign=True)
    left = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if left:
        raise CheckpointError(f"no rule fills these parameters: {some(left)}")
    model.requires_grad_(False).eval()


class _Reader:
    """Reads tensors by name, each from the file that holds it."""

    def __init__(self, home: Mapping[str, Path]) -> None:
        self._home = home
        self._open: dict[Path, Any] = {}
        self._mapped = 0

    def read(self, name: str, shape: tuple[int, ...]) -> Tensor:
        path = self._home[name]
        if self._mapped > MAPPED_BYTES:
            self._open, self._mapped = {}, 0
        if path not in self._open:
            self._open[path] = safe_open(path, framework="pt", device="cpu")
        tensor: Tensor = self._open[path].get_tensor(name)
        if tuple(tensor.shape) != shape:
            raise CheckpointError(
                f"{name} has shape {list(tensor.shape)}, the model's configuration asks for {list(shape)}"
            )
        self._mapped += tensor.numel() * tensor.element_size()
        return tensor


def names_in(files: Sequence[Path]) -> frozenset[str]:
    """Returns the names of all tensors in these files.

    Raises:
        CheckpointError: A file is missing or broken.
    """
    return frozenset(_homes(files))


def _homes(files: Sequence[Path]) -> dict[str, Path]:
    """Returns published name -> the file that holds it."""
    home: dict[str, Path] = {}
    twice: list[str] = []
    for path in files:
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                for name in file.keys():  # noqa: SIM118 - a safetensors file is no mapping
                    if name in home:
                        twice.append(name)
                    home[name] = path
        except FileNotFoundError as missing:
            raise CheckpointError(f"{path.parent} lacks {path.name}") from missing
        except SafetensorError as broken:
            raise CheckpointError(f"{path} is not a whole safetensors file: {broken}") from broken
    if twice:
        raise CheckpointError(f"{some(twice)} is there twice, the second time in {home[twice[0]].name}")
    return home


def some(names: Iterable[str]) -> str:
    """Returns the first few of many names, for an error message."""
    names = list(names)
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "none"
