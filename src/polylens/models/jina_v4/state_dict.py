"""The published tensor names and ours: one rule per tensor, and none changes a number.

jina_embeddings_v4 facts, sections 1.3 and 1.4. The base file has the names of the first Qwen2.5-VL release (`model.*`,
`visual.*`). The adapter file has PEFT's names, where the decoder is `language_model`.
"""

from __future__ import annotations

from collections.abc import Iterator

from polylens.models.jina_v4.config import JinaV4Config

_DECODER_LINEAR = {
    "attention.query": ("self_attn.q_proj", True),
    "attention.key": ("self_attn.k_proj", True),
    "attention.value": ("self_attn.v_proj", True),
    "attention.out": ("self_attn.o_proj", False),
    "mlp.gate": ("mlp.gate_proj", False),
    "mlp.up": ("mlp.up_proj", False),
    "mlp.down": ("mlp.down_proj", False),
}
"""Ours -> (published, has a bias)."""

_VISION_LINEAR = {
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}


def base_names(config: JinaV4Config) -> dict[str, str]:
    """Returns published name -> our name, for every tensor of the base checkpoint."""
    return {theirs: ours for theirs, ours in _base_rules(config)}


def adapter_names(config: JinaV4Config) -> dict[str, str]:
    """Returns published name -> our name, for every tensor of `adapters/adapter_model.safetensors`."""
    return {theirs: ours for theirs, ours in _adapter_rules(config)}


def _base_rules(config: JinaV4Config) -> Iterator[tuple[str, str]]:
    yield "model.embed_tokens.weight", "decoder.embed.weight"
    for i in range(config.decoder.num_layers):
        theirs, ours = f"model.layers.{i}", f"decoder.blocks.{i}"
        yield f"{theirs}.input_layernorm.weight", f"{ours}.attention_norm.weight"
        yield f"{theirs}.post_attention_layernorm.weight", f"{ours}.mlp_norm.weight"
        for name, (published, has_bias) in _DECODER_LINEAR.items():
            yield f"{theirs}.{published}.weight", f"{ours}.{name}.weight"
            if has_bias:
                yield f"{theirs}.{published}.bias", f"{ours}.{name}.bias"
    yield "model.norm.weight", "decoder.norm.weight"

    yield "visual.patch_embed.proj.weight", "vision.patch_embed.weight"
    for i in range(config.vision.num_layers):
        theirs, ours = f"visual.blocks.{i}", f"vision.blocks.{i}"
        yield f"{theirs}.norm1.weight", f"{ours}.attention_norm.weight"
        yield f"{theirs}.norm2.weight", f"{ours}.mlp_norm.weight"
        for name, published in _VISION_LINEAR.items():
            yield f"{theirs}.{published}.weight", f"{ours}.{name}.weight"
            yield f"{theirs}.{published}.bias", f"{ours}.{name}.bias"
    yield "visual.merger.ln_q.weight", "vision.merger.norm.weight"
    for published, name in (("0", "inner"), ("2", "outer")):
        yield f"visual.merger.mlp.{published}.weight", f"vision.merger.{name}.weight"
        yield f"visual.merger.mlp.{published}.bias", f"vision.merger.{name}.bias"

    yield "multi_vector_projector.weight", "projector.weight"
    yield "multi_vector_projector.bias", "projector.bias"


def _adapter_rules(config: JinaV4Config) -> Iterator[tuple[str, str]]:
    for task in config.lora.tasks:
        for published_half, half in (("lora_A", "lora_a"), ("lora_B", "lora_b")):
            for i in range(config.decoder.num_layers):
                for name, (published, _) in _DECODER_LINEAR.items():
                    yield (
                        f"base_model.model.model.language_model.layers.{i}.{published}.{published_half}.{task}.weight",
                        f"decoder.blocks.{i}.{name}.{half}.{task}",
                    )
            yield (
                f"base_model.model.multi_vector_projector.{published_half}.{task}.weight",
                f"projector.{half}.{task}",
            )


def published_shape(config: JinaV4Config, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape in which the published file holds a tensor of ours.

    Only the patch embedding differs: the file has a convolution's kernel `[width, channels, frames, side, side]`, whose
    numbers in the same order are our matrix.
    """
    if name != "vision.patch_embed.weight":
        return shape
    vision = config.vision
    return (vision.width, vision.num_channels, vision.num_frames, vision.patch_size, vision.patch_size)
