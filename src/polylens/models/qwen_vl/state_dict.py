"""The published tensor names of decoder and vision towers and ours: one rule per tensor, and none changes a number.

Older files have the names of the first release (`model.layers...`, `visual...`), newer ones those of transformers since
4.52 (`model.language_model.layers...`, `model.visual...`). Only what stands before them differs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from polylens.errors import CheckpointError
from polylens.models.qwen_vl.config import DecoderConfig, Qwen25VisionConfig, VisionConfig
from polylens.models.rules import Rule, rename

DECODER_LINEAR = {
    "attention.query": ("self_attn.q_proj", True),
    "attention.key": ("self_attn.k_proj", True),
    "attention.value": ("self_attn.v_proj", True),
    "attention.out": ("self_attn.o_proj", False),
    "mlp.gate": ("mlp.gate_proj", False),
    "mlp.up": ("mlp.up_proj", False),
    "mlp.down": ("mlp.down_proj", False),
}
"""Ours -> (published, has a bias)."""

_VISION_LINEAR = {"attention.qkv": "attn.qkv", "attention.out": "attn.proj"}
_QWEN2_LINEAR = {"mlp.up": "mlp.fc1", "mlp.down": "mlp.fc2"}
_QWEN25_LINEAR = {"mlp.gate": "mlp.gate_proj", "mlp.up": "mlp.up_proj", "mlp.down": "mlp.down_proj"}


@dataclass(frozen=True, slots=True)
class Places:
    """What stands before the names of the two networks in a file."""

    decoder: str
    vision: str


FIRST_RELEASE = Places("model.", "visual.")


def places_in(names: Collection[str]) -> Places:
    """Finds the two networks in a file by a tensor of each; those that it lacks are where the first release had them.

    Args:
        names: The published names of all tensors of the file.

    Raises:
        CheckpointError: One of the networks is there twice.

    Example:
        >>> places_in(["model.language_model.embed_tokens.weight", "model.visual.patch_embed.proj.weight"])
        Places(decoder='model.language_model.', vision='model.visual.')
    """

    def place(last: str, default: str) -> str:
        found = sorted(name.removesuffix(last) for name in names if name.endswith(last))
        if len(found) > 1:
            raise CheckpointError(f"the checkpoint should have one tensor {last}, got one each in {', '.join(found)}")
        return found[0] if found else default

    return Places(
        place("embed_tokens.weight", FIRST_RELEASE.decoder), place("patch_embed.proj.weight", FIRST_RELEASE.vision)
    )


def decoder_names(config: DecoderConfig, places: Places = FIRST_RELEASE) -> dict[str, str]:
    """Returns published name -> our name, for every tensor of the decoder."""
    return {places.decoder + theirs: f"decoder.{ours}" for theirs, ours in _decoder_rules(config)}


def vision_names(config: VisionConfig, places: Places = FIRST_RELEASE) -> dict[str, str]:
    """Returns published name -> our name, for every tensor of the vision tower."""
    return {places.vision + theirs: f"vision.{ours}" for theirs, ours in _vision_rules(config)}


def _decoder_rules(config: DecoderConfig) -> Iterator[tuple[str, str]]:
    yield "embed_tokens.weight", "embed.weight"
    for i in range(config.num_layers):
        theirs, ours = f"layers.{i}", f"blocks.{i}"
        yield f"{theirs}.input_layernorm.weight", f"{ours}.attention_norm.weight"
        yield f"{theirs}.post_attention_layernorm.weight", f"{ours}.mlp_norm.weight"
        for name, (published, has_bias) in DECODER_LINEAR.items():
            yield f"{theirs}.{published}.weight", f"{ours}.{name}.weight"
            if has_bias:
                yield f"{theirs}.{published}.bias", f"{ours}.{name}.bias"
    yield "norm.weight", "norm.weight"


def _vision_rules(config: VisionConfig) -> Iterator[tuple[str, str]]:
    is_qwen25 = isinstance(config, Qwen25VisionConfig)
    linear = {**_VISION_LINEAR, **(_QWEN25_LINEAR if is_qwen25 else _QWEN2_LINEAR)}
    norm = ("weight",) if is_qwen25 else ("weight", "bias")  # RMSNorm, LayerNorm

    yield "patch_embed.proj.weight", "patch_embed.weight"
    for i in range(config.num_layers):
        block = f"blocks.{i}"
        for kind in norm:
            yield f"{block}.norm1.{kind}", f"{block}.attention_norm.{kind}"
            yield f"{block}.norm2.{kind}", f"{block}.mlp_norm.{kind}"
        for name, published in linear.items():
            for kind in ("weight", "bias"):
                yield f"{block}.{published}.{kind}", f"{block}.{name}.{kind}"
    for kind in norm:
        yield f"merger.ln_q.{kind}", f"merger.norm.{kind}"
    for published, name in (("0", "inner"), ("2", "outer")):
        for kind in ("weight", "bias"):
            yield f"merger.mlp.{published}.{kind}", f"merger.{name}.{kind}"


def published_shape(vision: VisionConfig, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape in which a published file holds a tensor of ours.

    Only the patch embedding differs: the file has a convolution's kernel `[width, channels, frames, side, side]`, whose
    numbers in the same order are our matrix.
    """
    if name != "vision.patch_embed.weight":
        return shape
    return (vision.width, vision.num_channels, vision.num_frames, vision.patch_size, vision.patch_size)


def renaming(names: Mapping[str, str], vision: VisionConfig, network: nn.Module) -> list[Rule]:
    """Returns one rule per published name, none of which changes a number.

    Args:
        names: Published name -> our name.
        vision: The sizes of the vision tower.
        network: The network, whose parameters have our names.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    return [
        rename(published, published_shape(vision, ours, shapes[ours]), ours, shapes[ours])
        for published, ours in names.items()
    ]


def published_tensors(names: Mapping[str, str], vision: VisionConfig, network: nn.Module) -> dict[str, Tensor]:
    """Returns published name -> tensor, in the dtype in which the network holds it; arguments as for `renaming`."""
    ours = {name: parameter.detach().cpu() for name, parameter in network.named_parameters()}
    return {
        published: ours[name].reshape(published_shape(vision, name, tuple(ours[name].shape))).contiguous()
        for published, name in names.items()
    }
