"""The description of the single-vector models on Qwen2-VL: their files and their one output, a dense vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from torch import nn

from polylens.models.description import ExtraFiles, Family, Header, Json, Layout, TowerPart, Usage, WeightPart
from polylens.models.protocol import Model, Processor
from polylens.models.qwen2_vl.config import Qwen2VLConfig, parse_config, render_config
from polylens.models.qwen2_vl.model import Qwen2VLEmbedder
from polylens.models.qwen2_vl.processing import Qwen2VLProcessor
from polylens.models.qwen2_vl.recognition import PROMPTS_FILE, prompts_of, render_prompts
from polylens.models.qwen2_vl.state_dict import SKIPPED, names
from polylens.models.qwen_vl.images import render_image_config
from polylens.models.qwen_vl.state_dict import places_in, published_tensors, renaming

ARCHITECTURES = {"Qwen2VLForConditionalGeneration", "Qwen2VLModel", "GmeQwen2VL"}
"""Classes with this network and nothing behind it; rerankers and late-interaction models name others."""


def _claims(config: Json) -> bool:
    """Claims Qwen2-VL itself too, which `prompts_of` then refuses with a reason."""
    named = config.get("architectures") or ()
    return config.get("model_type") == "qwen2_vl" and bool(named) and ARCHITECTURES.issuperset(named)


def _read(folder: Path, published: Json) -> Header:
    config = parse_config(published, prompts_of(folder, published))
    return Header(
        family=FAMILY,
        folder=folder,
        config=config,
        processing=Qwen2VLProcessor.from_folder(folder, config),
        dim=config.decoder.width,
        matryoshka_dims=config.matryoshka_dims,
        multivector_dim=None,
        modalities=("text", "image"),
        context=config.max_length,
        usage=Usage(),
    )


def _build(header: Header) -> nn.Module:
    return Qwen2VLEmbedder(header.config)


def _weights(header: Header, network: nn.Module, published: frozenset[str]) -> Sequence[WeightPart]:
    config: Qwen2VLConfig = header.config
    rules = renaming(names(config, places_in(published)), config.vision, network)
    return (WeightPart(rules=rules, skipped=SKIPPED),)


def _layout(model: Model, processor: Processor, _scalars: Mapping[str, float]) -> Layout:
    embedder, processing = cast("Qwen2VLEmbedder", model), cast("Qwen2VLProcessor", processor)
    config = embedder.config
    fields, files = render_prompts(config.prompts)
    return Layout(
        tensors=published_tensors(names(config), config.vision, embedder),
        config={**render_config(config), **fields},
        tokenizer=processing.tokenizer,
        preprocessor=render_image_config(processing.image_config, "Qwen2VLProcessor"),
        extra=ExtraFiles(json=files),
    )


FAMILY = Family(
    name="qwen2_vl",
    model_types=("qwen2_vl",),
    outputs=frozenset({"dense"}),
    claims=_claims,
    read=_read,
    build=_build,
    weights=_weights,
    layout=_layout,
    identifying=(PROMPTS_FILE,),
    towers=(TowerPart("vision", any_image=True), TowerPart("decoder", causal=True)),
)
