"""The sizes of the networks, from the `config.json` of a checkpoint on Qwen2-VL or Qwen2.5-VL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from polylens.errors import CheckpointError
from polylens.models.counts import require_counts

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionConfig:
    """The sizes that both vision towers have; each tower has a configuration of its own."""

    width: int
    num_layers: int
    num_heads: int
    mlp_width: int
    output_width: int  # the decoder's width
    patch_size: int  # pixels per side
    num_frames: int  # frames per patch; a still image is repeated that often
    merge_size: int  # patches per side that become one token
    num_channels: int = 3
    norm_eps: float = 1e-6
    theta: float = 10_000.0

    @property
    def head_dim(self) -> int:
        return self.width // self.num_heads

    @property
    def patch_dim(self) -> int:
        """Numbers per patch of a still image."""
        return self.num_channels * self.patch_size**2


@dataclass(frozen=True, kw_only=True, slots=True)
class Qwen2VisionConfig(VisionConfig):
    """The vision tower of Qwen2-VL, each of whose layers sees the whole image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Qwen25VisionConfig(VisionConfig):
    """The vision tower of Qwen2.5-VL, most of whose layers attend within windows."""

    window_size: int  # pixels per side of an attention window
    full_attention_layers: tuple[int, ...]  # layers that see the whole image
    shares_uniform_windows: bool = False  # nano's: one window of a colour stands for all; see `uniform_windows`

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


