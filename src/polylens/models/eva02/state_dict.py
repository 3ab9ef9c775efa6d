"""The published tensor names of an EVA02 vision tower and ours.

jina_clip_v2 facts, section 1.3. One kind of tensor changes: the channels of queries and keys are reordered, so that the
two channels that rotate together are half a head apart, as everywhere else in this package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from polylens.models.eva02.config import VisionConfig
from polylens.models.rules import Rule, linear, norm, rename


def vision_rules(config: VisionConfig) -> Iterator[Rule]:
    """Yields the rules of the tensors below `vision_model.`, which become parameters below `vision.`."""
    width, patch = config.width, config.patch_size
    yield rename("vision_model.cls_token", (1, 1, width), "vision.class_token", (width,))
    positions = (config.num_tokens, width)
    yield rename("vision_model.pos_embed", (1, *positions), "vision.positions", positions)
    kernel = (width, config.num_channels, patch, patch)
    yield rename("vision_model.patch_embed.proj.weight", kernel, "vision.patch_embed.weight", (width, config.patch_dim))
    yield rename("vision_model.patch_embed.proj.bias", (width,), "vision.patch_embed.bias")
    for i in range(config.num_layers):
        theirs, ours = f"vision_model.blocks.{i}", f"vision.blocks.{i}"
        yield from norm(f"{theirs}.norm1", f"{ours}.attention_norm", width)
        yield _paired(f"{theirs}.attn.q_proj.weight", (width, width), f"{ours}.attention.query.weight", config)
        yield _paired(f"{theirs}.attn.q_bias", (width,), f"{ours}.attention.query.bias", config)
        yield _paired(f"{theirs}.attn.k_proj.weight", (width, width), f"{ours}.attention.key.weight", config)
        yield rename(f"{theirs}.attn.v_proj.weight", (width, width), f"{ours}.attention.value.weight")
        yield rename(f"{theirs}.attn.v_bias", (width,), f"{ours}.attention.value.bias")
        yield from norm(f"{theirs}.attn.inner_attn_ln", f"{ours}.attention.norm", width)
        yield from linear(f"{theirs}.attn.proj", f"{ours}.attention.out", width, width)
        yield from norm(f"{theirs}.norm2", f"{ours}.mlp_norm", width)
        yield from linear(f"{theirs}.mlp.w1", f"{ours}.mlp.gate", config.mlp_width, width)
        yield from linear(f"{theirs}.mlp.w2", f"{ours}.mlp.up", config.mlp_width, width)
        yield from norm(f"{theirs}.mlp.ffn_ln", f"{ours}.mlp.norm", config.mlp_width)
        yield from linear(f"{theirs}.mlp.w3", f"{ours}.mlp.down", width, config.mlp_width)
    yield from norm("vision_model.norm", "vision.norm", width)


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
