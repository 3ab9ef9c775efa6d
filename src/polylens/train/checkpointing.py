"""Gradient checkpointing: a layer keeps its input alone, and computes the rest a second time on the way back.

Chen et al. 2016, https://arxiv.org/abs/1604.06174. Every tower of every family has its layers in a list named `blocks`,
and a layer draws nothing at random, so the second computation gives the same numbers, and gradients are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

LARGE = 1_000_000_000
"""Parameters above which a model on a GPU is checkpointed unless someone says otherwise."""


def wants_checkpointing(wanted: bool | None, network: nn.Module, device: torch.device) -> bool:
    """Returns whether a training checkpoints its layers.

    Args:
        wanted: What the recipe says; None leaves it to the size and the device. A large model on a GPU is checkpointed:
            without that its activations would not fit on most cards. Elsewhere time is scarcer than memory.
        network: The model.
        device: Where it is trained.
    """
    if wanted is not None:
        return wanted
    return device.type != "cpu" and sum(parameter.numel() for parameter in network.parameters()) > LARGE


def checkpoint_layers(network: nn.Module) -> int:
    """Checkpoints every layer of a network from now on, wherever gradients are recorded.

    Args:
        network: Its layers change in place. Names of parameters stay as they are.

    Returns:
        The number of layers.
    """
    towers = [module for name, module in network.named_modules() if name.rpartition(".")[2] == "blocks"]
    layers = [layer for tower in towers for layer in tower.children()]
    for layer in layers:
        layer.forward = _recomputed(layer.forward)
    return len(layers)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*inputs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*inputs)
        # no state of random numbers is kept, which a GPU would have to be waited for
        return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False)

    return run
