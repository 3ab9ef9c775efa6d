"""The published tensor names and ours: jina-embeddings-v2's two variants, and jina-clip-v1's two forms.

Two kinds of tensor change: queries, keys and values are stacked in one matrix, and the variant with normalised queries
and keys has the halves of its gated layer the other way round.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from polylens.errors import CheckpointError
from polylens.models.eva02.state_dict import vision_rules
from polylens.models.jina_bert.config import PLAIN, QK_POST_NORM, JinaBertConfig, TextConfig
from polylens.models.jina_bert.text import NUM_SEGMENTS
from polylens.models.protocol import Modality
from polylens.models.rules import Rule, linear, norm, rename, stacked

LOGIT_SCALE = "logit_scale"
"""The factor by which the training of jina-clip-v1 multiplies cosines; embedding does not need it."""

CLIP_TEXT = "text_model.transformer."
"""What the names of jina-clip-v1's text tower begin with."""

_MARKS = {"layer_norm_q.": True, "mlp.up_gated_layer.": True, "mlp.gated_layers.": False}
"""Part of a name -> whether the tensor belongs to the variant with normalised queries and keys."""


def text_prefix(names: Collection[str]) -> str:
    """Returns what the names of jina-embeddings-v2's tensors begin with, beside those of a task's head."""
    return "bert." if any(name.startswith("bert.") for name in names) else ""


def text_rules(config: TextConfig, prefix: str = "") -> Iterator[Rule]:
    """Yields the rules of the text tower in the names of jina-embeddings-v2, without its pooler."""
    width = config.width
    yield from _tables(config, prefix)
    yield from norm(f"{prefix}embeddings.LayerNorm", "text.embed_norm", width)
    for i in range(config.num_layers):
        theirs, ours = f"{prefix}encoder.layer.{i}", f"text.blocks.{i}"
        attention = f"{theirs}.attention.self"
        for part, shape in (("weight", (width, width)), ("bias", (width,))):
            names = [f"{attention}.{which}.{part}" for which in ("query", "key", "value")]
            yield stacked(dict.fromkeys(names, shape), f"{ours}.attention.qkv.{part}")
        yield from linear(f"{theirs}.attention.output.dense", f"{ours}.attention.out", width, width)
        yield from norm(f"{theirs}.attention.output.LayerNorm", f"{ours}.attention_norm", width)
        gated = f"{ours}.mlp.gated.weight", (2 * config.mlp_width, width)
        if config.has_qk_norm:
            yield from norm(f"{attention}.layer_norm_q", f"{ours}.attention.query_norm", width)
            yield from norm(f"{attention}.layer_norm_k", f"{ours}.attention.key_norm", width)
            yield from norm(f"{theirs}.layer_norm_1", f"{ours}.second_norm", width)
            yield _gate_first(f"{theirs}.mlp.up_gated_layer.weight", *gated)
            yield from linear(f"{theirs}.mlp.down_layer", f"{ours}.mlp.down", width, config.mlp_width)
            yield from norm(f"{theirs}.layer_norm_2", f"{ours}.mlp_norm", width)
        else:
            yield rename(f"{theirs}.mlp.gated_layers.weight", gated[1], gated[0])
            yield from linear(f"{theirs}.mlp.wo", f"{ours}.mlp.down", width, config.mlp_width)
            yield from norm(f"{theirs}.mlp.layernorm", f"{ours}.mlp_norm", width)


