"""Checkpoints of jina-clip-v2 and jina-embeddings-v3 for tests: a few thousand random weights, published layouts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor

from polylens.models.jina_clip_v2.config import parse_config
from polylens.models.jina_clip_v2.state_dict import clip_rules
from polylens.models.rules import Rule
from polylens.models.xlm_rotary.state_dict import adapted_rules, native_rules

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]

BACKBONE: dict[str, Any] = {
    "vocab_size": 260,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "max_position_embeddings": 130,
}
QUERY = "Represent the query for retrieving evidence documents: "

CLIP: dict[str, Any] = {
    "model_type": "jina_clip",
    "matryoshka_dimensions": [8, 16, 48],
    "text_config": {
        "default_lora_task": "retrieval.query",
        "hf_model_name_or_path": "jinaai/jina-embeddings-v3",
        "pooler_type": "mean_pooler",
        "proj_type": None,
        "hf_model_config_kwargs": {
            **BACKBONE,
            "lora_adaptations": ["retrieval.query"],
            "lora_alpha": 4,
            "lora_rank": 4,
            "task_instructions": {"retrieval.query": QUERY},
        },
    },
    "vision_config": {
        "width": 48,
        "layers": 3,
        "head_width": 12,
        "mlp_ratio": 2.6667,
        "image_size": 76,  # five patches per side and six pixels left over, as 512 leaves eight
        "patch_size": 14,
        "pt_hw_seq_len": 3,
        "intp_freq": True,
        "naive_swiglu": True,
        "subln": True,
        "rope_embeddings": True,
        "qkv_bias": True,
        "post_norm": False,
    },
}
V3: dict[str, Any] = {**BACKBONE, "lora_adaptations": ["retrieval.query", "retrieval.passage", "separation",
                      "classification", "text-matching"], "lora_rank": 4, "lora_alpha": 1,
                      "matryoshka_dimensions": [8, 16, 48]}  # fmt: skip
NATIVE: dict[str, Any] = {
    **BACKBONE,
    "model_type": "jina_embeddings_v3",
    "rope_parameters": {"rope_type": "default", "rope_theta": 20_000.0},
    "matryoshka_dimensions": [8, 16, 48],
}


def byte_tokenizer() -> Tokenizer:
    """A tokenizer with one token per byte after four special ones; it puts a text between `<s>` and `</s>`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def random_tensors(rules: Sequence[Rule], seed: int = 0) -> dict[str, Tensor]:
    """Tensors under their published names, scaled so that signals stay near one."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, shape in ((name, shape) for rule in rules for name, shape in rule.published.items()):
        noise = torch.randn(shape, generator=generator)
        if name.endswith(("norm1.weight", "norm2.weight", "ln.weight", "norm.weight", "Norm.weight")):
            tensors[name] = 1 + 0.1 * noise
        elif "embeddings" in name or "cls_token" in name or "pos_embed" in name:
            tensors[name] = noise
        elif "lora" in name:
            tensors[name] = 0.5 * noise / shape[-1] ** 0.5
        else:
            tensors[name] = 0.1 * noise if noise.ndim == 1 else noise / noise[0].numel() ** 0.5
    return tensors


def rules_of(published: dict[str, Any]) -> list[Rule]:
    config = parse_config(published)
    if config.vision is not None:
        return clip_rules(config, ("text", "image"))
    return list(native_rules(config.text) if published.get("model_type") else adapted_rules(config.text, "roberta."))


def write(folder: Path, published: dict[str, Any] = CLIP, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """Writes the published layout into a folder and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.to(dtype) for name, tensor in random_tensors(rules_of(published), seed).items()}
    if published.get("model_type") == "jina_clip":
        tensors["logit_scale"] = torch.tensor(2.6592, dtype=dtype)
        size = published["vision_config"]["image_size"]
        images = {"size": size, "mean": MEAN, "std": STD, "resize_mode": "shortest", "interpolation": "bicubic"}
        (folder / "preprocessor_config.json").write_text(json.dumps(images))
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(published))
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
