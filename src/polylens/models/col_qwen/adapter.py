"""The adapter of a model of this family, from the `adapter_config.json` that PEFT writes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from polylens.errors import CheckpointError
from polylens.models.qwen_vl.config import Json

PROJECTORS = ("custom_text_proj", "embedding_proj_layer")
"""Names of the projector: colpali-engine's and transformers'."""

_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Values of `init_lora_weights` that leave the base model's weights as they are."""

_REFUSED = (
    "use_dora",
    "use_qalora",
    "lora_bias",
    "fan_in_fan_out",
    "rank_pattern",
    "alpha_pattern",
    "layer_replication",
    "layers_to_transform",
    "layers_pattern",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
)
"""Options that change what the tensors mean, and that no adapter of this family is known to use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """A low-rank adapter: W becomes W + scaling B A in the layers that it reaches."""

    rank: int
    scaling: float  # alpha / rank, or alpha / sqrt(rank) with use_rslora
    targets: str | tuple[str, ...]
    """A pattern for whole names of layers, or last parts of names."""
    excluded: str | tuple[str, ...]

    def reaches(self, layer: str) -> bool:
        """Returns whether the adapter is on a linear layer of this name, as PEFT decides it.

        Example:
            >>> adapter = AdapterConfig(rank=1, scaling=1.0, targets=("q_proj",), excluded=())
            >>> adapter.reaches("layers.0.self_attn.q_proj"), adapter.reaches("layers.0.self_attn.k_proj")
            (True, False)
        """
        return self.targets == "all-linear" or (_fits(self.targets, layer) and not _fits(self.excluded, layer))


def _fits(wanted: str | tuple[str, ...], layer: str) -> bool:
    if isinstance(wanted, str):
        return re.fullmatch(wanted, layer) is not None
    return any(layer == name or layer.endswith(f".{name}") for name in wanted)


def parse_adapter(published: Json) -> AdapterConfig:
    """Reads `adapter_config.json`.

    Raises:
        CheckpointError: A field is missing or of the wrong kind, or asks for what this family does not compute.
    """
    _refuse_unknown(published)
    rank, alpha = published.get("r"), published.get("lora_alpha")
    if type(rank) is not int or rank < 1:
        raise CheckpointError(f"r of adapter_config.json must be a whole number above 0, got {rank!r}")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise CheckpointError(f"lora_alpha of adapter_config.json must be a number, got {alpha!r}")
    return AdapterConfig(
        rank=rank,
        scaling=alpha / (math.sqrt(rank) if published.get("use_rslora") else rank),
        targets=_names(published, "target_modules"),
        excluded=_names(published, "exclude_modules"),
    )


def _refuse_unknown(published: Json) -> None:
    if published.get("peft_type") != "LORA":
        raise CheckpointError(
            f"peft_type of adapter_config.json must be 'LORA' for this family, got {published.get('peft_type')!r}"
        )
    if asked := [name for name in _REFUSED if published.get(name)]:
        raise CheckpointError(
            f"adapter_config.json asks for {asked[0]} ({published[asked[0]]!r}), which this family does not compute; "
            "merge the adapter into its base model with PEFT, and load the result"
        )
    if published.get("bias", "none") != "none":
        raise CheckpointError(f"bias of adapter_config.json must be 'none', got {published['bias']!r}")
    start = published.get("init_lora_weights")
    if not any(start is plain or start == plain for plain in _PLAIN_STARTS):
        raise CheckpointError(
            f"init_lora_weights of adapter_config.json is {start!r}, which may change the base model's weights; "
            "merge the adapter into its base model with PEFT, and load the result"
        )
    saved = published.get("modules_to_save") or ()
    if unknown := [name for name in saved if name not in PROJECTORS]:
        raise CheckpointError(
            f"adapter_config.json names {unknown[0]!r} in modules_to_save; this family reads only the projector from "
            f"there ({' or '.join(PROJECTORS)})"
        )


def _names(published: Json, field: str) -> str | tuple[str, ...]:
    value: Any = published.get(field) or ()
    if isinstance(value, str):
        try:
            re.compile(value)
        except re.error as broken:
            raise CheckpointError(f"{field} of adapter_config.json is not a regular expression: {broken}") from broken
        return value
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise CheckpointError(f"{field} of adapter_config.json must be a text or a list of names, got {value!r}")
    return tuple(value)
