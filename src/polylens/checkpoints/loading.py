"""A folder in a published layout to a model. The family says which files, rules and network; nothing here names one.

The model is built on the meta device, every published tensor is used exactly once, and nothing may be left on meta.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from polylens.checkpoints.tensors import assign, names_in, read_tensors, weight_files
from polylens.errors import InputError
from polylens.models.description import Family, Header
from polylens.models.family import family_of
from polylens.models.files import read_json
from polylens.models.protocol import Modality, Model
from polylens.models.rules import rename


def read_header(folder: Path, *, modalities: Sequence[Modality] | None = None) -> Header:
    """Reads what is known about a checkpoint without its weights; a matter of milliseconds.

    Args:
        folder: Holds `config.json`, `tokenizer.json`, one or several safetensors files with the published names, and
            whatever else the layout of its family has.
        modalities: What is wanted of a model with a network for each; None is all there is.

    Raises:
        CheckpointError: A file is missing or broken, the files do not belong together, or no family computes it.
        InputError: The model does not take these modalities, or cannot be loaded in part.
    """
    published = read_json(folder / "config.json")
    family = family_of(published)
    header = family.read(folder, published)
    return replace(header, fingerprint=fingerprint(folder, family), modalities=_wanted(modalities, header))


def load_model(header: Header, *, device: torch.device, dtype: torch.dtype) -> Model:
    """Reads the weights that belong to a header.

    Args:
        header: The header of the checkpoint.
        device: The device that the weights go to.
        dtype: The type in which they are held.

    Raises:
        CheckpointError: A tensor is missing, left over or of the wrong shape; the message names it.
    """
    with torch.device("meta"):
        model = header.family.build(header)
    files = weight_files(header.folder)
    tensors: dict[str, torch.Tensor] = {}
    for part in header.family.weights(header, names_in(files)):
        where = files if part.file is None else [header.folder / part.file]
        tensors |= read_tensors(where, part.rules, device=device, dtype=dtype, skipped=part.skipped)
    assign(model, tensors)
    return cast("Model", model)


def read_scalars(header: Header) -> dict[str, float]:
    """The published numbers that training uses and no vector needs, by name; see `Family.scalars`.

    Raises:
        CheckpointError: The folder's weights lack one.
    """
    rules = [rename(name, (), name) for name in header.family.scalars]
    cpu = torch.device("cpu")
    tensors = read_tensors(weight_files(header.folder), rules, device=cpu, dtype=torch.float32, skipped=("",))
    return {name: float(tensor) for name, tensor in tensors.items()}


def fingerprint(folder: Path, family: Family) -> str:
    """The identity of a model, twelve hexadecimal digits: a hash of its small files, and of its weights the sizes and
    a few bytes from many places.

    Args:
        folder: The folder of the checkpoint.
        family: The family of the checkpoint, which says which files it has besides the common ones.
    """
    digest = hashlib.sha256()
    for name in ("config.json", *family.identifying, "preprocessor_config.json", "tokenizer.json"):
        if (folder / name).exists():
            digest.update((folder / name).read_bytes())
    for path in [*weight_files(folder), *(folder / name for name in family.weight_files)]:
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
