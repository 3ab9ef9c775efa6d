"""A checkpoint of jina-reranker-m0's family for tests: a few thousand random weights, official layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tests.support.tiny import IMAGES, byte_tokenizer
from tests.support.tiny_qwen2_vl import TRUNK

from polylens.models.jina_reranker_m0.config import JinaRerankerM0Config, render_config
from polylens.models.jina_reranker_m0.model import JinaRerankerM0
from polylens.models.jina_reranker_m0.state_dict import names
from polylens.models.qwen_vl.images import render_image_config
from polylens.models.qwen_vl.state_dict import FIRST_RELEASE, Places, published_shape

CONFIG = JinaRerankerM0Config(trunk=TRUNK)


def random_tensors(
    config: JinaRerankerM0Config = CONFIG, seed: int = 0, places: Places = FIRST_RELEASE
) -> dict[str, torch.Tensor]:
    """Tensors under their published names, `lm_head.weight` among them, scaled so that signals stay near one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = {name: tuple(parameter.shape) for name, parameter in JinaRerankerM0(config).named_parameters()}

    def draw(ours: str) -> torch.Tensor:
        noise = torch.randn(published_shape(config.trunk.vision, ours, shapes[ours]), generator=generator)
        if "norm" in ours:
            return 0.1 * noise + ours.endswith("weight")
        if ours == "decoder.embed.weight":
            return noise
        return noise / max(1, noise[0].numel()) ** 0.5 if noise.ndim > 1 else 0.1 * noise

    tensors = {published: draw(ours) for published, ours in names(config, places).items()}
    tensors["score.2.bias"] += 2.65  # so that scores lie around a half
    decoder = config.trunk.decoder
    return {**tensors, "lm_head.weight": torch.randn(decoder.vocab_size, decoder.width, generator=generator)}


def write(
    folder: Path,
    config: JinaRerankerM0Config = CONFIG,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    places: Places = FIRST_RELEASE,
) -> Path:
    """Writes the official layout into a folder and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = random_tensors(config, seed, places)
    save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(render_config(config)))
    (folder / "preprocessor_config.json").write_text(json.dumps(render_image_config(IMAGES, "Qwen2VLProcessor")))
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
