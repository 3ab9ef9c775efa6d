"""The description of jina-embeddings-v4: its files, its outputs, how its tokens are counted, its heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from polylens.errors import InputError
from polylens.models.description import (
    Adapters,
    ExtraFiles,
    Family,
    Header,
    HeatGrid,
    HeatMaps,
    Json,
    Layout,
    MultiVectorHead,
    TowerPart,
    Usage,
    WeightPart,
)
from polylens.models.files import read_json
from polylens.models.jina_v4.config import JinaV4Config, parse_config, render_adapter_config, render_config
from polylens.models.jina_v4.model import JinaV4
from polylens.models.jina_v4.padded import padded_texts
from polylens.models.jina_v4.processing import IMAGE_TEMPLATE, PREFIXES, JinaV4Processor
from polylens.models.jina_v4.state_dict import adapter_names, base_names
from polylens.models.padded import PaddedNetwork, merge_task
from polylens.models.protocol import Model, Processor
from polylens.models.qwen_vl.images import render_image_config
from polylens.models.qwen_vl.state_dict import published_tensors, renaming

ADAPTER = "adapters/adapter_model.safetensors"
ADAPTER_CONFIG = "adapters/adapter_config.json"
PROJECTOR = "multi_vector_projector."

# A turn is what it says, without a system prompt; an image is its three marks. A user's turn of an image and "Describe
# the image." is thus `processing.IMAGE_TEMPLATE`.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\\n' -}}"
    "{%- if message.content is string -%}{{- message.content -}}"
    "{%- else -%}{%- for part in message.content -%}"
    "{%- if part.type in ('image', 'image_url') -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}"
    "{%- elif part.type == 'text' -%}{{- part.text -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
)


def _claims(config: Json) -> bool:
    # the model_type alone is that of every model on Qwen2.5-VL
    return "JinaEmbeddingsV4Model" in (config.get("architectures") or ())


def _read(folder: Path, published: Json) -> Header:
    config = parse_config(published, read_json(folder / ADAPTER_CONFIG))
    return Header(
        family=FAMILY,
        folder=folder,
        config=config,
        processing=JinaV4Processor.from_folder(folder, config),
        dim=config.decoder.width,
        matryoshka_dims=config.matryoshka_dims,
        multivector_dim=config.multivector_dim,
        modalities=("text", "image"),
        context=config.max_length,
        usage=Usage(default_task="text-matching", tile=28, tile_tokens=10),
    )


def _build(header: Header) -> nn.Module:
    return JinaV4(header.config)


def _weights(header: Header, network: nn.Module, _names: frozenset[str]) -> Sequence[WeightPart]:
    config: JinaV4Config = header.config
    base, adapters = (renaming(each(config), config.vision, network) for each in (base_names, adapter_names))
    return (WeightPart(rules=base), WeightPart(rules=adapters, file=ADAPTER))


def _layout(model: Model, processor: Processor, _scalars: Mapping[str, float]) -> Layout:
    v4, processing = cast("JinaV4", model), cast("JinaV4Processor", processor)
    return Layout(
        tensors=_published(v4, base_names(v4.config)),
        config=render_config(v4.config),
        tokenizer=processing.tokenizer,
        preprocessor=render_image_config(processing.image_config),
        extra=ExtraFiles(
            tensors={ADAPTER: _published(v4, adapter_names(v4.config))},
            json={ADAPTER_CONFIG: render_adapter_config(v4.config.lora)},
        ),
    )


def _adapter_files(model: Model) -> ExtraFiles:
    v4 = cast("JinaV4", model)
    dtype = v4.decoder.embed.weight.dtype
    tensors = {name: tensor.to(dtype) for name, tensor in _published(v4, adapter_names(v4.config)).items()}
    return ExtraFiles(tensors={ADAPTER: tensors}, json={ADAPTER_CONFIG: render_adapter_config(v4.config.lora)})


def _merged(model: Model, processor: Processor, task: str) -> Layout:
    """Returns the layout of stock `Qwen2_5_VLForConditionalGeneration`, with the adapter of a task merged.

    A merged weight is W + (alpha / r) B A, summed in float32 and cast to the dtype of W. The projector is left out of
    the tensors, as in the published `-vllm-` checkpoints; it is the layout's `multivector`.

    Raises:
        InputError: The checkpoint has no such task.
    """
    v4, processing = cast("JinaV4", model), cast("JinaV4Processor", processor)
    lora = v4.config.lora
    if task not in lora.tasks:
        raise InputError(f"task must be one of {', '.join(lora.tasks)}, got {task!r}")
    parameters = dict(v4.named_parameters())
    names = base_names(v4.config)
    tensors = _published(v4, names)
    head = {published: tensors.pop(published).float() for published in names if published.startswith(PROJECTOR)}
    for published, name in names.items():
        stem = name.removesuffix(".weight")
        if f"{stem}.lora_a.{task}" in parameters:
            down, up = (parameters[f"{stem}.lora_{half}.{task}"].detach().cpu().float() for half in "ab")
            where = head if published in head else tensors
            where[published] = (where[published].float() + lora.scaling * (up @ down)).to(where[published].dtype)
    config = render_config(v4.config)
    config["architectures"] = ["Qwen2_5_VLForConditionalGeneration"]
    config["torch_dtype"] = str(v4.decoder.embed.weight.dtype).removeprefix("torch.")
    for key in ("task_names", "matryoshka_dims", "multi_vector_projector_dim", "single_vector_pool_strategy"):
        del config[key]
    del config["truncate_dim"]
    return Layout(
        tensors=tensors,
        config=config,
        tokenizer=processing.tokenizer,
        preprocessor=render_image_config(processing.image_config),
        multivector=_head(processing, task, head),
    )


def _head(processor: JinaV4Processor, task: str, tensors: Mapping[str, Tensor]) -> MultiVectorHead:
    sides = {"query": "query", "document": "query" if task == "text-matching" else "passage"}
    return MultiVectorHead(
        tensors=tensors,
        architecture="JinaV4MultiVector",
        chat_template=CHAT_TEMPLATE,
        prompts={side: PREFIXES[prompt] for side, prompt in sides.items()},
        image_prompt=IMAGE_TEMPLATE,
        image_token="<|image_pad|>",
        pad_token="<|endoftext|>",
        max_length=processor.max_length,
    )


def _published(model: JinaV4, names: Mapping[str, str]) -> dict[str, Tensor]:
    return published_tensors(names, model.config.vision, model)


def _heat_grid(processor: Processor, width: int, height: int) -> HeatGrid:
    return cast("JinaV4Processor", processor).heat_grid(width, height)


def _query_spans(processor: Processor, query: str, prompt_name: str) -> Sequence[tuple[int, int]]:
    prefix = PREFIXES[prompt_name]
    offsets = processor.tokenizer.encode(prefix + query, add_special_tokens=False).offsets
    return [(max(0, first - len(prefix)), max(0, last - len(prefix))) for first, last in offsets]


def _padded(model: Model, processor: Processor, task: str | None) -> Sequence[PaddedNetwork]:
    """Returns the reader of texts alone: a graph takes images of one size, and this model those of any."""
    v4 = cast("JinaV4", model)
    adapter, prompt = processor.role(task, None)
    merge_task(v4, adapter)
    prefixes = {prompt: PREFIXES[prompt]} if adapter == "text-matching" else PREFIXES
    return [padded_texts(v4, prefixes)]


FAMILY = Family(
    name="jina_v4",
    model_types=("qwen2_5_vl",),
    outputs=frozenset({"dense", "multi"}),
    claims=_claims,
    read=_read,
    build=_build,
    weights=_weights,
    layout=_layout,
    identifying=(ADAPTER_CONFIG,),
    weight_files=(ADAPTER,),
    overflows_in_float16=True,  # those of Qwen2.5-VL do
    heat_maps=HeatMaps(grid=_heat_grid, spans=_query_spans),
    towers=(TowerPart("vision", any_image=True), TowerPart("decoder", causal=True)),
    padded=_padded,
    adapters=Adapters(files=_adapter_files, merged=_merged),
)
