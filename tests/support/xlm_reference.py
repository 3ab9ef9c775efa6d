"""The text tower in transformers' own code, and what tests compare with it."""

from __future__ import annotations

import numpy as np
import torch
from tests.support import tiny_clip
from torch import Tensor
from transformers import JinaEmbeddingsV3Config, JinaEmbeddingsV3Model

from polylens.runtime.embedder import Embedder

BOUND = 1e-4
"""Of the signal's standard deviation: some hundred times what float32 sums in another order leave."""


def theirs(weights: dict[str, Tensor], theta: float = 20_000.0, **sizes: int) -> JinaEmbeddingsV3Model:
    """transformers' model with these weights, under its own names."""
    config = JinaEmbeddingsV3Config(
        **{**tiny_clip.BACKBONE, **sizes}, rope_parameters={"rope_type": "default", "rope_theta": theta}
    )
    config._attn_implementation = "eager"
    model = JinaEmbeddingsV3Model(config, add_pooling_layer=False).eval()
    model.load_state_dict(weights, strict=True)
    return model


def from_official(tensors: dict[str, Tensor], prefix: str, scaling: float, task: int | None) -> dict[str, Tensor]:
    """transformers' names, one adapter merged by hand in float64: W + scaling * B A, in a table E + scaling * A B."""
    weights: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not name.startswith(prefix) or ".lora_" in name:
            continue
        short = name.removeprefix(prefix)
        if short.endswith(".original"):
            stem = name.removesuffix(".parametrizations.weight.original")
            short = short.removesuffix(".parametrizations.weight.original") + ".weight"
            if task is not None:
                a, b = (tensors[f"{stem}.parametrizations.weight.0.lora_{half}"][task].double() for half in "AB")
                tensor = (tensor.double() + scaling * (a @ b if "embeddings" in stem else b @ a)).float()
        for old, new in (
            ("emb_ln", "embeddings.LayerNorm"),
            ("encoder.layers", "layers"),
            ("mixer.out_proj", "self_attn.o_proj"),
            ("norm1", "post_attention_layernorm"),
            ("norm2", "post_mlp_layernorm"),
        ):
            short = short.replace(old, new)
        if "mixer.Wqkv" in short:
            for which, part in zip("qkv", tensor.chunk(3), strict=True):
                weights[short.replace("mixer.Wqkv", f"self_attn.{which}_proj")] = part
        else:
            weights[short] = tensor
    return weights


def pooled(model: JinaEmbeddingsV3Model, embedder: Embedder, texts: list[str]) -> Tensor:
    """Padded and masked, mean over the tokens that are none, unit length: as the published code does it."""
    ids = [embedder.processor.text(text, task=None, prompt_name="", max_length=None).token_ids for text in texts]
    width = max(map(len, ids))
    padded = torch.tensor([[*row, *[1] * (width - len(row))] for row in ids])
    mask = (padded != 1).long()
    with torch.no_grad():
        hidden = model(input_ids=padded, attention_mask=mask).last_hidden_state
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return torch.nn.functional.normalize(mean, dim=-1)


def assert_close(ours: np.ndarray, expected: Tensor, what: str) -> None:
    difference = float(np.abs(ours - expected.numpy()).max() / expected.std())
    print(f"{what}: largest difference {difference:.1e} of the signal's standard deviation")
    assert difference < BOUND
