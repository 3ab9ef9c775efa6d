"""Random weights of any model at its full size, in its published layout.

Speed and memory do not depend on what the weights are, only on their shapes. The shapes follow from a model's published
`config.json` (`data/*_files.json`): the family builds its empty network and says which published tensors it wants.
"""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor

from polylens.checkpoints.loading import read_header

DATA = Path(__file__).parent / "data"
SHARD_BYTES = 5_000_000_000  # where published checkpoints of this kind are cut
PIECE = 1 << 22  # numbers drawn at a time, so that writing needs little memory
STD = 0.02  # of the weights, as the models were initialised; activations stay finite
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
QWEN_TOKENS = (  # in the order of their ids, the first follows the ordinary vocabulary
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
XLM_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")  # the first of XLM-RoBERTa's vocabulary
COLBERT_TOKENS = ("<mask>", "[QueryMarker]", "[DocumentMarker]")
BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

Shapes = Mapping[str, Sequence[int]]
Files = Mapping[str, Any]


def qwen_tokenizer(config: Mapping[str, Any]) -> Tokenizer:
    """Makes a tokenizer with one token per byte, filled up so that the special tokens have the ids of the model."""
    trunk = config.get("vlm_config", config)
    num_ordinary = trunk["vision_start_token_id"] - QWEN_TOKENS.index("<|vision_start|>")
    tokenizer = _byte_tokenizer((), num_ordinary)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in QWEN_TOKENS])
    return tokenizer


def xlm_tokenizer(config: Mapping[str, Any]) -> Tokenizer:
    """Makes a tokenizer with one token per byte after four special ones; `<s>` and `</s>` enclose a text."""
    text = config.get("text_config", {}).get("hf_model_config_kwargs", config)
    return _enclosing(_byte_tokenizer(XLM_TOKENS, text.get("vocab_size", 250_002)), XLM_TOKENS, "<s>", "</s>")


def colbert_tokenizer(config: Mapping[str, Any]) -> Tokenizer:
    """Makes the tokenizer of an XLM-RoBERTa whose last tokens are a mask and two markers."""
    tokenizer = xlm_tokenizer({**config, "vocab_size": config["vocab_size"] - len(COLBERT_TOKENS)})
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in COLBERT_TOKENS])
    return tokenizer


def bert_tokenizer(config: Mapping[str, Any]) -> Tokenizer:
    """Makes a tokenizer with one token per byte after five special ones; `[CLS]` and `[SEP]` enclose a text."""
    return _enclosing(_byte_tokenizer(BERT_TOKENS, config.get("vocab_size", 30_528)), BERT_TOKENS, "[CLS]", "[SEP]")


