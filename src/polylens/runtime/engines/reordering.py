"""Weights in the order in which the processor's kernels read them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from polylens.models.protocol import Model
from polylens.nn.linear import Linear, reordered
from polylens.nn.lora import LoRALinear

ROWS = 64  # tokens of a product that the order is chosen for: a query and a short text

LARGEST = 2 << 30
"""Bytes of weights up to which a model's linear layers are reordered: the copies lie in memory beside the originals."""


def with_reordered_weights(model: Model) -> Model:
    """Returns a model that computes the same vectors sooner for short texts, or the model itself where none is gained.

    oneDNN reorders a weight for every product, which takes longer than the product of a query does. The copy has its
    linear layers reordered, and shares everything else with the model. This is for bfloat16 on x86 processors that
    compute in it, where the outputs are the same, bit by bit; in float32 torch calls another library.

    Args:
        model: It stays as it is.
    """
    network = cast("nn.Module", model)
    weights = [layer.weight for layer in network.modules() if isinstance(layer, (Linear, LoRALinear))]
    if not gains(weights):
        return model
    known: dict[int, Any] = {id(parameter): parameter for parameter in network.parameters()}
    for weight in weights:
        known[id(weight)] = nn.Parameter(reordered(weight, ROWS), requires_grad=False)
    return cast("Model", copy.deepcopy(network, known))


def gains(weights: Sequence[Tensor]) -> bool:
    """Returns whether the products of these weights become faster when they are reordered."""
    capabilities = torch.cpu.get_capabilities()
    return (
        bool(weights)
        and all(weight.device.type == "cpu" and weight.dtype == torch.bfloat16 for weight in weights)
        and any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
        and sum(weight.nbytes for weight in weights) <= LARGEST
    )
