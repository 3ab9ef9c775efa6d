"""The published tensor names and ours, for jina-clip-v2's file and for both forms of jina-embeddings-v3's.

jina_clip_v2 facts, section 1.3. Three kinds of tensor change: an adapter that is always on is merged; adapters that are
stacked in one tensor are separated; and the channels of the vision tower's queries and keys are reordered, so that the
two channels that rotate together are half a head apart, as everywhere else in this package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from polylens.models.jina_clip_v2.config import JinaClipConfig, TextConfig, VisionConfig
from polylens.models.protocol import Modality
from polylens.models.rules import Rule, merged, rename

LOGIT_SCALE = "logit_scale"
"""The factor by which training multiplies cosines; embedding does not need it."""

_TEXT_LINEAR = (("mixer.Wqkv", "attention.qkv"), ("mixer.out_proj", "attention.out"), ("mlp.fc1", "mlp.up"),
                ("mlp.fc2", "mlp.down"))  # fmt: skip


def clip_rules(config: JinaClipConfig, modalities: Sequence[Modality]) -> list[Rule]:
    """Returns the rules of jina-clip-v2's `model.safetensors` for the towers that are loaded."""
    rules: list[Rule] = []
    if "text" in modalities:
        rules += _official_text(config.text, "text_model.transformer.roberta.")
    if "image" in modalities and config.vision is not None:
        rules += _vision(config.vision)
    return rules


def skipped_names(modalities: Sequence[Modality]) -> tuple[str, ...]:
    """Returns the prefixes of the names that stay unread: those of a tower that is not loaded, and the logit scale."""
    unwanted = [("text", "text_model."), ("image", "vision_model.")]
    return (LOGIT_SCALE, *(prefix for modality, prefix in unwanted if modality not in modalities))


def v3_rules(config: TextConfig) -> list[Rule]:
    """Returns the rules of jina-embeddings-v3's `model.safetensors` in its official layout."""
    return list(_official_text(config, "roberta."))


def native_rules(config: TextConfig) -> list[Rule]:
    """Returns the rules of a checkpoint with the names of transformers' `JinaEmbeddingsV3Model`; it has no adapters."""
    width = config.width
    rules = [*_plain_tables(config), *_norm("embeddings.LayerNorm", "text.embed_norm", width)]
    for i in range(config.num_layers):
        theirs, ours = f"layers.{i}", f"text.blocks.{i}"
        for part, shape in (("weight", (width, width)), ("bias", (width,))):
            names = [f"{theirs}.self_attn.{which}_proj.{part}" for which in "qkv"]
            rules.append(_stacked(dict.fromkeys(names, shape), f"{ours}.attention.qkv.{part}"))
        rules += _linear(f"{theirs}.self_attn.o_proj", f"{ours}.attention.out", width, width)
        rules += _linear(f"{theirs}.mlp.fc1", f"{ours}.mlp.up", config.mlp_width, width)
        rules += _linear(f"{theirs}.mlp.fc2", f"{ours}.mlp.down", width, config.mlp_width)
        rules += _norm(f"{theirs}.post_attention_layernorm", f"{ours}.attention_norm", width)
        rules += _norm(f"{theirs}.post_mlp_layernorm", f"{ours}.mlp_norm", width)
    return rules


def saved_rules(config: TextConfig) -> list[Rule]:
    """Returns the rules of what `save_pretrained` of that class writes: official names, no adapters, no prefix."""
    width = config.width
    rules = [*_plain_tables(config), *_norm("emb_ln", "text.embed_norm", width)]
    for i in range(config.num_layers):
        theirs, ours = f"encoder.layers.{i}", f"text.blocks.{i}"
        for (published, name), (outputs, inputs) in zip(_TEXT_LINEAR, _text_shapes(config), strict=True):
            rules += _linear(f"{theirs}.{published}", f"{ours}.{name}", outputs, inputs)
        rules += _norm(f"{theirs}.norm1", f"{ours}.attention_norm", width)
        rules += _norm(f"{theirs}.norm2", f"{ours}.mlp_norm", width)
    return rules