AnyVision = TypeVar("AnyVision", bound=VisionConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrunkConfig(Generic[AnyVision]):
    """A vision tower, a decoder, and the tokens by which they meet."""

    vision: AnyVision
    decoder: DecoderConfig
    max_length: int  # tokens, of a text and its images together
    image_token_id: int
    vision_start_token_id: int
    vision_end_token_id: int


def parse_trunk(config: Json, parse_vision: Callable[[Json], AnyVision]) -> TrunkConfig[AnyVision]:
    """Reads the published layout, whose text fields are flat or, from newer writers, under `text_config`.

    Args:
        config: The content of `config.json`.
        parse_vision: `parse_qwen2_vision` or `parse_qwen25_vision`.

    Raises:
        CheckpointError: A field is missing, of the wrong kind, or contradicts another.
    """
    with known_fields():
        text: Json = {**config, **(config.get("text_config") or {})}
        trunk = TrunkConfig(
            decoder=_parse_decoder(text),
            vision=parse_vision(config.get("vision_config") or {}),
            max_length=min(32_768, text.get("max_position_embeddings", 32_768)),
            image_token_id=config["image_token_id"],
            vision_start_token_id=config["vision_start_token_id"],
            vision_end_token_id=config.get("vision_end_token_id", config["vision_start_token_id"] + 1),
        )
    _check(trunk.vision, trunk.decoder)
    return trunk


@contextmanager
def known_fields() -> Iterator[None]:
    """Turns the errors of reading a field, within its block, into a CheckpointError that names the field."""
    try:
        yield
    except KeyError as missing:
        raise CheckpointError(f"the checkpoint's configuration lacks the field {missing}") from missing
    except (TypeError, ValueError, AttributeError) as wrong:
        raise CheckpointError(f"a field of the checkpoint's configuration has the wrong type: {wrong}") from wrong


def _parse_decoder(text: Json) -> DecoderConfig:
    scaling: Json = text.get("rope_parameters") or text.get("rope_scaling") or {}
    return DecoderConfig(
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


QWEN2_TOWER: Json = {
    "depth": 32,
    "embed_dim": 1280,
    "num_heads": 16,
    "mlp_ratio": 4,
    "hidden_size": 3584,
    "hidden_act": "quick_gelu",
}
"""The `vision_config` of Qwen2-VL-7B, which transformers takes as its defaults. It leaves out of a file that it saves
whatever equals them, so the file of a 2B model may say `hidden_size` alone.
https://github.com/huggingface/transformers/issues/38981 shows the same with another model."""


def parse_qwen2_vision(vision: Json) -> Qwen2VisionConfig:
    """Reads the `vision_config` of Qwen2-VL, whose `hidden_size` is the decoder's width; see `QWEN2_TOWER`.

    Raises:
        CheckpointError: The tower has another activation than the published one.
    """
    vision = {**QWEN2_TOWER, **vision}
    activation = vision["hidden_act"]
    if activation != "quick_gelu":
        raise CheckpointError(
            f"vision_config.hidden_act must be 'quick_gelu', as of every Qwen2-VL, got {activation!r}"
        )
    return Qwen2VisionConfig(
        width=vision["embed_dim"],
        num_layers=vision["depth"],
        num_heads=vision["num_heads"],
        mlp_width=int(vision["embed_dim"] * vision["mlp_ratio"]),
        output_width=vision["hidden_size"],
        **_parse_patches(vision),
    )


def parse_qwen25_vision(vision: Json) -> Qwen25VisionConfig:
    """Reads the `vision_config` of Qwen2.5-VL."""
    return Qwen25VisionConfig(
        width=vision["hidden_size"],
        num_layers=vision["depth"],
        num_heads=vision["num_heads"],
        mlp_width=vision["intermediate_size"],
        output_width=vision["out_hidden_size"],
        window_size=vision["window_size"],
        full_attention_layers=tuple(vision["fullatt_block_indexes"]),
        shares_uniform_windows=vision.get("share_uniform_windows", False) is True,
        **_parse_patches(vision),
    )


def _parse_patches(vision: Json) -> dict[str, Any]:
    return {
        "patch_size": vision.get("patch_size", vision.get("spatial_patch_size", 14)),
        "num_frames": vision.get("temporal_patch_size", 2),
        "merge_size": vision.get("spatial_merge_size", 2),
        "num_channels": vision.get("in_channels", vision.get("in_chans", 3)),
    }


def _check(vision: VisionConfig, decoder: DecoderConfig) -> None:
    for part in (vision, decoder):
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


def render_trunk(trunk: TrunkConfig[Any]) -> dict[str, Any]:
    """Returns the fields of a `config.json` that `parse_trunk` reads, the text fields flat as published."""
    vision, decoder = trunk.vision, trunk.decoder
    return {
        "hidden_size": decoder.width,
        "num_hidden_layers": decoder.num_layers,
        "num_attention_heads": decoder.num_heads,
        "num_key_value_heads": decoder.num_kv_heads,
        "intermediate_size": decoder.mlp_width,
        "vocab_size": decoder.vocab_size,
        "rms_norm_eps": decoder.norm_eps,
        "rope_theta": decoder.theta,
        "rope_scaling": {"type": "mrope", "mrope_section": list(decoder.rope_sections)},
        "max_position_embeddings": max(trunk.max_length, 32_768),
        "hidden_act": "silu",
        "use_sliding_window": False,
        "torch_dtype": "bfloat16",
        "image_token_id": trunk.image_token_id,
        "vision_start_token_id": trunk.vision_start_token_id,
        "vision_end_token_id": trunk.vision_end_token_id,
        "vision_config": _render_vision(vision),
    }


def _render_vision(vision: VisionConfig) -> dict[str, Any]:
    patches = {
        "depth": vision.num_layers,
        "num_heads": vision.num_heads,
        "patch_size": vision.patch_size,
        "spatial_patch_size": vision.patch_size,
        "temporal_patch_size": vision.num_frames,
        "spatial_merge_size": vision.merge_size,
        "in_channels": vision.num_channels,
        "in_chans": vision.num_channels,
    }
    if isinstance(vision, Qwen25VisionConfig):
        return {
            **patches,
            "hidden_size": vision.width,
            "intermediate_size": vision.mlp_width,
            "out_hidden_size": vision.output_width,
            "window_size": vision.window_size,
            "fullatt_block_indexes": list(vision.full_attention_layers),
            **({"share_uniform_windows": True} if vision.shares_uniform_windows else {}),
            "hidden_act": "silu",
            "tokens_per_second": 2,
        }
    return {
        **patches,
        "embed_dim": vision.width,
        "mlp_ratio": vision.mlp_width // vision.width,
        "hidden_size": vision.output_width,
        "hidden_act": "quick_gelu",
    }
