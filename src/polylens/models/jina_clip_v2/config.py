"""The sizes of a model of this family, jina-clip-v2 or jina-embeddings-v3, from `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polylens.errors import CheckpointError
from polylens.models.counts import require_counts, require_values
from polylens.models.eva02.config import VisionConfig, parse_vision, render_vision
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


def adapter_key(task: str) -> str:
    """Returns the name of a task's adapter among the parameters, where a name cannot contain a dot.

    >>> adapter_key("retrieval.query")
    'retrieval_query'
    """
    return task.replace(".", "_")


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """The text tower."""

    width: int
    num_layers: int
    num_heads: int
    mlp_width: int
    vocab_size: int
    norm_eps: float
    theta: float
    lora: LoRAConfig  # the adapters of the checkpoint
    always_on: str | None  # the adapter of every text, merged while loading; None if each text chooses one
    instructions: tuple[tuple[str, str], ...]  # task -> the instruction before its texts
    max_length: int  # tokens of the longest text
    default_length: int  # tokens at which a text is cut by default

    @property
    def head_dim(self) -> int:
        return self.width // self.num_heads

    @property
    def chosen(self) -> LoRAConfig:
        """The adapters that are not merged, of which each text chooses one."""
        tasks = () if self.always_on is not None else tuple(map(adapter_key, self.lora.tasks))
        return LoRAConfig(tasks=tasks, rank=self.lora.rank, alpha=self.lora.alpha)


@dataclass(frozen=True, kw_only=True, slots=True)
class JinaClipConfig:
    """The whole model; jina-embeddings-v3 has no vision tower."""

    text: TextConfig
    vision: VisionConfig | None
    matryoshka_dims: tuple[int, ...]


def parse_config(config: Json) -> JinaClipConfig:
    """Reads `config.json` of jina-clip-v2 (`model_type` "jina_clip") or jina-embeddings-v3 (either form).

    Raises:
        CheckpointError: A field is missing, of the wrong kind, or asks for something that this family does not have.
    """
    try:
        parsed = _parse_clip(config) if config.get("model_type") == "jina_clip" else _parse_v3(config)
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


def _parse_v3(config: Json) -> JinaClipConfig:
    merged = {**BACKBONE, **config}
    if config.get("model_type") == "jina_embeddings_v3":  # transformers' own form has no adapters in it
        merged["lora_adaptations"] = []
        merged["rotary_emb_base"] = (config.get("rope_parameters") or {}).get("rope_theta", merged["rotary_emb_base"])
    text = _text(merged, always_on=None, default_length=merged["max_position_embeddings"] - 2)
    return JinaClipConfig(text=text, vision=None, matryoshka_dims=tuple(merged["matryoshka_dimensions"]))


def _text(backbone: Json, *, always_on: str | None, default_length: int) -> TextConfig:
    require_values("the text tower", backbone, hidden_act="gelu", type_vocab_size=1)
    tasks = tuple(backbone["lora_adaptations"] or ())
    if always_on is not None and tasks != (always_on,):
        raise CheckpointError(
            f"default_lora_task is {always_on!r}, so the checkpoint should have this one adapter, it has {list(tasks)}"
        )
    return TextConfig(
        width=backbone["hidden_size"],
        num_layers=backbone["num_hidden_layers"],
        num_heads=backbone["num_attention_heads"],
        mlp_width=backbone["intermediate_size"],
        vocab_size=backbone["vocab_size"],
        norm_eps=backbone["layer_norm_eps"],
        theta=float(backbone["rotary_emb_base"]),
        lora=LoRAConfig(tasks=tasks, rank=backbone["lora_rank"], alpha=float(backbone["lora_alpha"])),
        always_on=always_on,
        instructions=tuple((task, text) for task, text in backbone["task_instructions"].items() if text),
        max_length=backbone["max_position_embeddings"] - 2,
        default_length=min(default_length, backbone["max_position_embeddings"] - 2),
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
    text = config.text
    require_counts(text)
    require_counts(text.lora)
    if text.width % text.num_heads or text.head_dim % 2:
        raise CheckpointError(f"{text.num_heads} heads cannot share a width of {text.width} in multiples of 2 numbers")
    if config.vision is not None and config.vision.width != config.text.width:
        raise CheckpointError(
            f"both towers must end in one space, their widths are {config.text.width} and {config.vision.width}"
        )
    if not config.matryoshka_dims or max(config.matryoshka_dims) > config.text.width:
        raise CheckpointError(f"matryoshka_dimensions must lie within 1 and {config.text.width}")
