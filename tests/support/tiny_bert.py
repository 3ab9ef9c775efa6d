"""Checkpoints of jina-embeddings-v2 and jina-clip-v1 for tests: a few thousand random weights, published layouts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tests.support.tiny_clip import MEAN, STD, byte_tokenizer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from polylens.models.jina_bert.config import parse_config
from polylens.models.jina_bert.state_dict import clip_rules, text_rules
from polylens.models.rules import Rule

LETTERS = "abcdefghijklmnopqrstuvwxyz.!?-"
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]

SIZES: dict[str, Any] = {
    "vocab_size": 260,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,  # no power of two, as in the base models
    "intermediate_size": 40,
    "max_position_embeddings": 300,
    "layer_norm_eps": 1e-12,
}
BASE: dict[str, Any] = {
    "_name_or_path": "jinaai/jina-bert-implementation",
    "model_type": "bert",
    "position_embedding_type": "alibi",
    "feed_forward_type": "geglu",
    "hidden_act": "gelu",
    "emb_pooler": "mean",
    "type_vocab_size": 2,
    **SIZES,
}
SMALL: dict[str, Any] = {**BASE, "num_attention_heads": 8}
CODE: dict[str, Any] = {**BASE, "_name_or_path": "jinaai/jina-bert-v2-qk-post-norm"}
CLIP: dict[str, Any] = {
    "model_type": "jina_clip",
    "text_config": {
        "embed_dim": 48,
        "hf_model_name_or_path": "jinaai/jina-bert-flash-implementation",
        "hf_model_config_kwargs": SIZES,
        "pooler_type": "mean_pooler",
        "proj_type": None,
    },
    "vision_config": {
        "width": 48,
        "layers": 2,
        "head_width": 12,
        "mlp_ratio": 2.6667,
        "image_size": 64,
        "patch_size": 16,
        "pt_hw_seq_len": 4,
        "intp_freq": False,
        "naive_swiglu": True,
        "subln": True,
        "rope_embeddings": True,
        "qkv_bias": True,
        "post_norm": False,
        "patch_dropout": 0.1,
    },
}


def word_tokenizer() -> Tokenizer:
    """A WordPiece tokenizer of single letters; it puts a text between `[CLS]` and `[SEP]`."""
    pieces = [*MARKS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    tokenizer.add_special_tokens(MARKS)
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def random_tensors(rules: Iterable[Rule], seed: int = 0) -> dict[str, Tensor]:
    """Tensors under their published names, scaled so that signals stay near one."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, shape in ((name, shape) for rule in rules for name, shape in rule.published.items()):
        noise = torch.randn(shape, generator=generator)
        if ("embeddings." in name and noise.ndim == 2) or "cls_token" in name or "pos_embed" in name:
            tensors[name] = noise
        elif noise.ndim == 1:
            tensors[name] = 0.1 * noise + float(name.endswith(".weight"))
        else:
            tensors[name] = noise / noise[0].numel() ** 0.5
    return tensors


def rules_of(published: dict[str, Any], *, prefix: str = "", is_flash: bool = True) -> list[Rule]:
    config = parse_config(published)
    if config.vision is not None:
        return clip_rules(config, ("text", "image"), is_flash=is_flash)
    return list(text_rules(config.text, prefix))


def write(
    folder: Path, published: dict[str, Any] = BASE, *, prefix: str = "", is_flash: bool = True, seed: int = 0
) -> Path:
    """Writes the published layout into a folder and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = random_tensors(rules_of(published, prefix=prefix, is_flash=is_flash), seed)
    if published["model_type"] == "jina_clip":
        tensors["logit_scale"] = torch.tensor(2.6592)
        images = {"size": published["vision_config"]["image_size"], "mean": MEAN, "std": STD}
        (folder / "preprocessor_config.json").write_text(json.dumps(images))
    else:
        width = published["hidden_size"]
        tensors |= {
            f"{prefix}pooler.dense.weight": torch.zeros(width, width),
            f"{prefix}pooler.dense.bias": torch.zeros(width),
        }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(published))
    tokenizer = byte_tokenizer() if published.get("_name_or_path") == CODE["_name_or_path"] else word_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