def _byte_tokenizer(first: Sequence[str], size: int) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    filling = [f"<unused {number}>" for number in range(size - len(alphabet) - len(first))]
    vocabulary = {token: number for number, token in enumerate([*first, *alphabet, *filling])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()  # a reranker decodes what it has cut
    return tokenizer


def _enclosing(tokenizer: Tokenizer, special: Sequence[str], begin: str, end: str) -> Tokenizer:
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in (begin, end)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{begin} $A {end}", special_tokens=marks)
    return tokenizer


@dataclass(frozen=True, slots=True)
class Model:
    """A published model: its small files, the kind of its tokenizer and the dtype of its weights."""

    data: str
    tokenizer: Callable[[Mapping[str, Any]], Tokenizer]
    dtype: torch.dtype = torch.bfloat16
    unread: int = 0
    """Numbers of published tensors that no vector and no score depends on; they are not written."""
    marks: tuple[str, ...] = ()
    """Names of published tensors by which the family tells this layout from others."""

    def files(self) -> Files:
        """Content of the small JSON files, by their path in the folder."""
        found: Files = json.loads((DATA / f"{self.data}_files.json").read_text(encoding="utf-8"))
        return found


POOLER = 768 * 769  # numbers of a layer that only pretraining used
GATED = ("encoder.layer.0.mlp.gated_layers.weight",)
CLIP_GATED = ("text_model.transformer.encoder.layers.0.mlp.gated_layers.weight",)
CODE_GATED = ("encoder.layer.0.mlp.up_gated_layer.weight", "encoder.layer.0.attention.self.layer_norm_q.weight")
NATIVE_COL = ("embedding_proj_layer.weight", "vlm.model.language_model.embed_tokens.weight")

MODELS = {
    "jina-embeddings-v4": Model("jina_embeddings_v4", qwen_tokenizer),
    "jina-clip-v2": Model("jina_clip_v2", xlm_tokenizer, torch.float16, unread=1),
    "jina-embeddings-v3": Model("jina_embeddings_v3", xlm_tokenizer, unread=1024 * 1025 + 5 * 4 * 2048),
    "jina-colbert-v2": Model("jina_colbert_v2", colbert_tokenizer, unread=1024 * 1025),
    "jina-reranker-m0": Model("jina_reranker_m0", qwen_tokenizer, unread=151_936 * 1536),  # the output layer
    "jina-embeddings-v2-base-en": Model(
        "jina_embeddings_v2_base_en", bert_tokenizer, torch.float16, unread=POOLER, marks=GATED
    ),
    "jina-embeddings-v2-small-en": Model(
        "jina_embeddings_v2_small_en", bert_tokenizer, torch.float16, unread=512 * 513, marks=GATED
    ),
    "jina-embeddings-v2-base-code": Model(
        "jina_embeddings_v2_base_code", bert_tokenizer, torch.float16, unread=POOLER, marks=CODE_GATED
    ),
    "jina-clip-v1": Model("jina_clip_v1", bert_tokenizer, torch.float16, unread=1, marks=CLIP_GATED),
    "colqwen2-v1.0-hf": Model("colqwen2_hf", qwen_tokenizer, marks=NATIVE_COL),
    "colqwen2.5-v0.2": Model("colqwen2_5_hf", qwen_tokenizer, marks=NATIVE_COL),  # merged, in transformers' layout
    "gme-Qwen2-VL-2B-Instruct": Model("qwen2_vl_gme", qwen_tokenizer),
    "gme-Qwen2-VL-7B-Instruct": Model("qwen2_vl_gme_7b", qwen_tokenizer),
    "vdr-2b-multi-v1": Model("qwen2_vl_vdr", qwen_tokenizer),
}


def shortened(files: Files, num_layers: int) -> Files:
    """Returns the files of a jina-embeddings-v4 with fewer layers and a small vocabulary; a layer keeps its size.

    Args:
        files: Those of the published model.
        num_layers: Layers of the decoder; the vision tower has one.
    """
    fewer = copy.deepcopy(dict(files))
    config = fewer["config.json"]
    config |= {"num_hidden_layers": num_layers, "vocab_size": 320, "matryoshka_dims": [128, 2048]}
    config |= {"vision_start_token_id": 309, "vision_end_token_id": 310, "image_token_id": 312}
    config["vision_config"] |= {"depth": 1, "fullatt_block_indexes": [0]}
    return fewer


def shrunk(files: Files) -> Files:
    """Returns the files of a jina-embeddings-v4 with a few thousand numbers.

    Args:
        files: Those of the published model.
    """
    tiny = shortened(files, 2)
    config = tiny["config.json"]
    config |= {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 48}
    config |= {"multi_vector_projector_dim": 16, "matryoshka_dims": [16, 32]}
    config["rope_scaling"]["mrope_section"] = [2, 3, 3]
    config["vision_config"] |= {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48}
    config["vision_config"] |= {"out_hidden_size": 32, "fullatt_block_indexes": [1]}
    tiny["adapters/adapter_config.json"] |= {"r": 2, "lora_alpha": 2}
    return tiny


def shapes_of(model: Model, files: Files) -> dict[str, dict[str, Sequence[int]]]:
    """Returns file -> published name -> shape of every tensor that the model of these files reads.

    Args:
        model: The model.
        files: Its small files, or smaller ones of the same form.
    """
    with tempfile.TemporaryDirectory() as folder:
        _write_small_files(Path(folder), model, files)
        header = read_header(Path(folder))
        with torch.device("meta"):
            network = header.family.build(header)
        found: dict[str, dict[str, Sequence[int]]] = {}
        for part in header.family.weights(header, network, frozenset(model.marks)):
            tensors = found.setdefault(part.file or SINGLE, {})
            for rule in part.rules:
                tensors |= rule.published
        return found


def write_checkpoint(folder: Path, model: Model, files: Files, *, seed: int = 0) -> None:
    """Writes random weights in the published layout: main weights of more than 5 GB in shards.

    Args:
        folder: Where to; `config.json` is written last and marks the checkpoint as complete.
        model: The model.
        files: Its small files, or smaller ones of the same form.
        seed: The same seed gives the same bytes.
    """
    generator = torch.Generator().manual_seed(seed)
    for file, shapes in shapes_of(model, files).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shards = list(_shards(shapes))
        if len(shards) == 1:
            write_safetensors(folder / file, shapes, generator, model.dtype)
            continue
        weight_map: dict[str, str] = {}
        for number, shard in enumerate(shards, start=1):
            name = f"model-{number:05}-of-{len(shards):05}.safetensors"
            write_safetensors(folder / name, shard, generator, model.dtype)
            weight_map |= dict.fromkeys(shard, name)
        index = {"metadata": {"total_size": sum(map(num_bytes, shapes.values()))}, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")
    _write_small_files(folder, model, files)


def _write_small_files(folder: Path, model: Model, files: Files) -> None:
    model.tokenizer(files["config.json"]).save(str(folder / "tokenizer.json"))
    for name in sorted(files, key=lambda name: name == "config.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(files[name], indent=2), encoding="utf-8")


def write_safetensors(path: Path, shapes: Shapes, generator: torch.Generator, dtype: torch.dtype) -> None:
    """Writes one file, a piece at a time; https://github.com/huggingface/safetensors#format."""
    kind = {torch.bfloat16: "BF16", torch.float16: "F16"}[dtype]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + num_bytes(shape)
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for piece in _drawn(shapes, generator, dtype):
            file.write(piece.numpy().data)


def _drawn(shapes: Shapes, generator: torch.Generator, dtype: torch.dtype) -> Iterator[Tensor]:
    """Yields the numbers of all tensors, one piece after the other, as 16-bit integers; threads draw a few ahead."""
    threads = min(16, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        coming: deque[Future[Tensor]] = deque()
        for name, shape in shapes.items():
            is_norm = len(shape) == 1 and name.endswith(".weight")
            for begin in range(0, math.prod(shape), PIECE):
                seed = int(torch.randint(1 << 62, (), generator=generator))
                coming.append(pool.submit(_piece, min(PIECE, math.prod(shape) - begin), seed, is_norm, dtype))
                if len(coming) > threads:
                    yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _piece(num: int, seed: int, is_norm: bool, dtype: torch.dtype) -> Tensor:
    if is_norm:
        return torch.ones(num, dtype=dtype).view(torch.int16)
    return (torch.randn(num, generator=torch.Generator().manual_seed(seed)) * STD).to(dtype).view(torch.int16)


def _shards(shapes: Shapes) -> Iterator[dict[str, Sequence[int]]]:
    shard: dict[str, Sequence[int]] = {}
    size = 0
    for name, shape in shapes.items():
        if shard and size + num_bytes(shape) > SHARD_BYTES:
            yield shard
            shard, size = {}, 0
        shard[name] = shape
        size += num_bytes(shape)
    yield shard


def num_bytes(shape: Sequence[int]) -> int:
    """Bytes of a tensor in a 16-bit dtype."""
    return 2 * math.prod(shape)


def require_room(folder: Path, model: Model, files: Files) -> str | None:
    """Returns why the weights cannot be written to a folder, or None if they can."""
    wanted = sum(num_bytes(shape) for shapes in shapes_of(model, files).values() for shape in shapes.values())
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        return f"{folder} is neither empty nor a complete checkpoint; name another folder"
    if (free := shutil.disk_usage(folder).free) < wanted * 1.02:
        return f"{folder} has {free / 1e9:.2f} GB free, the weights need {wanted / 1e9:.2f} GB"
    return None
