"""A folder in a published layout to a model: which family it is, and that family's files to its parameters.

The model is built on the meta device, every published tensor is used exactly once, and nothing may be left on meta.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from polylens.checkpoints.tensors import assign, names_in, read_tensors, weight_files
from polylens.errors import InputError
from polylens.models.files import read_json
from polylens.models.jina_clip_v2 import config as clip_config
from polylens.models.jina_clip_v2.model import JinaClip
from polylens.models.jina_clip_v2.processing import JinaClipProcessor
from polylens.models.jina_clip_v2.state_dict import (
    LOGIT_SCALE,
    clip_rules,
    native_rules,
    passed_over,
    saved_rules,
    v3_rules,
)
from polylens.models.jina_v4.config import JinaV4Config, parse_config
from polylens.models.jina_v4.model import JinaV4
from polylens.models.jina_v4.processing import JinaV4Processor
from polylens.models.jina_v4.state_dict import adapter_names, base_names, published_shape
from polylens.models.protocol import Modality, Model, Processor
from polylens.models.rules import Rule, rename

ADAPTER = "adapters/adapter_model.safetensors"
ADAPTER_CONFIG = "adapters/adapter_config.json"
MODALITIES: tuple[Modality, ...] = ("text", "image")


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a folder's small files say: all but the weights."""

    folder: Path
    config: JinaV4Config | clip_config.JinaClipConfig
    processor: Processor
    fingerprint: str
    """Twelve hexadecimal digits that change when the weights do."""
    dim: int
    """Width of the dense vectors."""
    matryoshka_dims: tuple[int, ...]
    """What they may be cut to."""
    multivector_dim: int | None
    """Width of each vector of a multi-vector; None where there is no late interaction."""
    modalities: tuple[Modality, ...]
    """What the loaded model takes."""
    context: int
    """Tokens of the longest text."""


def read_header(folder: Path, *, modalities: Sequence[Modality] | None = None) -> Header:
    """Reads what is known about a checkpoint of jina-embeddings-v4, jina-clip-v2 or jina-embeddings-v3 without its
    weights; a matter of milliseconds.

    Args:
        folder: Holds `config.json`, `preprocessor_config.json`, `tokenizer.json` and one or several safetensors files
            with the published names; jina-embeddings-v4 has `adapters/` besides, jina-embeddings-v3 takes no images.
        modalities: What is wanted of a model with a tower for each; None is all there is.

    Raises:
        CheckpointError: A file is missing or broken, or they do not belong together.
        InputError: The model does not take these modalities, or cannot be loaded in part.
    """
    published = read_json(folder / "config.json")
    kind = published.get("model_type")
    if kind == "jina_clip" or kind == "jina_embeddings_v3" or "lora_adaptations" in published:
        clip = clip_config.parse_config(published)
        return Header(
            folder=folder,
            config=clip,
            processor=JinaClipProcessor.from_folder(folder, clip),
            fingerprint=fingerprint(folder),
            dim=clip.text.width,
            matryoshka_dims=clip.matryoshka_dims,
            multivector_dim=None,
            modalities=_wanted(modalities, MODALITIES if clip.vision is not None else ("text",), separable=True),
            context=clip.text.max_length,
        )
    config = read_config(folder)
    return Header(
        folder=folder,
        config=config,
        processor=JinaV4Processor.from_folder(folder, config),
        fingerprint=fingerprint(folder),
        dim=config.decoder.width,
        matryoshka_dims=config.matryoshka_dims,
        multivector_dim=config.multivector_dim,
        modalities=_wanted(modalities, MODALITIES, separable=False),
        context=config.max_length,
    )


def load_model(header: Header, *, device: torch.device, dtype: torch.dtype) -> Model:
    """Reads the weights that belong to a header.

    Args:
        header: Of the same folder.
        device: Where the weights go.
        dtype: In which type they are held.

    Raises:
        CheckpointError: A tensor is missing, left over or of the wrong shape; the message names it.
    """
    if isinstance(header.config, JinaV4Config):
        return _load_v4(header.folder, header.config, device, dtype)
    return _load_clip(header.folder, header.config, header.modalities, device, dtype)


def _load_v4(folder: Path, config: JinaV4Config, device: torch.device, dtype: torch.dtype) -> Model:
    with torch.device("meta"):
        model = JinaV4(config)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}

    def rules(names: Mapping[str, str]) -> list[Rule]:
        return [
            rename(published, published_shape(config, ours, shapes[ours]), ours, shapes[ours])
            for published, ours in names.items()
        ]

    base = read_tensors(weight_files(folder), rules(base_names(config)), device=device, dtype=dtype)
    adapters = read_tensors([folder / ADAPTER], rules(adapter_names(config)), device=device, dtype=dtype)
    assign(model, {**base, **adapters})
    return model


def _load_clip(
    folder: Path,
    config: clip_config.JinaClipConfig,
    modalities: tuple[Modality, ...],
    device: torch.device,
    dtype: torch.dtype,
) -> Model:
    with torch.device("meta"):
        model = JinaClip(config, modalities)
    if config.vision is not None:
        rules, left = clip_rules(config, modalities), passed_over(modalities)
    elif read_json(folder / "config.json").get("model_type") == "jina_embeddings_v3":
        saved = any(name.startswith("encoder.") for name in names_in(weight_files(folder)))
        rules, left = (saved_rules if saved else native_rules)(config.text), ("pooler.",)
    else:
        rules, left = v3_rules(config.text), ("roberta.pooler.",)  # of the first training; no vector comes from it
    tensors = read_tensors(weight_files(folder), rules, device=device, dtype=dtype, passed_over=left)
    assign(model, tensors)
    return model


def read_logit_scale(folder: Path) -> float:
    """Logarithm of what jina-clip-v2's training multiplied cosines by.

    Raises:
        CheckpointError: The folder's weights have none.
    """
    rule = rename(LOGIT_SCALE, (), LOGIT_SCALE)
    towers = ("text_model.", "vision_model.")
    cpu = torch.device("cpu")
    tensors = read_tensors(weight_files(folder), [rule], device=cpu, dtype=torch.float32, passed_over=towers)
    return float(tensors[LOGIT_SCALE])


def _wanted(
    modalities: Sequence[Modality] | None, there: tuple[Modality, ...], *, separable: bool
) -> tuple[Modality, ...]:
    if modalities is None:
        return there
    if isinstance(modalities, str) or not modalities or not set(modalities) <= set(there):
        raise InputError(f"modalities must be one or several of {there} for this model, got {modalities!r}")
    if not separable and set(modalities) != set(there):
        raise InputError("texts and images go through one network in this model; leave modalities out")
    return tuple(modality for modality in there if modality in modalities)


def read_config(folder: Path) -> JinaV4Config:
    """Reads the two configuration files of jina-embeddings-v4.

    Raises:
        CheckpointError: One of them is missing, not JSON, or does not describe this family.
    """
    return parse_config(read_json(folder / "config.json"), read_json(folder / ADAPTER_CONFIG))


def fingerprint(folder: Path) -> str:
    """Identity of a model: its small files whole; of the weights their sizes and a few bytes from many places."""
    digest = hashlib.sha256()
    for name in ("config.json", ADAPTER_CONFIG, "preprocessor_config.json", "tokenizer.json"):
        if (folder / name).exists():
            digest.update((folder / name).read_bytes())
    for path in [*weight_files(folder), folder / ADAPTER]:
        if not path.exists():
            continue
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            for step in range(256):
                file.seek(size * step // 256)
                digest.update(file.read(64))
    return digest.hexdigest()[:12]
