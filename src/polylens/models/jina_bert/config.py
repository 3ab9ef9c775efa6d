"""The sizes of a model of this family, jina-embeddings-v2 or jina-clip-v1, from `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polylens.errors import CheckpointError
from polylens.models.counts import require_counts, require_values
from polylens.models.eva02.config import (
    TEXT_BACKBONE,
    VisionConfig,
    is_jina_bert,
    parse_vision,
    render_vision,
    text_backbone,
)

Json = Mapping[str, Any]

PLAIN, QK_POST_NORM = "jinaai/jina-bert-implementation", "jinaai/jina-bert-v2-qk-post-norm"
"""The published implementations of the text tower."""

_DEFAULTS: Json = {
    "model_type": "bert",
    "position_embedding_type": "absolute",
    "feed_forward_type": "original",
    "hidden_act": "gelu",
    "emb_pooler": None,
    "type_vocab_size": 2,
}
"""What the published classes take for a field that `config.json` leaves out."""

_FLASH_BACKBONE: Json = {
    "vocab_size": 30_528,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 8192,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "type_vocab_size": 2,
    "mlp_type": "glu",
    "use_qk_norm": False,
}
"""The configuration of the text tower of jina-clip-v1. Its config.json names a repository instead of these sizes, and
states only the differences."""

_CLIP_DEFAULT_LENGTH = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """The text tower."""

    width: int
    num_layers: int
    num_heads: int
    mlp_width: int  # half of what the gated layer puts out
    vocab_size: int
    norm_eps: float
    has_qk_norm: bool  # True for the variant that normalises queries and keys, and adds a second residual
    max_length: int  # tokens of the longest text
    default_length: int  # tokens at which a text is cut by default


@dataclass(frozen=True, kw_only=True, slots=True)
class JinaBertConfig:
    """The whole model; jina-embeddings-v2 has no vision tower."""

    text: TextConfig
    vision: VisionConfig | None


def claims(config: Json) -> bool:
    """Returns whether a `config.json` is of this family: a BERT with ALiBi, or a jina-clip with a JinaBERT."""
    if config.get("model_type") == "jina_clip":
        return is_jina_bert(text_backbone(config))
    if config.get("model_type", "bert") != "bert":
        return False
    return config.get("position_embedding_type") == "alibi" or any(map(is_jina_bert, _implementations(config)))


def parse_config(config: Json) -> JinaBertConfig:
    """Reads `config.json` of jina-embeddings-v2 (`model_type` "bert") or jina-clip-v1 (`model_type` "jina_clip").

    Raises:
        CheckpointError: A field is missing, of the wrong kind, or asks for something that this family does not have.
    """
    try:
        parsed = _parse_clip(config) if config.get("model_type") == "jina_clip" else _parse_bert(config)
        _check(parsed)
    except CheckpointError:
        raise
    except KeyError as missing:
        raise CheckpointError(f"config.json lacks the field {missing}") from missing
    except (TypeError, ValueError, AttributeError, ArithmeticError) as wrong:
        raise CheckpointError(f"a field of config.json has the wrong type: {wrong}") from wrong
    return parsed


def _parse_bert(published: Json) -> JinaBertConfig:
    config = {**_DEFAULTS, **published}
    require_values(
        "config.json",
        config,
        position_embedding_type="alibi",
        feed_forward_type="geglu",
        hidden_act="gelu",
        emb_pooler="mean",
        type_vocab_size=2,
    )
    names = _implementations(config)
    limit = config["max_position_embeddings"]
    text = _text(config, has_qk_norm=any(QK_POST_NORM in name for name in names), default_length=limit)
    return JinaBertConfig(text=text, vision=None)


def _parse_clip(config: Json) -> JinaBertConfig:
    text = config["text_config"]
    if text.get("pooler_type") is not None:
        require_values("text_config", text, pooler_type="mean_pooler")
    require_values("text_config", text, proj_type=None, default_lora_task=None, default_instruction_task=None)
    backbone = {**_FLASH_BACKBONE, **(text.get("hf_model_config_kwargs") or {})}
    require_values(
        "the text tower",
        backbone,
        hidden_act="gelu",
        type_vocab_size=2,
        mlp_type="glu",
        use_qk_norm=False,
        position_embedding_type="alibi",
    )
    return JinaBertConfig(
        text=_text(backbone, has_qk_norm=False, default_length=_CLIP_DEFAULT_LENGTH),
        vision=parse_vision(config["vision_config"]),
    )


def _text(config: Json, *, has_qk_norm: bool, default_length: int) -> TextConfig:
    return TextConfig(
        width=config["hidden_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        mlp_width=config["intermediate_size"],
        vocab_size=config["vocab_size"],
        norm_eps=float(config["layer_norm_eps"]),
        has_qk_norm=has_qk_norm,
        max_length=config["max_position_embeddings"],
        default_length=min(default_length, config["max_position_embeddings"]),
    )


def _implementations(config: Json) -> list[str]:
    """Returns where a configuration says that the code of its network is."""
    classes = config.get("auto_map")
    return [str(config.get("_name_or_path", "")), *map(str, classes.values() if isinstance(classes, Mapping) else ())]


def _check(config: JinaBertConfig) -> None:
    text, vision = config.text, config.vision
    require_counts(text)
    if text.width % text.num_heads:
        raise CheckpointError(f"{text.num_heads} heads cannot share a width of {text.width}")
    if vision is not None and vision.width != text.width:
        raise CheckpointError(f"both towers must end in one space, their widths are {text.width} and {vision.width}")


def render_config(config: JinaBertConfig) -> dict[str, Any]:
    """Returns the `config.json` of a model."""
    text, vision = config.text, config.vision
    sizes = {
        "vocab_size": text.vocab_size,
        "hidden_size": text.width,
        "num_hidden_layers": text.num_layers,
        "num_attention_heads": text.num_heads,
        "intermediate_size": text.mlp_width,
        "max_position_embeddings": text.max_length,
        "layer_norm_eps": text.norm_eps,
    }
    if vision is None:
        where = QK_POST_NORM if text.has_qk_norm else PLAIN
        return {
            "_name_or_path": where,
            "architectures": ["JinaBertModel"],
            "auto_map": {
                "AutoConfig": f"{where}--configuration_bert.JinaBertConfig",
                "AutoModel": f"{where}--modeling_bert.JinaBertModel",
            },
            "model_type": "bert",
            "position_embedding_type": "alibi",
            "feed_forward_type": "geglu",
            "hidden_act": "gelu",
            "emb_pooler": "mean",
            "type_vocab_size": 2,
            **sizes,
        }
    return {
        "architectures": ["JinaCLIPModel"],
        "model_type": "jina_clip",
        "projection_dim": text.width,
        "add_projections": False,
        "text_config": {
            "model_type": "jina_clip_text",
            "embed_dim": text.width,
            "hf_model_name_or_path": TEXT_BACKBONE,
            "pooler_type": "mean_pooler",
            "proj_type": None,
            "hf_model_config_kwargs": sizes,
        },
        "vision_config": render_vision(vision),
    }
