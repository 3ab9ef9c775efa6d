"""Checkpoints of jina-colbert-v2 for tests: a few thousand random weights, the published layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tests.support import tiny_clip
from tokenizers import AddedToken, Tokenizer

from polylens.models.jina_colbert_v2.config import parse_config
from polylens.models.jina_colbert_v2.state_dict import published_rules

MASK, QUERY_MARKER, DOCUMENT_MARKER = 260, 261, 262  # the ids behind the 260 of the tokenizer of bytes

CONFIG: dict[str, Any] = {
    **tiny_clip.BACKBONE,
    "architectures": ["HF_ColBERT"],
    "vocab_size": 263,
    "layer_norm_eps": 1e-5,
    "lora_adaptations": None,
    "position_embedding_type": "rotary",
    "rotary_emb_base": 10_000.0,
    "type_vocab_size": 1,
}
METADATA: dict[str, Any] = {
    "query_token_id": "[QueryMarker]",
    "doc_token_id": "[DocumentMarker]",
    "similarity": "cosine",
    "query_maxlen": 12,
    "doc_maxlen": 30,
    "dim": 16,
    "mask_punctuation": True,
    "attend_to_mask_tokens": True,
}


def tokenizer() -> Tokenizer:
    made = tiny_clip.byte_tokenizer()
    names = ("<mask>", "[QueryMarker]", "[DocumentMarker]")
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    return made


def write(
    folder: Path,
    *,
    config: dict[str, Any] = CONFIG,
    metadata: dict[str, Any] = METADATA,
    prefix: str = "roberta.",
    pooler: bool = True,
) -> Path:
    """Writes the published layout into a folder and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rules = published_rules(parse_config(CONFIG, METADATA), prefix)
    tensors = tiny_clip.random_tensors(rules)
    if pooler:
        width = CONFIG["hidden_size"]
        tensors |= {f"{prefix}pooler.dense.weight": torch.ones(width, width)}
        tensors |= {f"{prefix}pooler.dense.bias": torch.ones(width)}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "artifact.metadata").write_text(json.dumps(metadata))
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder
