"""A checkpoint of the single-vector models on Qwen2-VL for tests: a few thousand random weights, published layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tests.support.tiny import DECODER, IMAGES, SPECIAL, byte_tokenizer

from polylens.models.qwen2_vl.config import Qwen2VLConfig, render_config
from polylens.models.qwen2_vl.model import Qwen2VLEmbedder
from polylens.models.qwen2_vl.prompts import GME, VDR
from polylens.models.qwen2_vl.state_dict import names
from polylens.models.qwen_vl.config import Qwen2VisionConfig, TrunkConfig
from polylens.models.qwen_vl.images import render_image_config
from polylens.models.qwen_vl.state_dict import FIRST_RELEASE, Places, published_shape

TRUNK = TrunkConfig(
    vision=Qwen2VisionConfig(
        width=64,
        num_layers=3,
        num_heads=2,
        mlp_width=256,
        output_width=48,
        patch_size=14,
        num_frames=2,
        merge_size=2,
    ),
    decoder=DECODER,
    max_length=32_768,
    image_token_id=256 + SPECIAL.index("<|image_pad|>"),
    vision_start_token_id=256 + SPECIAL.index("<|vision_start|>"),
    vision_end_token_id=256 + SPECIAL.index("<|vision_end|>"),
)
CONFIGS = {prompts.name: Qwen2VLConfig(trunk=TRUNK, prompts=prompts) for prompts in (GME, VDR)}

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
VISION = "<|vision_start|><|image_pad|><|vision_end|>"
TEMPLATES = {
    "gme": {
        "query": SYSTEM + "%s<|im_end|>\n<|im_start|>assistant\n<|endoftext|>",
        "image": SYSTEM + VISION + "<|im_end|>\n<|im_start|>assistant\n<|endoftext|>",
    },
    "vdr": {
        "query": SYSTEM + VISION + "Query: %s<|im_end|>\n<|endoftext|>",
        "image": SYSTEM + VISION + "What is shown in this image?<|im_end|>\n<|endoftext|>",
    },
}
"""The published strings, written down here once more."""


def random_tensors(seed: int = 0, places: Places = FIRST_RELEASE) -> dict[str, torch.Tensor]:
    """Tensors under their published names, scaled so that signals stay near one."""
    generator = torch.Generator().manual_seed(seed)
    config = CONFIGS["vdr"]
    with torch.device("meta"):
        shapes = {name: tuple(parameter.shape) for name, parameter in Qwen2VLEmbedder(config).named_parameters()}

    def draw(ours: str) -> torch.Tensor:
        noise = torch.randn(published_shape(TRUNK.vision, ours, shapes[ours]), generator=generator)
        if "norm" in ours:
            return 0.1 * noise + ours.endswith("weight")
        if ours == "decoder.embed.weight":
            return noise
        return noise / max(1, noise[0].numel()) ** 0.5 if noise.ndim > 1 else 0.1 * noise

    return {published: draw(ours) for published, ours in names(config, places).items()}


def write(
    folder: Path,
    *,
    json_files: dict[str, Any] | None = None,
    places: Places = FIRST_RELEASE,
    more: dict[str, torch.Tensor] | None = None,
    **fields: Any,
) -> Path:
    """Writes a Qwen2-VL into a folder and returns the folder.

    Args:
        folder: Created if it is missing.
        json_files: Files besides those that every Qwen2-VL has.
        places: Where the tensors' names have the two networks.
        more: Tensors besides those of the two networks.
        fields: Of `config.json`, besides or instead of those of every Qwen2-VL.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(random_tensors(places=places) | (more or {}), folder / "model.safetensors")
    files = {
        "config.json": render_config(CONFIGS["vdr"]) | fields,
        "preprocessor_config.json": render_image_config(IMAGES, "Qwen2VLProcessor"),
        **(json_files or {}),
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
