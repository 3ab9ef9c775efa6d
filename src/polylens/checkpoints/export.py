"""A model to a folder: its published layout, or stock Qwen2.5-VL with one task merged in.

Files are written beside their place and renamed, `config.json` last: its being there means that the folder is complete.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from polylens.checkpoints.loading import ADAPTER, ADAPTER_CONFIG
from polylens.checkpoints.tensors import INDEX, SINGLE, weight_files
from polylens.errors import InputError
from polylens.models.jina_clip_v2 import config as clip_config
from polylens.models.jina_clip_v2 import processing as clip_processing
from polylens.models.jina_clip_v2.model import JinaClip
from polylens.models.jina_clip_v2.state_dict import LOGIT_SCALE, clip_rules
from polylens.models.jina_v4.config import render_adapter_config, render_config
from polylens.models.jina_v4.model import JinaV4
from polylens.models.jina_v4.processing import JinaV4Processor, render_image_config
from polylens.models.jina_v4.state_dict import adapter_names, base_names, published_shape

SHARD_BYTES = 5_000_000_000


def save_checkpoint(folder: Path, model: JinaV4, processor: JinaV4Processor) -> None:
    """Writes jina-embeddings-v4's layout: what `load_model` reads, each tensor as the model holds it.

    Args:
        folder: Made where it is missing; files of the same names are replaced.
        model: On any device.
        processor: Of the same checkpoint.
    """
    (folder / "adapters").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)
    ours = dict(model.named_parameters())
    _write_base(folder, {name: _published(model, ours, rule) for name, rule in base_names(model.config).items()})
    adapters = {name: _published(model, ours, rule) for name, rule in adapter_names(model.config).items()}
    _write_tensors(folder / ADAPTER, adapters)
    _write_json(folder / ADAPTER_CONFIG, render_adapter_config(model.config.lora))
    _write_processor(folder, processor)
    _write_json(folder / "config.json", render_config(model.config))


def save_adapters(folder: Path, base: Path, model: JinaV4) -> None:
    """Writes jina-embeddings-v4's layout with the model's adapters, and everything else as it lies in another folder.

    The backbone's files are linked where that is possible and copied where it is not: fine-tuning changes 60 MB of
    7.9 GB.

    Args:
        folder: Made where it is missing; files of the same names are replaced.
        base: Of the checkpoint that the model was loaded from.
        model: Its adapters are written in the type of the backbone.
    """
    (folder / "adapters").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)
    index = [base / INDEX] if (base / INDEX).exists() else []
    for file in (*weight_files(base), *index, base / "preprocessor_config.json", base / "tokenizer.json"):
        _link(file, folder / file.name)
    ours, dtype = dict(model.named_parameters()), model.decoder.embed.weight.dtype
    adapters = {n: _published(model, ours, each).to(dtype) for n, each in adapter_names(model.config).items()}
    _write_tensors(folder / ADAPTER, adapters)
    _write_json(folder / ADAPTER_CONFIG, render_adapter_config(model.config.lora))
    _link(base / "config.json", folder / "config.json")


def _link(source: Path, target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), partial)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, partial)
    partial.replace(target)


def save_clip_checkpoint(
    folder: Path, model: JinaClip, processor: clip_processing.JinaClipProcessor, logit_scale: float
) -> None:
    """Writes jina-clip-v2's layout. Its adapter was merged when loading and stays so: an adapter of zeros lies beside.

    Args:
        folder: Made where it is missing; files of the same names are replaced.
        model: With both towers, on any device.
        processor: Of the same checkpoint.
        logit_scale: Logarithm of what training multiplied cosines by.
    """
    assert processor.image_config is not None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)
    ours = {name: parameter.detach().cpu() for name, parameter in model.named_parameters()}
    tensors: dict[str, Tensor] = {LOGIT_SCALE: torch.tensor(logit_scale, dtype=next(iter(ours.values())).dtype)}
    for rule in clip_rules(model.config, ("text", "image")):
        published = rule.unfold([ours[name] for name in rule.ours])
        tensors |= {name: each.contiguous() for name, each in zip(rule.published, published, strict=True)}
    _write_base(folder, tensors)
    _write_json(folder / "preprocessor_config.json", clip_processing.render_image_config(processor.image_config))
    _write_tokenizer(folder, processor.tokenizer)
    _write_json(folder / "config.json", clip_config.render_config(model.config))


def export_merged(folder: Path, model: JinaV4, processor: JinaV4Processor, task: str) -> None:
    """Writes a checkpoint with one task's adapter merged in, as stock `Qwen2_5_VLForConditionalGeneration`.

    W + (alpha / r) B A is summed in float32, then cast to the type of W. The projector is not in it: such a checkpoint
    gives dense vectors only, as the published `-vllm-` ones do (jina_embeddings_v4 facts, section 2).

    Raises:
        InputError: The checkpoint has no such task.
    """
    if task not in model.config.lora.tasks:
        raise InputError(f"task must be one of {', '.join(model.config.lora.tasks)}, got {task!r}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)
    parameters = dict(model.named_parameters())
    merged: dict[str, Tensor] = {}
    for published, name in base_names(model.config).items():
        if published.startswith("multi_vector_projector."):
            continue
        tensor = _published(model, parameters, name)
        stem = name.removesuffix(".weight")
        if f"{stem}.lora_a.{task}" in parameters:
            down, up = parameters[f"{stem}.lora_a.{task}"], parameters[f"{stem}.lora_b.{task}"]
            tensor = (tensor.float() + model.config.lora.scaling * (up.float() @ down.float())).to(tensor.dtype)
        merged[published] = tensor
    _write_base(folder, merged)
    _write_processor(folder, processor)
    config = render_config(model.config)
    config["architectures"] = ["Qwen2_5_VLForConditionalGeneration"]
    for field in ("task_names", "matryoshka_dims", "multi_vector_projector_dim", "single_vector_pool_strategy"):
        del config[field]
    del config["truncate_dim"]
    _write_json(folder / "config.json", config)


def _published(model: JinaV4, parameters: Mapping[str, Tensor], name: str) -> Tensor:
    tensor = parameters[name].detach().cpu()
    return tensor.reshape(published_shape(model.config, name, tuple(tensor.shape))).contiguous()


def _write_base(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """One file, or shards of at most 5 GB with an index over them; what the other form left in the folder goes."""
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


def _write_processor(folder: Path, processor: JinaV4Processor) -> None:
    _write_json(folder / "preprocessor_config.json", render_image_config(processor.image_config))
    _write_tokenizer(folder, processor.tokenizer)


def _write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    partial = folder / "tokenizer.json.partial"
    tokenizer.save(str(partial))
    partial.replace(folder / "tokenizer.json")


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    partial = path.with_name(path.name + ".partial")
    with torch.no_grad():
        save_file(dict(tensors), partial, metadata={"format": "pt"})
    os.chmod(partial, 0o644)  # noqa: PTH101 - safetensors creates its files for the owner alone
    partial.replace(path)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    shutil.move(partial, path)