def flash_rules(config: TextConfig, prefix: str = CLIP_TEXT) -> Iterator[Rule]:
    """Yields the rules of the text tower in the names of the implementation that jina-clip-v1 was published with."""
    width = config.width
    yield from _tables(config, prefix)
    yield from norm(f"{prefix}emb_ln", "text.embed_norm", width)
    for i in range(config.num_layers):
        theirs, ours = f"{prefix}encoder.layers.{i}", f"text.blocks.{i}"
        yield from linear(f"{theirs}.mixer.Wqkv", f"{ours}.attention.qkv", 3 * width, width)
        yield from linear(f"{theirs}.mixer.out_proj", f"{ours}.attention.out", width, width)
        yield from norm(f"{theirs}.norm1", f"{ours}.attention_norm", width)
        gated = (2 * config.mlp_width, width)
        yield rename(f"{theirs}.mlp.gated_layers.weight", gated, f"{ours}.mlp.gated.weight")
        yield from linear(f"{theirs}.mlp.wo", f"{ours}.mlp.down", width, config.mlp_width)
        yield from norm(f"{theirs}.norm2", f"{ours}.mlp_norm", width)


def clip_rules(config: JinaBertConfig, modalities: Sequence[Modality], *, is_flash: bool) -> list[Rule]:
    """Returns the rules of jina-clip-v1's `model.safetensors` for the towers that are loaded.

    Args:
        config: The sizes of the model.
        modalities: The towers.
        is_flash: Whether the text tower has the names of `flash_rules`; otherwise it has those of `text_rules`.
    """
    rules: list[Rule] = []
    if "text" in modalities:
        rules += (flash_rules if is_flash else text_rules)(config.text, CLIP_TEXT)
    if "image" in modalities and config.vision is not None:
        rules += vision_rules(config.vision)
    return rules


def skipped_names(modalities: Sequence[Modality]) -> tuple[str, ...]:
    """Returns the prefixes of jina-clip-v1's names that stay unread: towers that are not loaded, and the logit scale.

    The text tower's pooler is a remnant of pretraining, where it is there at all.
    """
    unwanted = [("text", "text_model."), ("image", "vision_model.")]
    towers = (prefix for modality, prefix in unwanted if modality not in modalities)
    return (LOGIT_SCALE, f"{CLIP_TEXT}pooler.", *towers)


def check_variant(config: TextConfig, names: Collection[str]) -> None:
    """Checks that the tensors of the text tower are those of the variant that `config.json` names.

    Raises:
        CheckpointError: They are those of the other one, or a mixture that no published implementation computes.
    """
    found = {mark for mark in _MARKS if any(mark in name for name in names)}
    for has_qk_norm, where in ((False, PLAIN), (True, QK_POST_NORM)):
        if found != {mark for mark, belongs in _MARKS.items() if belongs == has_qk_norm}:
            continue
        if has_qk_norm == config.has_qk_norm:
            return
        other = PLAIN if has_qk_norm else QK_POST_NORM
        raise CheckpointError(
            f"the tensors are those of {where}, but config.json means {other}: "
            "its _name_or_path or auto_map must name the implementation with which the model was trained"
        )
    raise CheckpointError(
        f"this is a JinaBERT of an unknown variant: its tensors are named {', '.join(sorted(found)) or 'otherwise'}; "
        f"{PLAIN} has mlp.gated_layers, and {QK_POST_NORM} has layer_norm_q and mlp.up_gated_layer"
    )


def _tables(config: TextConfig, prefix: str) -> Iterator[Rule]:
    shapes = {"word": (config.vocab_size, config.width), "token_type": (NUM_SEGMENTS, config.width)}
    yield rename(f"{prefix}embeddings.word_embeddings.weight", shapes["word"], "text.embed.weight")
    yield rename(f"{prefix}embeddings.token_type_embeddings.weight", shapes["token_type"], "text.segment.weight")


def _gate_first(published: str, ours: str, shape: tuple[int, int]) -> Rule:
    """Returns the rule that swaps the halves of a gated layer whose second half is the gate."""

    def fold(tensors: Sequence[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
        return (_swapped(tensors[0]).to(dtype),)

    def unfold(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return (_swapped(tensors[0]),)

    return Rule(published={published: shape}, ours=(ours,), fold=fold, unfold=unfold)


def _swapped(tensor: Tensor) -> Tensor:
    up, gate = tensor.chunk(2)
    return torch.cat((gate, up))
