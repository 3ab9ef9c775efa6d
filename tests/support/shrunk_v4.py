"""jina-embeddings-v4's small files with sizes of a few thousand weights."""

from __future__ import annotations

from typing import Any


def shrunk(files: dict[str, Any]) -> dict[str, Any]:
    """Shrinks the model that the small files describe, in place, and returns them; the layout stays."""
    config = files["config.json"]
    config |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    config |= {
        "intermediate_size": 48,
        "vocab_size": 320,
        "multi_vector_projector_dim": 16,
        "matryoshka_dims": [16, 32],
    }
    config |= {"vision_start_token_id": 309, "vision_end_token_id": 310, "image_token_id": 312}
    config["rope_scaling"]["mrope_section"] = [2, 3, 3]
    config["vision_config"] |= {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48}
    config["vision_config"] |= {"out_hidden_size": 32, "fullatt_block_indexes": [1]}
    files["adapters/adapter_config.json"] |= {"r": 2, "lora_alpha": 2}
    return files
