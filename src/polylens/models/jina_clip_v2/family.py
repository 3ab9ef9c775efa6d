"""The description of jina-clip-v2 and jina-embeddings-v3: files, outputs, and how their tokens are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import nn

from polylens.models.description import Family, Header, Json, Layout, TowerPart, Usage, WeightPart
from polylens.models.eva02.config import is_jina_bert, text_backbone
from polylens.models.eva02.images import render_image_config
from polylens.models.files import read_json
from polylens.models.jina_clip_v2.config import NATIVE, NO_ADAPTERS, JinaClipConfig, parse_config, render_config
from polylens.models.jina_clip_v2.model import JinaClip
from polylens.models.jina_clip_v2.native import CONFIG_FILES, WEIGHT_FILES, adapter_parts, read_adapters
from polylens.models.jina_clip_v2.processing import JinaClipProcessor
from polylens.models.jina_clip_v2.state_dict import LOGIT_SCALE, clip_rules, skipped_names
from polylens.models.padded import PaddedNetwork, merge_task, padded_images, padded_texts
from polylens.models.protocol import Model, Processor
from polylens.models.rules import unfolded
from polylens.models.xlm_rotary.state_dict import adapted_rules, native_rules, plain_rules

_ONE_INSTRUCTION = ("text-matching", "retrieval.passage", "classification", "separation")
"""Tasks that clients send to jina-clip-v2 and that have no effect: its one instruction is that of `retrieval.query`."""


def _claims(config: Json) -> bool:
    if config.get("model_type") == "jina_clip":
        return not is_jina_bert(text_backbone(config))
    return config.get("model_type") == NATIVE or bool(config.get("lora_adaptations"))


def _read(folder: Path, published: Json) -> Header:
    is_native = published.get("model_type") == NATIVE
    config = parse_config(published, read_adapters(folder) if is_native else NO_ADAPTERS)
    has_images = config.vision is not None
    clip = Usage(ignored_tasks=_ONE_INSTRUCTION, tile=512, tile_tokens=4_000, unit_vectors_in_batch_jobs=False)
    return Header(
        family=FAMILY,
        folder=folder,
        config=config,
        processing=JinaClipProcessor.from_folder(folder, config),
        dim=config.text.width,
        matryoshka_dims=config.matryoshka_dims,
        multivector_dim=None,
        modalities=("text", "image") if has_images else ("text",),
        context=config.text.max_length,
        usage=clip if has_images else Usage(),
        has_towers=True,
    )


def _build(header: Header) -> nn.Module:
    return JinaClip(header.config, header.modalities)


def _weights(header: Header, _network: nn.Module, names: frozenset[str]) -> Sequence[WeightPart]:
    config: JinaClipConfig = header.config
    if config.vision is not None:
        return (WeightPart(rules=clip_rules(config, header.modalities), skipped=skipped_names(header.modalities)),)
    # The pooler is a remnant of pretraining; no vector depends on it.
    if read_json(header.folder / "config.json").get("model_type") == NATIVE:
        is_saved = any(name.startswith("encoder.") for name in names)
        rules = plain_rules(config.text, "") if is_saved else native_rules(config.text)
        return (WeightPart(rules=list(rules), skipped=("pooler.",)), *adapter_parts(config.text))
    return (WeightPart(rules=list(adapted_rules(config.text, "roberta.")), skipped=("roberta.pooler.",)),)


def _layout(model: Model, processor: Processor, scalars: Mapping[str, float]) -> Layout:
    """Returns jina-clip-v2's layout. The adapter stays merged into the weights; the file gets an adapter of zeros."""
    clip, processing = cast("JinaClip", model), cast("JinaClipProcessor", processor)
    assert processing.image_config is not None
    ours = {name: parameter.detach().cpu() for name, parameter in clip.named_parameters()}
    scale = torch.tensor(scalars[LOGIT_SCALE], dtype=next(iter(ours.values())).dtype)
    tensors = {LOGIT_SCALE: scale, **unfolded(clip_rules(clip.config, ("text", "image")), ours)}
    return Layout(
        tensors=tensors,
        config=render_config(clip.config),
        tokenizer=processing.tokenizer,
        preprocessor=render_image_config(processing.image_config),
    )


def _padded(model: Model, processor: Processor, task: str | None) -> Sequence[PaddedNetwork]:
    clip, processing = cast("JinaClip", model), cast("JinaClipProcessor", processor)
    adapter, prompt = processing.role(task, None)
    networks = []
    if clip.text is not None:
        merge_task(clip.text, adapter)
        prefixes = {prompt: processing.instructions.get(prompt, "")} if prompt else {}
        networks.append(padded_texts(clip.text, clip.config.text.width, prefixes, adapted=True))
    if clip.vision is not None:
        networks.append(padded_images(clip.vision))
    return networks


FAMILY = Family(
    name="jina_clip_v2",
    model_types=("jina_clip", NATIVE),
    outputs=frozenset({"dense"}),
    claims=_claims,
    read=_read,
    build=_build,
    weights=_weights,
    layout=_layout,
    scalars=(LOGIT_SCALE,),
    identifying=tuple(CONFIG_FILES.values()),
    weight_files=tuple(WEIGHT_FILES.values()),
    towers=(TowerPart("text"), TowerPart("vision", one_length=True)),
    padded=_padded,
)