def _plain_tables(config: TextConfig) -> Iterator[Rule]:
    """Yields the rules of the embeddings of a checkpoint without adapters."""
    yield rename("embeddings.word_embeddings.weight", (config.vocab_size, config.width), "text.embed.weight")
    yield rename("embeddings.token_type_embeddings.weight", (1, config.width), "text.segment.weight")


def _text_shapes(config: TextConfig) -> tuple[tuple[int, int], ...]:
    """Returns the number of outputs and inputs of each layer in `_TEXT_LINEAR`."""
    width = config.width
    return ((3 * width, width), (width, width), (config.mlp_width, width), (width, config.mlp_width))


def _official_text(config: TextConfig, prefix: str) -> Iterator[Rule]:
    width = config.width
    embeddings = f"{prefix}embeddings."
    yield _adapted(config, f"{embeddings}word_embeddings", "text.embed", (config.vocab_size, width), table=True)
    yield _adapted(config, f"{embeddings}token_type_embeddings", "text.segment", (1, width), table=True)
    yield from _norm(f"{prefix}emb_ln", "text.embed_norm", width)
    shapes = _text_shapes(config)
    for i in range(config.num_layers):
        theirs, ours = f"{prefix}encoder.layers.{i}", f"text.blocks.{i}"
        for (published, name), shape in zip(_TEXT_LINEAR, shapes, strict=True):
            yield _adapted(config, f"{theirs}.{published}", f"{ours}.{name}", shape, table=False)
            yield rename(f"{theirs}.{published}.bias", shape[:1], f"{ours}.{name}.bias")
        yield from _norm(f"{theirs}.norm1", f"{ours}.attention_norm", width)
        yield from _norm(f"{theirs}.norm2", f"{ours}.mlp_norm", width)


def _adapted(config: TextConfig, published: str, ours: str, shape: tuple[int, int], *, table: bool) -> Rule:
    """Returns the rule of a weight and its adapters, with `[tasks, ...]` per half; embeddings have A and B swapped."""
    lora = config.lora
    count, rank = len(lora.tasks), lora.rank
    halves = ((shape[0], rank), (rank, shape[1])) if table else ((rank, shape[1]), (shape[0], rank))
    shapes = {
        f"{published}.parametrizations.weight.original": shape,
        f"{published}.parametrizations.weight.0.lora_A": (count, *halves[0]),
        f"{published}.parametrizations.weight.0.lora_B": (count, *halves[1]),
    }
    if config.always_on is not None:

        def merge(tensors: Sequence[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
            weight, a, b = tensors[0], tensors[1][0], tensors[2][0]
            left, right = (a, b) if table else (b, a)
            return (merged(weight, left, right, lora.scaling, dtype),)

        def part(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
            """Leaves the merged adapter in the weight, and writes an adapter of zeros beside it."""
            return [tensors[0], *(tensors[0].new_zeros(count, *half) for half in halves)]

        return Rule(published=shapes, ours=(f"{ours}.weight",), fold=merge, unfold=part)

    def split(tensors: Sequence[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
        return [each.to(dtype) for each in (tensors[0], *tensors[1], *tensors[2])]

    def join(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return [tensors[0], torch.stack(list(tensors[1 : 1 + count])), torch.stack(list(tensors[1 + count :]))]

    tasks = config.chosen.tasks
    names = [f"{ours}.weight", *(f"{ours}.{half}.{task}" for half in ("lora_a", "lora_b") for task in tasks)]
    return Rule(published=shapes, ours=tuple(names), fold=split, unfold=join)


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


def _stacked(published: dict[str, tuple[int, ...]], ours: str) -> Rule:
    """Returns the rule that stacks several published matrices, one below the other."""

    def fold(tensors: Sequence[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
        return (torch.cat([tensor.to(dtype) for tensor in tensors]),)

    def unfold(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return tensors[0].chunk(len(published))

    return Rule(published=published, ours=(ours,), fold=fold, unfold=unfold)


def _norm(published: str, ours: str, width: int) -> Iterator[Rule]:
    for part in ("weight", "bias"):
        yield rename(f"{published}.{part}", (width,), f"{ours}.{part}")


def _linear(published: str, ours: str, outputs: int, inputs: int) -> Iterator[Rule]:
    yield rename(f"{published}.weight", (outputs, inputs), f"{ours}.weight")
    yield rename(f"{published}.bias", (outputs,), f"{ours}.bias")
