"""Loads a model from a folder in a published layout. The family provides the files, rules and network.

The model is built on the meta device, every published tensor is used exactly once, and nothing may be left on meta.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from polylens.checkpoints.catalog import entry_at
from polylens.checkpoints.fetch import ADAPTER_CONFIG, ADAPTER_WEIGHTS, base_folder, is_adapter
from polylens.checkpoints.tensors import assign, names_in, read_tensors, weight_files
from polylens.errors import InputError
from polylens.models.description import Family, Header
from polylens.models.family import family_of, family_of_adapter
from polylens.models.files import read_json
from polylens.models.protocol import Modality, Model, Scorer
from polylens.models.rules import rename


def read_header(folder: Path, *, modalities: Sequence[Modality] | None = None) -> Header:
    """Reads the header of a checkpoint: all but its weights. This takes milliseconds.

    Args:
        folder: Folder with `config.json`, `tokenizer.json`, one or several safetensors files with the published
            names, and the other files of its family's layout; or the folder of an adapter alone, whose base model is on
            this machine, see `fetch.base_folder`.
        modalities: The modalities to load, for a model that has a network for each; None loads all.

    Raises:
        CheckpointError: A file is missing or broken, the files do not belong together, or no family claims it.
        InputError: The model does not take these modalities, or cannot be loaded in part.
    """
    if is_adapter(folder):
        base = base_folder(folder, local_files_only=True)
        published, adapter = read_json(base / "config.json"), read_json(folder / ADAPTER_CONFIG)
        family, bases = family_of_adapter(published, adapter)
        header = replace(bases.read(folder, base, published, adapter), base=base)
    else:
        published = _published(folder)
        family = family_of(published)
        header = family.read(folder, published)
    return replace(header, fingerprint=fingerprint(folder, family, header.base), modalities=_wanted(modalities, header))


def _published(folder: Path) -> Mapping[str, Any]:
    """Returns the content of `config.json`, and the `prompt_set` that the catalog has for this repository."""
    entry = entry_at(folder)
    told = {} if entry is None or entry.prompt_set is None else {"prompt_set": entry.prompt_set}
    return {**told, **read_json(folder / "config.json")}


def load_model(header: Header, *, device: torch.device, dtype: torch.dtype) -> Model:
    """Builds the model of a header, which produces vectors, and reads its weights.

    Args:
        header: The header of the checkpoint.
        device: The device for the weights.
        dtype: The dtype of the weights.

    Raises:
        CheckpointError: A tensor is missing, left over or of the wrong shape; the message names it.
        InputError: The model is a reranker.
    """
    _ = header.processor
    return cast("Model", _load(header, device, dtype))


def load_scorer(header: Header, *, device: torch.device, dtype: torch.dtype) -> Scorer:
    """Builds the reranker of a header and reads its weights; arguments and errors are those of `load_model`.

    Raises:
        InputError: The model does not score pairs.
    """
    _ = header.pairs
    return cast("Scorer", _load(header, device, dtype))


def _load(header: Header, device: torch.device, dtype: torch.dtype) -> nn.Module:
    with torch.device("meta"):
        model = header.family.build(header)
    files = _main_files(header.folder, header.base)
    tensors: dict[str, torch.Tensor] = {}
    for part in header.family.weights(header, model, names_in(files)):
        where = files if part.file is None else [header.folder / part.file]
        tensors |= read_tensors(where, part.rules, device=device, dtype=dtype, skipped=part.skipped)
    assign(model, tensors)
    return model


def _main_files(folder: Path, base: Path | None) -> list[Path]:
    """Returns the files of the main weights: those of the base model come before the adapter's."""
    return weight_files(folder) if base is None else [*weight_files(base), folder / ADAPTER_WEIGHTS]


def read_scalars(header: Header) -> dict[str, float]:
    """Reads the published numbers that only training uses, by name; see `Family.scalars`.

    Raises:
        CheckpointError: The weights lack one of these numbers.
    """
    rules = [rename(name, (), name) for name in header.family.scalars]
    cpu = torch.device("cpu")
    files = _main_files(header.folder, header.base)
    tensors = read_tensors(files, rules, device=cpu, dtype=torch.float32, skipped=("",))
    return {name: float(tensor) for name, tensor in tensors.items()}


def fingerprint(folder: Path, family: Family, base: Path | None = None) -> str:
    """Returns the identity of a model as twelve hexadecimal digits.

    It is a hash of the small files, and of the sizes and a few bytes from many places of the files of weights.

    Args:
        folder: Folder of the checkpoint.
        family: Its family, which names the files besides the common ones.
        base: Folder of the base model where the checkpoint is an adapter; its files count too.
    """
    digest = hashlib.sha256()
    small = ["config.json", *family.identifying, "preprocessor_config.json", "tokenizer.json"]
    for path in [folder / ADAPTER_CONFIG, *(place / name for place in (folder, base) if place for name in small)]:
        if path.exists():
            digest.update(path.read_bytes())
    for path in [*_main_files(folder, base), *(folder / name for name in family.weight_files)]:
        if not path.exists():
            continue
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            for step in range(256):
                file.seek(size * step // 256)
                digest.update(file.read(64))
    return digest.hexdigest()[:12]


def _wanted(modalities: Sequence[Modality] | None, header: Header) -> tuple[Modality, ...]:
    there = header.modalities
    if modalities is None:
        return there
    if isinstance(modalities, str) or not modalities or not set(modalities) <= set(there):
        raise InputError(f"modalities must be one or several of {there} for this model, got {modalities!r}")
    if not header.has_towers and set(modalities) != set(there):
        raise InputError("texts and images go through one network in this model; leave modalities out")
    return tuple(modality for modality in there if modality in modalities)
