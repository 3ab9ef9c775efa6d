"""The published tensor names of the text tower and ours, in the three forms in which checkpoints hold them.

The official form has one tensor for queries, keys and values, and an adapter beside each weight, with all tasks stacked
(jina_clip_v2 facts, section 1.3). Without adapters the names are shorter, as in jina-colbert-v2. transformers' own
form, `JinaEmbeddingsV3Model`, names queries, keys and values apart; its adapters are in PEFT's files, one per task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from polylens.models.rules import Rule, linear, norm, rename, stacked
from polylens.models.xlm_rotary.config import TextConfig, adapter_key

MERGE_ROWS = 128  # rows merged in float32 at a time; larger pieces, freed between weights, fragment the memory

PEFT_PREFIX = "base_model.model."
"""What PEFT puts before the name of every tensor of an adapter's file."""

_LINEAR = (("mixer.Wqkv", "attention.qkv"), ("mixer.out_proj", "attention.out"), ("mlp.fc1", "mlp.up"),
           ("mlp.fc2", "mlp.down"))  # fmt: skip

_NATIVE_LINEAR = (("self_attn.o_proj", "attention.out"), ("mlp.fc1", "mlp.up"), ("mlp.fc2", "mlp.down"))


def adapted_rules(config: TextConfig, prefix: str) -> Iterator[Rule]:
    """Yields the rules of the official form with adapters.

    Args:
        config: The sizes of the tower.
        prefix: What stands before every published name.
    """
    width = config.width
    embeddings = f"{prefix}embeddings."
    yield _adapted(config, f"{embeddings}word_embeddings", "text.embed", (config.vocab_size, width), table=True)
    yield _adapted(config, f"{embeddings}token_type_embeddings", "text.segment", (1, width), table=True)
    yield from norm(f"{prefix}emb_ln", "text.embed_norm", width)
    shapes = _shapes(config)
    for i in range(config.num_layers):
        theirs, ours = f"{prefix}encoder.layers.{i}", f"text.blocks.{i}"
        for (published, name), shape in zip(_LINEAR, shapes, strict=True):
            yield _adapted(config, f"{theirs}.{published}", f"{ours}.{name}", shape, table=False)
            yield rename(f"{theirs}.{published}.bias", shape[:1], f"{ours}.{name}.bias")
        yield from norm(f"{theirs}.norm1", f"{ours}.attention_norm", width)
        yield from norm(f"{theirs}.norm2", f"{ours}.mlp_norm", width)


def plain_rules(config: TextConfig, prefix: str) -> Iterator[Rule]:
    """Yields the rules of the official form without adapters. `save_pretrained` of transformers writes it, too.

    Args:
        config: The sizes of the tower.
        prefix: What stands before every published name.
    """
    yield from _plain_tables(config, prefix)
    yield from norm(f"{prefix}emb_ln", "text.embed_norm", config.width)
    for i in range(config.num_layers):
        theirs, ours = f"{prefix}encoder.layers.{i}", f"text.blocks.{i}"
        for (published, name), (outputs, inputs) in zip(_LINEAR, _shapes(config), strict=True):
            yield from linear(f"{theirs}.{published}", f"{ours}.{name}", outputs, inputs)
        yield from norm(f"{theirs}.norm1", f"{ours}.attention_norm", config.width)
        yield from norm(f"{theirs}.norm2", f"{ours}.mlp_norm", config.width)


def native_rules(config: TextConfig) -> Iterator[Rule]:
    """Yields the rules of the weights with the names of transformers' `JinaEmbeddingsV3Model`."""
    width = config.width
    yield from _plain_tables(config, "")
    yield from norm("embeddings.LayerNorm", "text.embed_norm", width)
    for i in range(config.num_layers):
        theirs, ours = f"layers.{i}", f"text.blocks.{i}"
        for part, shape in (("weight", (width, width)), ("bias", (width,))):
            names = [f"{theirs}.self_attn.{which}_proj.{part}" for which in "qkv"]
            yield stacked(dict.fromkeys(names, shape), f"{ours}.attention.qkv.{part}")
        for (published, name), (outputs, inputs) in zip(_NATIVE_LINEAR, _shapes(config)[1:], strict=True):
            yield from linear(f"{theirs}.{published}", f"{ours}.{name}", outputs, inputs)
        yield from norm(f"{theirs}.post_attention_layernorm", f"{ours}.attention_norm", width)
        yield from norm(f"{theirs}.post_mlp_layernorm", f"{ours}.mlp_norm", width)


