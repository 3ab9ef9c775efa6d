"""The published tensor names of jina-clip-v2's file and ours; those of the text tower are in `xlm_rotary`.

jina_clip_v2 facts, section 1.3. The channels of the vision tower's queries and keys are reordered, so that the two
channels that rotate together are half a head apart, as everywhere else in this package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from polylens.models.jina_clip_v2.config import JinaClipConfig, VisionConfig
from polylens.models.protocol import Modality
from polylens.models.rules import Rule, rename
from polylens.models.xlm_rotary.state_dict import adapted_rules

LOGIT_SCALE = "logit_scale"
"""The factor by which training multiplies cosines; embedding does not need it."""


def clip_rules(config: JinaClipConfig, modalities: Sequence[Modality]) -> list[Rule]:
    """Returns the rules of jina-clip-v2's `model.safetensors` for the towers that are loaded."""
    rules: list[Rule] = []
    if "text" in modalities:
        rules += adapted_rules(config.text, "text_model.transformer.roberta.")
    if "image" in modalities and config.vision is not None:
        rules += _vision(config.vision)
    return rules


def skipped_names(modalities: Sequence[Modality]) -> tuple[str, ...]:
    """Returns the prefixes of the names that stay unread: those of a tower that is not loaded, and the logit scale."""
    unwanted = [("text", "text_model."), ("image", "vision_model.")]
    return (LOGIT_SCALE, *(prefix for modality, prefix in unwanted if modality not in modalities))


def _vision(config: VisionConfig) -> Iterator[Rule]:
    width, patch = config.width, config.patch_size
    yield rename("vision_model.cls_token", (1, 1, width), "vision.class_token", (width,))
    positions = (config.num_tokens, width)
    yield rename("vision_model.pos_embed", (1, *positions), "vision.positions", positions)
    kernel = (width, config.num_channels, patch, patch)
    yield rename("vision_model.patch_embed.proj.weight", kernel, "vision.patch_embed.weight", (width, config.patch_dim))
    yield rename("vision_model.patch_embed.proj.bias", (width,), "vision.patch_embed.bias")
    for i in range(config.num_layers):
        theirs, ours = f"vision_model.blocks.{i}", f"vision.blocks.{i}"
        yield from _norm(f"{theirs}.norm1", f"{ours}.attention_norm", width)
        yield _paired(f"{theirs}.attn.q_proj.weight", (width, width), f"{ours}.attention.query.weight", config)
        yield _paired(f"{theirs}.attn.q_bias", (width,), f"{ours}.attention.query.bias", config)
        yield _paired(f"{theirs}.attn.k_proj.weight", (width, width), f"{ours}.attention.key.weight", config)
        yield rename(f"{theirs}.attn.v_proj.weight", (width, width), f"{ours}.attention.value.weight")
        yield rename(f"{theirs}.attn.v_bias", (width,), f"{ours}.attention.value.bias")
        yield from _norm(f"{theirs}.attn.inner_attn_ln", f"{ours}.attention.norm", width)
        yield from _linear(f"{theirs}.attn.proj", f"{ours}.attention.out", width, width)
        yield from _norm(f"{theirs}.norm2", f"{ours}.mlp_norm", width)
        yield from _linear(f"{theirs}.mlp.w1", f"{ours}.mlp.gate", config.mlp_width, width)
        yield from _linear(f"{theirs}.mlp.w2", f"{ours}.mlp.up", config.mlp_width, width)
        yield from _norm(f"{theirs}.mlp.ffn_ln", f"{ours}.mlp.norm", config.mlp_width)
        yield from _linear(f"{theirs}.mlp.w3", f"{ours}.mlp.down", width, config.mlp_width)
    yield from _norm("vision_model.norm", "vision.norm", width)


def _paired(published: str, shape: tuple[int, ...], ours: str, config: VisionConfig) -> Rule:
    """Returns the rule that reorders the channels of queries or keys.

    In the file, channels 2i and 2i + 1 of a head rotate together; in `nn.rope.rotate`, i and i + C/2 do. A dot product
    does not depend on the order of channels, so queries and keys are reordered in the same way.
    """

    def fold(tensors: Sequence[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
        [tensor] = tensors
        heads = tensor.reshape(config.num_heads, -1, 2, *tensor.shape[1:])
        return (heads.transpose(1, 2).reshape(tensor.shape).to(dtype),)

    def unfold(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        [tensor] = tensors
        heads = tensor.reshape(config.num_heads, 2, -1, *tensor.shape[1:])
        return (heads.transpose(1, 2).reshape(tensor.shape),)

    return Rule(published={published: shape}, ours=(ours,), fold=fold, unfold=unfold)


def _norm(published: str, ours: str, width: int) -> Iterator[Rule]:
    for part in ("weight", "bias"):
        yield rename(f"{published}.{part}", (width,), f"{ours}.{part}")


def _linear(published: str, ours: str, outputs: int, inputs: int) -> Iterator[Rule]:
    yield rename(f"{published}.weight", (outputs, inputs), f"{ours}.weight")
    yield rename(f"{published}.bias", (outputs,), f"{ours}.bias")
