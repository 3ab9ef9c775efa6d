"""The checkpoint of an unfinished run: safetensors only, complete at every moment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from polylens.atomic import write_beside


def save_state(
    folder: Path, named: Mapping[str, nn.Parameter], optimisers: Sequence[torch.optim.Optimizer], step: int
) -> None:
    """Writes everything that the next step depends on; the old checkpoint is deleted once the new one is complete.

    Args:
        folder: Of the checkpoint.
        named: The parameters that are trained, by name.
        optimisers: Of those parameters.
        step: Number of completed steps.
    """
    tensors = {f"weights.{name}": parameter.detach().cpu() for name, parameter in named.items()}
    for i, optimiser in enumerate(optimisers):
        for index, state in optimiser.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimiser.{i}.{index}.{key}"] = torch.as_tensor(value).detach().cpu().contiguous()
    beside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    save_file(tensors, beside / "state.safetensors", metadata={"step": str(step)})
    (beside / "step.json").write_text(json.dumps({"step": step}), encoding="utf-8")
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_state(folder: Path, named: Mapping[str, nn.Parameter], optimisers: Sequence[torch.optim.Optimizer]) -> int:
    """Restores a checkpoint; returns the number of completed steps, 0 where there is no checkpoint."""
    folder = _latest(folder)
    step = steps_done(folder)
    if step == 0:
        return 0
    tensors = load_file(folder / "state.safetensors")
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(tensors[f"weights.{name}"])
    for i, optimiser in enumerate(optimisers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(f"optimiser.{i}."):
                _, _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = tensor
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return step


def save_weights(path: Path, named: Mapping[str, nn.Parameter]) -> None:
    """Writes parameters to a file, which appears whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    with write_beside(path) as beside:
        save_file({name: parameter.detach().cpu() for name, parameter in named.items()}, beside)


def blend_weights(shares: Mapping[Path, float], named: Mapping[str, nn.Parameter]) -> None:
    """Mixes saved weights into parameters, in place.

    Args:
        shares: Files of `save_weights`, and the share of each in the mixture; the parameters have the rest of 1.
        named: The parameters.
    """
    left = 1 - sum(shares.values())
    with torch.no_grad():
        for parameter in named.values():
            parameter.mul_(left)
        for path, share in shares.items():
            written = load_file(path)
            for name, parameter in named.items():
                parameter.add_(written[name].to(parameter), alpha=share)


def steps_done(folder: Path) -> int:
    """The number of completed steps of a checkpoint, 0 where there is none."""
    file = _latest(folder) / "step.json"
    return int(json.loads(file.read_text(encoding="utf-8"))["step"]) if file.exists() else 0


def _latest(folder: Path) -> Path:
    """The folder of the checkpoint, or of the one before where a run was killed between two renames."""
    old = folder.with_name(folder.name + ".old")
    return old if old.exists() and not folder.exists() else folder
