"""The sizes of a model of this family, from `config.json` and `adapters/adapter_config.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polylens.errors import CheckpointError
from polylens.models.counts import require_counts
from polylens.models.qwen_vl.config import (
    DecoderConfig,
    Json,
    Qwen25VisionConfig,
    TrunkConfig,
    known_fields,
    parse_qwen25_vision,
    parse_trunk,
    render_trunk,
)
from polylens.nn.lora import LoRAConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class JinaV4Config:
    """The whole model."""

    vision: Qwen25VisionConfig
    decoder: DecoderConfig
    lora: LoRAConfig
    multivector_dim: int
    matryoshka_dims: tuple[int, ...]
    max_length: int  # tokens
    image_token_id: int
    vision_start_token_id: int
    vision_end_token_id: int

    @property
    def trunk(self) -> TrunkConfig[Qwen25VisionConfig]:
        """The part of it that other models on the same network have too."""
        return TrunkConfig(
            vision=self.vision,
            decoder=self.decoder,
            max_length=self.max_length,
            image_token_id=self.image_token_id,
            vision_start_token_id=self.vision_start_token_id,
            vision_end_token_id=self.vision_end_token_id,
        )


def parse_config(config: Json, adapter: Json) -> JinaV4Config:
    """Reads the official layout, whose text fields are flat or, from newer writers, under `text_config`.

    Args:
        config: The content of `config.json`.
        adapter: The content of `adapters/adapter_config.json`.

    Raises:
        CheckpointError: A field is missing, of the wrong kind, or contradicts another.
    """
    trunk = parse_trunk(config, parse_qwen25_vision)
    with known_fields():
        lora = LoRAConfig(
            tasks=tuple(config.get("task_names", ("retrieval", "text-matching", "code"))),
            rank=adapter["r"],
            alpha=float(adapter["lora_alpha"]),
        )
        parsed = JinaV4Config(
            vision=trunk.vision,
            decoder=trunk.decoder,
            lora=lora,
            multivector_dim=config.get("multi_vector_projector_dim", 128),
            matryoshka_dims=tuple(config.get("matryoshka_dims", (128, 256, 512, 1024, 2048))),
            max_length=trunk.max_length,
            image_token_id=trunk.image_token_id,
            vision_start_token_id=trunk.vision_start_token_id,
            vision_end_token_id=trunk.vision_end_token_id,
        )
    require_counts(lora)
    if adapter.get("use_rslora"):
        raise CheckpointError("adapter_config.json asks for use_rslora, which no adapter of this family uses")
    return parsed


def render_config(config: JinaV4Config) -> dict[str, Any]:
    """Returns the `config.json` of a model, with flat text fields as in the published file."""
    return {
        "architectures": ["JinaEmbeddingsV4Model"],
        "model_type": "qwen2_5_vl",
        **render_trunk(config.trunk),
        "tie_word_embeddings": True,
        "task_names": list(config.lora.tasks),
        "matryoshka_dims": list(config.matryoshka_dims),
        "multi_vector_projector_dim": config.multivector_dim,
        "single_vector_pool_strategy": "mean",
        "truncate_dim": None,
    }


def render_adapter_config(lora: LoRAConfig) -> dict[str, Any]:
    """Returns the `adapters/adapter_config.json` of a model."""
    return {
        "peft_type": "LORA",
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "exclude_modules": ".*visual.*",
        "target_modules": "(.*(model).*(down_proj|gate_proj|up_proj|k_proj|q_proj|v_proj|o_proj).*$"
        "|.*(multi_vector_projector).*$)",
        "task_type": "FEATURE_EXTRACTION",
    }
