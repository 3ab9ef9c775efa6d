"""The description of ColQwen2, ColQwen2.5 and their kin: their files, their one output, their heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from torch import nn

from polylens.models.col_qwen.adapter import AdapterConfig, parse_adapter
from polylens.models.col_qwen.config import BASE_TYPES, NATIVE, parse_config, render_config
from polylens.models.col_qwen.model import ColQwen
from polylens.models.col_qwen.processing import ColQwenProcessor
from polylens.models.col_qwen.state_dict import NATIVE as NATIVE_NAMES
from polylens.models.col_qwen.state_dict import names, rules, skipped
from polylens.models.description import (
    BaseModels,
    ExtraFiles,
    Family,
    Header,
    HeatGrid,
    HeatMaps,
    Json,
    Layout,
    TowerPart,
    Usage,
    WeightPart,
)
from polylens.models.protocol import Model, Processor
from polylens.models.qwen_vl.images import render_image_config
from polylens.models.qwen_vl.state_dict import published_tensors

_CLASSES = ("ColQwen2", "ColQwen2_5", *(architecture for _, architecture in NATIVE.values()))
"""Names of the classes with a vector per token: colpali-engine's, then transformers'."""

PROCESSOR_CONFIG = "processor_config.json"


def _claims(config: Json) -> bool:
    is_native = config.get("model_type") in [model_type for model_type, _ in NATIVE.values()]
    return is_native or any(name in _CLASSES for name in config.get("architectures") or ())


def _claims_adapter(config: Json, adapter: Json) -> bool:
    """An adapter may name the class that it was trained on; one with a dense vector instead is another family's."""
    trained_on = (adapter.get("auto_mapping") or {}).get("base_model_class")
    is_known = config.get("model_type") in BASE_TYPES or _claims(config)
    return is_known and trained_on in (None, *_CLASSES)


def _read(folder: Path, published: Json) -> Header:
    return _header([folder], published, None)


def _read_adapter(folder: Path, base: Path, published: Json, adapter: Json) -> Header:
    return _header([folder, base], published, parse_adapter(adapter))


def _header(folders: Sequence[Path], published: Json, adapter: AdapterConfig | None) -> Header:
    config = parse_config(published, adapter)
    return Header(
        family=FAMILY,
        folder=folders[0],
        config=config,
        processing=ColQwenProcessor.from_folders(folders, config),
        dim=config.multivector_dim,
        matryoshka_dims=(config.multivector_dim,),
        multivector_dim=config.multivector_dim,
        modalities=("text", "image"),
        context=config.trunk.max_length,
        usage=Usage(tile=28, tile_tokens=1),
    )


def _build(header: Header) -> nn.Module:
    return ColQwen(header.config)


def _weights(header: Header, network: nn.Module, published: frozenset[str]) -> Sequence[WeightPart]:
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    return (WeightPart(rules=rules(header.config, shapes, published), skipped=skipped(published)),)


def _layout(model: Model, processor: Processor, _scalars: Mapping[str, float]) -> Layout:
    """Returns transformers' own layout (`ColQwen2ForRetrieval`, `ColQwen2_5ForRetrieval`); the adapter stays merged."""
    col, processing = cast("ColQwen", model), cast("ColQwenProcessor", processor)
    processor_class = _CLASSES[0 if col.config.trunk_type == "qwen2_vl" else 1] + "Processor"
    prompts = {"query_prefix": processing.prompts.query, "visual_prompt_prefix": processing.prompts.image}
    return Layout(
        tensors=published_tensors(names(col.config, NATIVE_NAMES), col.config.trunk.vision, col),
        config=render_config(col.config),
        tokenizer=processing.tokenizer,
        preprocessor=render_image_config(processing.image_config, processor_class),
        extra=ExtraFiles(json={PROCESSOR_CONFIG: {"processor_class": processor_class, **prompts}}),
    )


def _heat_grid(processor: Processor, width: int, height: int) -> HeatGrid:
    return cast("ColQwenProcessor", processor).heat_grid(width, height)


def _query_spans(processor: Processor, query: str, prompt_name: str) -> Sequence[tuple[int, int]]:
    return cast("ColQwenProcessor", processor).spans(query, prompt_name)


FAMILY = Family(
    name="col_qwen",
    model_types=tuple(model_type for model_type, _ in NATIVE.values()),
    outputs=frozenset({"multi"}),
    claims=_claims,
    read=_read,
    build=_build,
    weights=_weights,
    layout=_layout,
    identifying=(PROCESSOR_CONFIG,),
    overflows_in_float16=True,  # those of Qwen2.5-VL do
    heat_maps=HeatMaps(grid=_heat_grid, spans=_query_spans),
    towers=(TowerPart("vision", any_image=True), TowerPart("decoder", causal=True)),
    bases=BaseModels(model_types=BASE_TYPES, claims=_claims_adapter, read=_read_adapter),
)
