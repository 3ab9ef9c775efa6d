"""The sizes of a model of this family, jina-clip-v2 or jina-embeddings-v3, from `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polylens.errors import CheckpointError
from polylens.models.counts import require_values
from polylens.models.eva02.config import VisionConfig, parse_vision, render_vision
from polylens.models.xlm_rotary.config import TextConfig, check_text_config, parse_text_config
from polylens.nn.lora import LoRAConfig

Json = Mapping[str, Any]

BACKBONE: Json = {
    "vocab_size": 250_002,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "max_position_embeddings": 8194,
    "layer_norm_eps": 1e-5,
    "rotary_emb_base": 20_000.0,
    "hidden_act": "gelu",
    "type_vocab_size": 1,
    "lora_adaptations": ["retrieval.query", "retrieval.passage", "separation", "classification", "text-matching"],
    "lora_rank": 4,
    "lora_alpha": 1,
    "task_instructions": {
        "retrieval.query": "Represent the query for retrieving evidence documents: ",
        "retrieval.passage": "Represent the document for retrieval: ",
    },
    "matryoshka_dimensions": [32, 64, 128, 256, 512, 768, 1024],
}
"""The published config.json of jina-embeddings-v3. That of jina-clip-v2 names this repository instead of the sizes of
its text tower, and states only the differences. jina_clip_v2 facts, section 1.2 and 3."""

NATIVE = "jina_embeddings_v3"
"""`model_type` of jina-embeddings-v3 in transformers' own form."""

NO_ADAPTERS = LoRAConfig(tasks=(), rank=BACKBONE["lora_rank"], alpha=float(BACKBONE["lora_alpha"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class JinaClipConfig:
    """The whole model; jina-embeddings-v3 has no vision tower."""

    text: TextConfig
    vision: VisionConfig | None
    matryoshka_dims: tuple[int, ...]


def parse_config(config: Json, adapters: LoRAConfig = NO_ADAPTERS) -> JinaClipConfig:
    """Reads `config.json` of jina-clip-v2 (`model_type` "jina_clip") or jina-embeddings-v3 (either form).

    Args:
        config: The content of `config.json`.
        adapters: The adapters of transformers' own form, which its `config.json` does not mention.

    Raises:
        CheckpointError: A field is missing, of the wrong kind, or asks for something that this family does not have.
    """
    try:
        parsed = _parse_clip(config) if config.get("model_type") == "jina_clip" else _parse_v3(config, adapters)
    except CheckpointError:
        raise
    except KeyError as missing:
        raise CheckpointError(f"config.json lacks the field {missing}") from missing
    except (TypeError, ValueError, AttributeError) as wrong:
        raise CheckpointError(f"a field of config.json has the wrong type: {wrong}") from wrong
    _check(parsed)
    return parsed


def _parse_clip(config: Json) -> JinaClipConfig:
    text, vision = config["text_config"], config["vision_config"]
    require_values("text_config", text, pooler_type="mean_pooler", proj_type=None)
    backbone = {**BACKBONE, **text["hf_model_config_kwargs"]}
    return JinaClipConfig(
        text=_text(backbone, always_on=text["default_lora_task"], default_length=512),
        vision=parse_vision(vision),
        matryoshka_dims=tuple(config["matryoshka_dimensions"]),
    )


def _parse_v3(config: Json, adapters: LoRAConfig) -> JinaClipConfig:
    merged = {**BACKBONE, **config}
    is_native = config.get("model_type") == NATIVE
    if is_native:
        merged |= {"lora_adaptations": adapters.tasks, "lora_rank": adapters.rank, "lora_alpha": adapters.alpha}
        merged["rotary_emb_base"] = (config.get("rope_parameters") or {}).get("rope_theta", merged["rotary_emb_base"])
    text = _text(merged, always_on=None, default_length=None, split_qkv=is_native)
    return JinaClipConfig(text=text, vision=None, matryoshka_dims=tuple(merged["matryoshka_dimensions"]))


def _text(backbone: Json, *, always_on: str | None, default_length: int | None, split_qkv: bool = False) -> TextConfig:
    tasks = tuple(backbone["lora_adaptations"] or ())
    if always_on is not None and tasks != (always_on,):
        raise CheckpointError(
            f"default_lora_task is {always_on!r}, so the checkpoint should have this one adapter, it has {list(tasks)}"
        )
    return parse_text_config(
        backbone,
        lora=LoRAConfig(tasks=tasks, rank=backbone["lora_rank"], alpha=float(backbone["lora_alpha"])),
        always_on=always_on,
        instructions=tuple((task, text) for task, text in backbone["task_instructions"].items() if text),
        default_length=default_length,
        split_qkv=split_qkv,
    )


def render_config(config: JinaClipConfig) -> dict[str, Any]:
    """Returns the `config.json` of a model with both towers. It states the text tower's differences from v3."""
    text, vision = config.text, config.vision
    assert vision is not None
    return {
        "architectures": ["JinaCLIPModel"],
        "model_type": "jina_clip",
        "projection_dim": text.width,
        "add_projections": False,
        "matryoshka_dimensions": list(config.matryoshka_dims),
        "torch_dtype": "bfloat16",
        "truncate_dim": None,
        "text_config": {
            "model_type": "jina_clip_text",
            "embed_dim": text.width,
            "default_lora_task": text.always_on,
            "default_instruction_task": None,
            "hf_model_name_or_path": "jinaai/jina-embeddings-v3",
            "pooler_type": "mean_pooler",
            "proj_type": None,
            "proj_bias": False,
            "hf_model_config_kwargs": {
                "vocab_size": text.vocab_size,
                "hidden_size": text.width,
                "num_hidden_layers": text.num_layers,
                "num_attention_heads": text.num_heads,
                "intermediate_size": text.mlp_width,
                "max_position_embeddings": text.max_length + 2,
                "layer_norm_eps": text.norm_eps,
                "rotary_emb_base": text.theta,
                "lora_adaptations": list(text.lora.tasks),
                "lora_rank": text.lora.rank,
                "lora_alpha": text.lora.alpha,
                "task_instructions": dict(text.instructions),
            },
        },
        "vision_config": render_vision(vision),
    }


def _check(config: JinaClipConfig) -> None:
    check_text_config(config.text)
    vision = config.vision
    if vision is not None and vision.width != config.text.width:
        raise CheckpointError(
            f"both towers must end in one space, their widths are {config.text.width} and {vision.width}"
        )
    if not config.matryoshka_dims or max(config.matryoshka_dims) > config.text.width:
        raise CheckpointError(f"matryoshka_dimensions must lie within 1 and {config.text.width}")
