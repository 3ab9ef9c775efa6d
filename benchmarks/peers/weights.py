"""Random weights that polylens and a peer both read: one folder per layout, the same numbers in each.

Speed does not depend on what the weights are. The peers' layouts are those of transformers: a folder of its own where
the published layout is another.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from engines import MARKS, write_model
from PIL import Image, ImageDraw
from random_weights import COLBERT_TOKENS, MODELS, Files, write_checkpoint
from safetensors.torch import save_file
from tokenizers import Tokenizer

from polylens.checkpoints.export import export_merged
from polylens.checkpoints.loading import load_model, read_header
from polylens.models.jina_colbert_v2.config import METADATA
from polylens.models.rules import unfolded
from polylens.models.xlm_rotary.state_dict import native_rules

CPU = torch.device("cpu")
PAGE_SIZE = (1240, 1754)  # pixels: A4 at 150 dots an inch
FULL_VISION_LAYERS = 24  # of jina-clip-v2
FULL_PAGE_LAYERS = 36  # of jina-embeddings-v4's decoder; its vision tower has 32
MULTIVECTOR_DIM = 128
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    **{f"{name}_token": mark for name, mark in zip(("bos", "pad", "eos", "unk"), MARKS, strict=True)},
    "model_max_length": 8192,
}


def write_text_model(folder: Path, layers: int, width: int) -> Path:
    """Writes a jina-embeddings-v3 in transformers' layout, which everyone reads; a token per byte."""
    write_model(folder, layers, width)
    _write_json(folder / "tokenizer_config.json", TOKENIZER_CONFIG)
    published = json.loads((folder / "config.json").read_text())
    _write_json(folder / "config.json", {**published, "architectures": ["JinaEmbeddingsV3Model"]})
    return folder


def write_multivector_model(folder: Path, layers: int, width: int) -> tuple[Path, Path]:
    """Writes a jina-colbert-v2 in its published layout and, for peers, its tower in transformers' and its head.

    Returns:
        The published folder, and the peers' folder with `head.safetensors` beside the tower.
    """
    ours, theirs = folder / "published", folder / "transformers"
    theirs.mkdir(parents=True)
    model = MODELS["jina-colbert-v2"]
    files = dict(model.files())
    sizes = {"vocab_size": 260 + len(COLBERT_TOKENS), "hidden_size": width, "num_hidden_layers": layers}
    sizes |= {"num_attention_heads": width // 64, "intermediate_size": 4 * width}
    files["config.json"] = {**files["config.json"], **sizes}
    write_checkpoint(_made(ours), model, files)
    header = read_header(ours)
    parameters = dict(load_model(header, device=CPU, dtype=torch.float32).named_parameters())
    text = header.config.text
    save_file(unfolded(native_rules(text), parameters), theirs / "model.safetensors")
    save_file({"weight": parameters["head.weight"].contiguous()}, theirs / "head.safetensors")
    published = {"model_type": "jina_embeddings_v3", "architectures": ["JinaEmbeddingsV3Model"], **sizes}
    rope = {"rope_type": "default", "rope_theta": text.theta}
    published |= {"rope_parameters": rope, "max_position_embeddings": 8194, "layer_norm_eps": text.norm_eps}
    _write_json(theirs / "config.json", published)
    _write_json(theirs / "tokenizer_config.json", TOKENIZER_CONFIG)
    Tokenizer.from_file(str(ours / "tokenizer.json")).save(str(theirs / "tokenizer.json"))
    assert (ours / METADATA).exists()
    return ours, theirs


def write_picture_model(folder: Path, layers: int, files: Files | None = None) -> Path:
    """Writes a jina-clip-v2 whose vision tower has its published shapes, but for the number of layers.

    The text tower, which this table does not run, is as small as it may be.

    Args:
        folder: Where to.
        layers: Of the vision tower.
        files: The small files of the model; None is those of the published one.
    """
    model = MODELS["jina-clip-v2"]
    files = copy.deepcopy(dict(files or model.files()))
    files["config.json"]["vision_config"]["layers"] = layers
    small = {"num_hidden_layers": 1, "vocab_size": 320}
    files["config.json"]["text_config"]["hf_model_config_kwargs"] |= small
    write_checkpoint(_made(folder), model, files)
    return folder


def write_page_model(folder: Path, layers: int, files: Files | None = None) -> tuple[Path, Path]:
    """Writes a jina-embeddings-v4, and the same with its retrieval adapter merged, as transformers reads it.

    Args:
        folder: Where to.
        layers: Of the decoder; the vision tower has as many, at most its own 32.
        files: The small files of the model; None is those of the published one.

    Returns:
        The published folder and the merged one.
    """
    ours, theirs = folder / "published", folder / "merged"
    model = MODELS["jina-embeddings-v4"]
    files = copy.deepcopy(dict(files or model.files()))
    config = files["config.json"]
    depth = min(layers, config["vision_config"]["depth"])
    config["num_hidden_layers"], config["vision_config"]["depth"] = layers, depth
    full = config["vision_config"]["fullatt_block_indexes"]
    config["vision_config"]["fullatt_block_indexes"] = [index for index in full if index < depth] or [depth - 1]
    write_checkpoint(_made(ours), model, files)
    header = read_header(ours)
    network = load_model(header, device=CPU, dtype=torch.bfloat16)
    export_merged(theirs, header.family, network, header.processor, "retrieval")
    return ours, theirs


def write_pictures(folder: Path, number: int, size: tuple[int, int], *, seed: int = 0) -> list[str]:
    """Writes pictures of coloured shapes as PNG and returns their paths; their vectors differ well."""
    rng = np.random.default_rng(seed)
    paths = []
    for index in range(number):
        picture = Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist()))
        draw = ImageDraw.Draw(picture)
        for _ in range(40):
            left, top = int(rng.integers(0, size[0])), int(rng.integers(0, size[1]))
            width, height = int(rng.integers(8, size[0] // 3)), int(rng.integers(8, size[1] // 3))
            draw.rectangle((left, top, left + width, top + height), fill=tuple(rng.integers(0, 256, 3).tolist()))
        paths.append(str(_made(folder) / f"{index}.png"))
        picture.save(paths[-1])
    return paths


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