def native_adapter_rules(config: TextConfig, task: str) -> Iterator[Rule]:
    """Yields the rules of a task's `adapter_model.safetensors`, as PEFT writes it for that class.

    PEFT holds the two halves of a table's adapter the other way round: `[rank, rows]` and `[width, rank]`.
    """
    rank, key = config.lora.rank, adapter_key(task)
    tables = (("word_embeddings", "text.embed", config.vocab_size), ("token_type_embeddings", "text.segment", 1))
    for published, name, rows in tables:
        stem = f"{PEFT_PREFIX}embeddings.{published}.lora_embedding_"
        yield _transposed(f"{stem}A", (rank, rows), f"{name}.lora_a.{key}")
        yield _transposed(f"{stem}B", (config.width, rank), f"{name}.lora_b.{key}")
    for i in range(config.num_layers):
        theirs, ours = f"{PEFT_PREFIX}layers.{i}", f"text.blocks.{i}"
        names = [f"{theirs}.self_attn.{which}_proj" for which in "qkv"]
        halves = [dict.fromkeys((f"{name}.lora_{half}.weight" for name in names), shape)
                  for half, shape in (("A", (rank, config.width)), ("B", (config.width, rank)))]  # fmt: skip
        yield stacked(halves[0], f"{ours}.attention.qkv.lora_a.{key}")
        yield _block_diagonal(halves[1], f"{ours}.attention.qkv.lora_b.{key}")
        for (published, name), (outputs, inputs) in zip(_NATIVE_LINEAR, _shapes(config)[1:], strict=True):
            yield rename(f"{theirs}.{published}.lora_A.weight", (rank, inputs), f"{ours}.{name}.lora_a.{key}")
            yield rename(f"{theirs}.{published}.lora_B.weight", (outputs, rank), f"{ours}.{name}.lora_b.{key}")


def merged(weight: Tensor, left: Tensor, right: Tensor, scaling: float, dtype: torch.dtype) -> Tensor:
    """Returns W + scaling * left @ right, summed in float32 and then cast, some rows at a time."""
    result = torch.empty(weight.shape, dtype=dtype)
    for start in range(0, len(weight), MERGE_ROWS):
        rows = slice(start, start + MERGE_ROWS)
        result[rows] = torch.addmm(weight[rows].float(), left[rows].float(), right.float(), alpha=scaling)
    return result


def _plain_tables(config: TextConfig, prefix: str) -> Iterator[Rule]:
    """Yields the rules of the embeddings of a checkpoint without adapters beside them."""
    shape = (config.vocab_size, config.width)
    yield rename(f"{prefix}embeddings.word_embeddings.weight", shape, "text.embed.weight")
    yield rename(f"{prefix}embeddings.token_type_embeddings.weight", (1, config.width), "text.segment.weight")


def _shapes(config: TextConfig) -> tuple[tuple[int, int], ...]:
    """Returns the number of outputs and inputs of each layer in `_LINEAR`."""
    width = config.width
    return ((3 * width, width), (width, width), (config.mlp_width, width), (width, config.mlp_width))


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


def _block_diagonal(published: Mapping[str, tuple[int, int]], ours: str) -> Rule:
    """Returns the rule that puts several published matrices of one shape on the diagonal of one, zeros around them."""
    [(rows, columns)] = set(published.values())

    def fold(tensors: Sequence[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
        return (torch.block_diag(*(tensor.to(dtype) for tensor in tensors)),)  # type: ignore[no-untyped-call]

    def unfold(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        places = [(i * rows, i * columns) for i in range(len(published))]
        return [tensors[0][row : row + rows, column : column + columns] for row, column in places]

    return Rule(published=published, ours=(ours,), fold=fold, unfold=unfold)


def _transposed(published: str, shape: tuple[int, int], ours: str) -> Rule:
    """Returns the rule of a published matrix that is the transpose of ours."""

    def fold(tensors: Sequence[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
        return (tensors[0].T.to(dtype).contiguous(),)

    return Rule(published={published: shape}, ours=(ours,), fold=fold, unfold=lambda tensors: [tensors[0].T])
