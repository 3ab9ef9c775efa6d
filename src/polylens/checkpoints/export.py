"""Writes a model to a folder, in its published layout or with one task merged for other engines.

The family says what is in the files. Each file is written beside its place and then renamed, `config.json` last: a
folder that has `config.json` is complete.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from polylens.atomic import write_beside
from polylens.checkpoints.formats import Format
from polylens.checkpoints.gguf import require_gguf, write_gguf
from polylens.checkpoints.stock_modules import with_stock_modules
from polylens.checkpoints.tensors import INDEX, SINGLE, weight_files
from polylens.errors import InputError
from polylens.models.description import ExtraFiles, Family, Layout
from polylens.models.protocol import Model, Processor

SHARD_BYTES = 5_000_000_000


def save_checkpoint(
    folder: Path, family: Family, model: Model, processor: Processor, scalars: Mapping[str, float] | None = None
) -> None:
    """Writes a model in the published layout of its family, which `load_model` reads; no tensor changes its dtype.

    Args:
        folder: Created if it is missing; files of the same names are replaced.
        family: The family of the model.
        model: The model, on any device.
        processor: The processor of the same checkpoint.
        scalars: Published numbers that the model does not hold; see `Family.scalars`.

    Raises:
        InputError: The family has no layout to write.
    """
    if family.layout is None:
        raise InputError(f"models of the family {family.name} can be read, not written")
    _write(folder, family.layout(model, processor, scalars or {}))


def save_adapters(folder: Path, base: Path, family: Family, model: Model) -> None:
    """Writes a checkpoint that has the model's adapters, and all other files from the folder of its base checkpoint.

    The files of the backbone are linked if possible and copied otherwise: fine-tuning changes 60 MB of
    jina-embeddings-v4's 7.9 GB.

    Args:
        folder: Created if it is missing; files of the same names are replaced.
        base: Folder of the checkpoint that the model was loaded from.
        family: The family of the model.
        model: The model; its adapters are written in the dtype of the backbone.

    Raises:
        InputError: The family has no adapters to train.
    """
    if family.adapters is None:
        raise InputError(f"models of the family {family.name} have no adapters to write")
    extra = family.adapters.files(model)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)
    index = [base / INDEX] if (base / INDEX).exists() else []
    for file in (*weight_files(base), *index, base / "preprocessor_config.json", base / "tokenizer.json"):
        _link(file, folder / file.name)
    _write_extra(folder, extra)
    _link(base / "config.json", folder / "config.json")


def export_merged(
    folder: Path, family: Family, model: Model, processor: Processor, task: str, format: Format = Format.TRANSFORMERS
) -> None:
    """Writes a checkpoint with one task's adapter merged in, for another engine; matrices keep their dtype.

    Args:
        folder: Created if it is missing; files of the same names are replaced.
        family: The family of the model.
        model: The model, on any device.
        processor: The processor of the same checkpoint.
        task: The task whose adapter is merged.
        format: The form of the files.

    Raises:
        InputError: The checkpoint has no such task, the family has no adapters, or the model cannot be expressed in the
            format, or a package that the format needs is missing.
    """
    check_mergeable(family, format)
    assert family.adapters is not None
    layout = family.adapters.merged(model, processor, task)
    if format is Format.GGUF:
        write_gguf(folder, layout, task)
    elif format is Format.VLLM_MULTIVECTOR:
        _write(folder, _with_head(layout))
    elif format is Format.SENTENCE_TRANSFORMERS:
        _write(folder, with_stock_modules(layout))
    else:
        _write(folder, layout)


def check_mergeable(family: Family, format: Format) -> None:
    """Checks what `export_merged` needs before any weight is read: adapters, and the packages of the format.

    Raises:
        InputError: The family has no adapters, or a package is missing.
    """
    if family.adapters is None:
        raise InputError(f"models of the family {family.name} have no adapters to merge")
    if format is Format.GGUF:
        require_gguf()


def _with_head(layout: Layout) -> Layout:
    """Adds the projection of the multi-vectors, and the prompt of an image in the two files where it is looked for."""
    head = layout.multivector
    if head is None:
        raise InputError("the format vllm-multivector is for models with multi-vectors, and this one has none")
    template = head.chat_template
    return replace(
        layout,
        tensors={**layout.tensors, **head.tensors},
        config={**layout.config, "architectures": [head.architecture]},
        extra=ExtraFiles(
            tensors=layout.extra.tensors,
            json={**layout.extra.json, "chat_template.json": {"chat_template": template}},
            text={**layout.extra.text, "chat_template.jinja": template},
        ),
    )


def _write(folder: Path, layout: Layout) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)
    _write_base(folder, layout.tensors)
    _write_extra(folder, layout.extra)
    if layout.preprocessor is not None:
        _write_json(folder / "preprocessor_config.json", layout.preprocessor)
    _write_tokenizer(folder, layout.tokenizer)
    _write_json(folder / "config.json", layout.config)


def _write_extra(folder: Path, extra: ExtraFiles) -> None:
    for name, tensors in extra.tensors.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _write_tensors(folder / name, tensors)
    for name, value in extra.json.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _write_json(folder / name, value)
    for name, text in extra.text.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with write_beside(folder / name) as beside:
            beside.write_text(text, encoding="utf-8")


def _link(source: Path, target: Path) -> None:
    with write_beside(target) as beside:
        try:
            os.link(source.resolve(), beside)
        except OSError:  # another disk, or a file system without hard links
            shutil.copyfile(source, beside)


def _write_base(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes one file, or shards of at most 5 GB and their index, and removes the files of the other form."""
    shards: list[dict[str, Tensor]] = [{}]
    room = SHARD_BYTES
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if size > room and shards[-1]:
            shards.append({})
            room = SHARD_BYTES
        shards[-1][name] = tensor
        room -= size
    if len(shards) == 1:
        _write_tensors(folder / SINGLE, shards[0])
        (folder / INDEX).unlink(missing_ok=True)
        return
    names = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    for file, shard in zip(names, shards, strict=True):
        _write_tensors(folder / file, shard)
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    weight_map = {tensor: file for file, shard in zip(names, shards, strict=True) for tensor in shard}
    _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    (folder / SINGLE).unlink(missing_ok=True)


def _write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    with write_beside(folder / "tokenizer.json") as beside:
        tokenizer.save(str(beside))


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    with write_beside(path) as beside:
        try:
            with torch.no_grad():
                save_file(dict(tensors), beside, metadata={"format": "pt"})
        except SafetensorError as failed:  # such as a full disk
            raise OSError(f"{path} cannot be written: {failed}") from failed
        beside.chmod(0o644)  # safetensors creates its files for the owner alone


def _write_json(path: Path, value: Mapping[str, Any] | Sequence[Any]) -> None:
    with write_beside(path) as beside:
        beside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
