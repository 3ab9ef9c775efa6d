"""The sizes of a model of this family, from `config.json` and `adapters/adapter_config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polylens.errors import CheckpointError
from polylens.models.counts import require_counts
from polylens.nn.lora import LoRAConfig

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionConfig:
    """The vision tower."""

    width: int
    num_layers: int
    num_heads: int
    mlp_width: int
    output_width: int  # the decoder's width
    patch_size: int  # pixels per side
    num_frames: int  # frames per patch; a still image is repeated that often
    merge_size: int  # patches per side that become one token
    window_size: int  # pixels per side of an attention window
    full_attention_layers: tuple[int, ...]  # layers that see the whole image
    num_channels: int = 3
    norm_eps: float = 1e-6
    theta: float = 10_000.0

    @property
    def head_dim(self) -> int:
        return self.width // self.num_heads

    @property
    def patch_dim(self) -> int:
        """Numbers per patch."""
        return self.num_channels * self.num_frames * self.patch_size**2

    @property
    def window_tokens(self) -> int:
        """Merged tokens per side of a window."""
        return self.window_size // self.merge_size // self.patch_size


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderConfig:
    """The language model."""

    width: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    mlp_width: int
    vocab_size: int
    norm_eps: float
    theta: float
    rope_sections: tuple[int, ...]  # rotated pairs for time, row and column

    @property
    def head_dim(self) -> int:
        return self.width // self.num_heads


@dataclass(frozen=True, kw_only=True, slots=True)
class JinaV4Config:
    """The whole model."""

    vision: VisionConfig
    decoder: DecoderConfig
    lora: LoRAConfig
    multivector_dim: int
    matryoshka_dims: tuple[int, ...]
    max_length: int  # tokens
    image_token_id: int
    vision_start_token_id: int
    vision_end_token_id: int


def parse_config(config: Json, adapter: Json) -> JinaV4Config:
    """Reads the official layout, whose text fields are flat or, from newer writers, under `text_config`.

    Args:
        config: The content of `config.json`.
        adapter: The content of `adapters/adapter_config.json`.

    Raises:
        CheckpointError: A field is missing, of the wrong kind, or contradicts another.
    """
    try:
        text: Json = {**config, **(config.get("text_config") or {})}
        vision: Json = config.get("vision_config") or {}
        scaling: Json = text.get("rope_parameters") or text.get("rope_scaling") or {}
        decoder = DecoderConfig(
            width=text["hidden_size"],
            num_layers=text["num_hidden_layers"],
            num_heads=text["num_attention_heads"],
            num_kv_heads=text["num_key_value_heads"],
            mlp_width=text["intermediate_size"],
            vocab_size=text["vocab_size"],
            norm_eps=text["rms_norm_eps"],
            theta=float(scaling.get("rope_theta", text.get("rope_theta", 1e6))),
            rope_sections=tuple(scaling["mrope_section"]),
        )
        tower = VisionConfig(
            width=vision["hidden_size"],
            num_layers=vision["depth"],
            num_heads=vision["num_heads"],
            mlp_width=vision["intermediate_size"],
            output_width=vision["out_hidden_size"],
            patch_size=vision.get("patch_size", vision.get("spatial_patch_size", 14)),
            num_frames=vision.get("temporal_patch_size", 2),
            merge_size=vision.get("spatial_merge_size", 2),
            window_size=vision["window_size"],
            full_attention_layers=tuple(vision["fullatt_block_indexes"]),
            num_channels=vision.get("in_channels", vision.get("in_chans", 3)),
        )
        lora = LoRAConfig(
            tasks=tuple(config.get("task_names", ("retrieval", "text-matching", "code"))),
            rank=adapter["r"],
            alpha=float(adapter["lora_alpha"]),
        )
        parsed = JinaV4Config(
            vision=tower,
            decoder=decoder,
            lora=lora,
            multivector_dim=config.get("multi_vector_projector_dim", 128),
            matryoshka_dims=tuple(config.get("matryoshka_dims", (128, 256, 512, 1024, 2048))),
            max_length=min(32_768, text.get("max_position_embeddings", 32_768)),
            image_token_id=config["image_token_id"],
            vision_start_token_id=config["vision_start_token_id"],
            vision_end_token_id=config.get("vision_end_token_id", config["vision_start_token_id"] + 1),
        )
    except KeyError as missing:
        raise CheckpointError(f"the checkpoint's configuration lacks the field {missing}") from missing
    except (TypeError, ValueError, AttributeError) as wrong:
        raise CheckpointError(f"a field of the checkpoint's configuration has the wrong type: {wrong}") from wrong
    _check(parsed, adapter)
    return parsed


def _check(config: JinaV4Config, adapter: Json) -> None:
    vision, decoder = config.vision, config.decoder
    for part in (vision, decoder, config.lora):
        require_counts(part)
    for name, width, heads in (
        ("hidden_size", decoder.width, decoder.num_heads),
        ("vision_config.hidden_size", vision.width, vision.num_heads),
        ("num_attention_heads", decoder.num_heads, decoder.num_kv_heads),
    ):
        if width % heads:
            raise CheckpointError(f"{name} ({width}) must be divisible by the {heads} heads that share it")
    if vision.output_width != decoder.width:
        raise CheckpointError(
            f"vision_config.out_hidden_size ({vision.output_width}) must equal hidden_size ({decoder.width})"
        )
    if sum(decoder.rope_sections) * 2 != decoder.head_dim:
        raise CheckpointError(
            f"mrope_section must add up to half of the head's {decoder.head_dim} channels, got {decoder.rope_sections}"
        )
    if adapter.get("use_rslora"):
        raise CheckpointError("adapter_config.json asks for use_rslora, which no adapter of this family uses")


def render_config(config: JinaV4Config) -> dict[str, Any]:
    """Returns the `config.json` of a model, with flat text fields as in the published file."""
    vision, decoder = config.vision, config.decoder
    return {
        "architectures": ["JinaEmbeddingsV4Model"],
        "model_type": "qwen2_5_vl",
        "hidden_size": decoder.width,
        "num_hidden_layers": decoder.num_layers,
        "num_attention_heads": decoder.num_heads,
        "num_key_value_heads": decoder.num_kv_heads,
        "intermediate_size": decoder.mlp_width,
        "vocab_size": decoder.vocab_size,
        "rms_norm_eps": decoder.norm_eps,
        "rope_theta": decoder.theta,
        "rope_scaling": {"type": "mrope", "mrope_section": list(decoder.rope_sections)},
        "max_position_embeddings": max(config.max_length, 32_768),
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "torch_dtype": "bfloat16",
        "image_token_id": config.image_token_id,
        "vision_start_token_id": config.vision_start_token_id,
        "vision_end_token_id": config.vision_end_token_id,
        "vision_config": {
            "hidden_size": vision.width,
            "depth": vision.num_layers,
            "num_heads": vision.num_heads,
            "intermediate_size": vision.mlp_width,
            "out_hidden_size": vision.output_width,
            "patch_size": vision.patch_size,
            "spatial_patch_size": vision.patch_size,
            "temporal_patch_size": vision.num_frames,
            "spatial_merge_size": vision.merge_size,
            "window_size": vision.window_size,
            "fullatt_block_indexes": list(vision.full_attention_layers),
            "in_channels": vision.num_channels,
            "in_chans": vision.num_channels,
            "hidden_act": "silu",
            "tokens_per_second": 2,
        },
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
