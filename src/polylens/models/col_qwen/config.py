"""The sizes of a model of this family, from the `config.json` of the merged model or of an adapter's base model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polylens.errors import CheckpointError
from polylens.models.col_qwen.adapter import AdapterConfig
from polylens.models.qwen_vl.config import (
    Json,
    Qwen2VisionConfig,
    Qwen25VisionConfig,
    TrunkConfig,
    known_fields,
    parse_qwen2_vision,
    parse_qwen25_vision,
    parse_trunk,
    render_trunk,
)

MULTIVECTOR_DIM = 128
"""Width of the vectors where `config.json` names none: the published class has no other."""

BASE_TYPES = ("qwen2_vl", "qwen2_5_vl")
NATIVE = {"qwen2_vl": ("colqwen2", "ColQwen2ForRetrieval"), "qwen2_5_vl": ("colqwen2_5", "ColQwen2_5ForRetrieval")}
"""`model_type` of the trunk -> `model_type` and class of the whole model in transformers' layout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ColQwenConfig:
    """The whole model."""

    trunk: TrunkConfig[Qwen2VisionConfig] | TrunkConfig[Qwen25VisionConfig]
    multivector_dim: int
    adapter: AdapterConfig | None  # merged when the weights are read; None for a model that is merged already

    @property
    def trunk_type(self) -> str:
        """The `model_type` of the trunk."""
        return "qwen2_5_vl" if isinstance(self.trunk.vision, Qwen25VisionConfig) else "qwen2_vl"


def parse_config(config: Json, adapter: AdapterConfig | None) -> ColQwenConfig:
    """Reads colpali-engine's layout, which is the trunk's own, or transformers', where the trunk is `vlm_config`.

    Args:
        config: The content of `config.json`.
        adapter: The adapter on the model, if it lies in another folder.

    Raises:
        CheckpointError: A field is missing, of the wrong kind, or contradicts another.
    """
    vlm: Any = config.get("vlm_config", config)
    if not isinstance(vlm, dict) or vlm.get("model_type") not in BASE_TYPES:
        kind = vlm.get("model_type") if isinstance(vlm, dict) else vlm
        raise CheckpointError(f"the trunk's model_type must be one of {', '.join(BASE_TYPES)}, got {kind!r}")
    with known_fields():
        dim = config.get("embedding_dim", MULTIVECTOR_DIM)
    if type(dim) is not int or dim < 1:
        raise CheckpointError(f"embedding_dim must be a whole number above 0, got {dim!r}")
    trunk: TrunkConfig[Qwen2VisionConfig] | TrunkConfig[Qwen25VisionConfig]
    if vlm["model_type"] == "qwen2_vl":
        trunk = parse_trunk(vlm, parse_qwen2_vision)
    else:
        trunk = parse_trunk(vlm, parse_qwen25_vision)
    return ColQwenConfig(trunk=trunk, multivector_dim=dim, adapter=adapter)


def render_config(config: ColQwenConfig) -> dict[str, Any]:
    """Returns the `config.json` of the merged model in transformers' layout."""
    model_type, architecture = NATIVE[config.trunk_type]
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "embedding_dim": config.multivector_dim,
        "torch_dtype": "bfloat16",
        "vlm_config": {"model_type": config.trunk_type, **render_trunk(config.trunk), "tie_word_embeddings": True},
    }
