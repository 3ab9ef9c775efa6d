"""The description of jina-embeddings-v2 and jina-clip-v1: files, outputs, and how their tokens are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import nn

from polylens.models.description import Family, Header, Json, Layout, TowerPart, Usage, WeightPart
from polylens.models.eva02.images import render_image_config
from polylens.models.jina_bert.config import JinaBertConfig, claims, parse_config, render_config
from polylens.models.jina_bert.model import JinaBert
from polylens.models.jina_bert.processing import JinaBertProcessor
from polylens.models.jina_bert.state_dict import (
    LOGIT_SCALE,
    check_variant,
    clip_rules,
    skipped_names,
    text_prefix,
    text_rules,
)
from polylens.models.padded import PaddedNetwork, padded_images, padded_texts
from polylens.models.protocol import Model, Processor
from polylens.models.rules import unfolded


def _read(folder: Path, published: Json) -> Header:
    config = parse_config(published)
    has_images = config.vision is not None
    return Header(
        family=FAMILY,
        folder=folder,
        config=config,
        processing=JinaBertProcessor.from_folder(folder, config),
        dim=config.text.width,
        matryoshka_dims=(config.text.width,),
        multivector_dim=None,
        modalities=("text", "image") if has_images else ("text",),
        context=config.text.max_length,
        usage=Usage(tile=224, tile_tokens=1_000) if has_images else Usage(),
        has_towers=True,
    )


def _build(header: Header) -> nn.Module:
    return JinaBert(header.config, header.modalities)


def _weights(header: Header, _network: nn.Module, names: frozenset[str]) -> Sequence[WeightPart]:
    config: JinaBertConfig = header.config
    check_variant(config.text, names)
    if config.vision is not None:
        is_flash = any(".mixer.Wqkv." in name for name in names)
        rules = clip_rules(config, header.modalities, is_flash=is_flash)
        return (WeightPart(rules=rules, skipped=skipped_names(header.modalities)),)
    prefix = text_prefix(names)
    # The pooler is a remnant of pretraining; no vector depends on it.
    return (WeightPart(rules=list(text_rules(config.text, prefix)), skipped=(f"{prefix}pooler.",)),)


def _layout(model: Model, processor: Processor, scalars: Mapping[str, float]) -> Layout:
    """Returns the layout of jina-embeddings-v2 or of jina-clip-v1."""
    bert, processing = cast("JinaBert", model), cast("JinaBertProcessor", processor)
    ours = {name: parameter.detach().cpu() for name, parameter in bert.named_parameters()}
    config = render_config(bert.config)
    if processing.image_config is None:
        tensors = unfolded(text_rules(bert.config.text), ours)
        return Layout(tensors=tensors, config=config, tokenizer=processing.tokenizer)
    scale = torch.tensor(scalars[LOGIT_SCALE], dtype=next(iter(ours.values())).dtype)
    rules = clip_rules(bert.config, ("text", "image"), is_flash=True)
    return Layout(
        tensors={LOGIT_SCALE: scale, **unfolded(rules, ours)},
        config=config,
        tokenizer=processing.tokenizer,
        preprocessor=render_image_config(processing.image_config),
    )


def _padded(model: Model, processor: Processor, task: str | None) -> Sequence[PaddedNetwork]:
    bert = cast("JinaBert", model)
    processor.role(task, None)
    texts = [] if bert.text is None else [padded_texts(bert.text, bert.config.text.width, {}, adapted=False)]
    return texts if bert.vision is None else [*texts, padded_images(bert.vision)]


FAMILY = Family(
    name="jina_bert",
    model_types=("bert with ALiBi",),
    outputs=frozenset({"dense"}),
    claims=claims,
    read=_read,
    build=_build,
    weights=_weights,
    layout=_layout,
    scalars=(LOGIT_SCALE,),
    towers=(TowerPart("text"), TowerPart("vision", one_length=True)),
    padded=_padded,
)
