"""The published tensor names and ours; an adapter's two halves and their weight become one weight of ours.

Base weights lie under the names of the first release (`model.*`, `visual.*`, `custom_text_proj.*`), of newer writers
(`model.language_model.*`, `model.visual.*`), or of transformers' own class (`vlm.model.language_model.*`,
`vlm.model.visual.*`, `embedding_proj_layer.*`). An adapter has the names of the class that it was trained on, which may
be another one than its base's: that is how other loaders came to leave adapters out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polylens.errors import CheckpointError
from polylens.models.col_qwen.adapter import PROJECTORS, AdapterConfig
from polylens.models.col_qwen.config import ColQwenConfig
from polylens.models.qwen_vl.state_dict import Places, decoder_names, places_in, published_shape, vision_names
from polylens.models.rules import Rule, Shape, merged, rename

PREFIX = "base_model.model."
"""What PEFT puts before the names of the class that an adapter was trained on."""

SKIPPED = ("lm_head.", "vlm.lm_head.", "vlm.model.lm_head.")
"""The head that predicts the next token: no vector depends on it, whether it shares its weights or not."""


@dataclass(frozen=True, slots=True)
class Naming:
    """How a class names the parts of the network."""

    places: Places
    projector: str


NATIVE = Naming(Places("vlm.model.language_model.", "vlm.model.visual."), "embedding_proj_layer")

NAMINGS = (
    Naming(Places("model.", "visual."), "custom_text_proj"),
    Naming(Places("language_model.", "visual."), "custom_text_proj"),
    Naming(Places("model.language_model.", "model.visual."), "custom_text_proj"),
    Naming(Places("vlm.language_model.", "vlm.visual."), "embedding_proj_layer"),
    NATIVE,
)


def names(config: ColQwenConfig, naming: Naming) -> dict[str, str]:
    """Returns published name -> our name, for every tensor of a merged model or of a base model with a projector."""
    trunk = config.trunk
    return {
        **decoder_names(trunk.decoder, naming.places),
        **vision_names(trunk.vision, naming.places),
        f"{naming.projector}.weight": "projector.weight",
        f"{naming.projector}.bias": "projector.bias",
    }


def rules(config: ColQwenConfig, shapes: Mapping[str, Shape], published: Collection[str]) -> list[Rule]:
    """Returns the rules of a merged model, or of a base model and an adapter together.

    Args:
        config: The sizes of the model.
        shapes: Our name -> shape of the parameter.
        published: The names of all tensors in the files.

    Raises:
        CheckpointError: No file has the projector, or the adapter is on no layer.
    """
    base = names(config, Naming(places_in(published), _projector(published)))
    halves = {} if config.adapter is None else _adapter_stems(config, config.adapter, shapes, published)
    adapter = config.adapter
    found: list[Rule] = []
    for theirs, ours in base.items():
        shape = published_shape(config.trunk.vision, ours, shapes[ours])
        if adapter is not None and ours in halves:
            found.append(_merging(theirs, shape, halves[ours], ours, adapter))
        else:
            found.append(rename(theirs, shape, ours, shapes[ours]))
    return found


def skipped(published: Collection[str]) -> tuple[str, ...]:
    """Returns the prefixes of the names that stay unread: the head, and a projector that the adapter replaces."""
    projector = _projector(published)
    return (*SKIPPED, *(f"{name}." for name in PROJECTORS if projector == PREFIX + name))


def _projector(published: Collection[str]) -> str:
    """Returns the name of the projector; one that was trained whole lies in the adapter's file and comes first."""
    for name in (*(PREFIX + name for name in PROJECTORS), *PROJECTORS):
        if f"{name}.weight" in published:
            return name
    raise CheckpointError(
        f"the checkpoint lacks the projector ({' or '.join(f'{name}.weight' for name in PROJECTORS)}), without which "
        "there is no vector per token; an adapter has it in its base model's files or in its own"
    )


def _linear_layers(config: ColQwenConfig, shapes: Mapping[str, Shape], naming: Naming) -> dict[str, str]:
    """Returns our name of a weight -> published name of its layer, for every linear layer."""
    tables = ("decoder.embed.weight", "vision.patch_embed.weight")
    return {
        ours: theirs.removesuffix(".weight")
        for theirs, ours in names(config, naming).items()
        if ours.endswith(".weight") and len(shapes[ours]) == 2 and ours not in tables
    }


def _adapter_stems(
    config: ColQwenConfig, adapter: AdapterConfig, shapes: Mapping[str, Shape], published: Collection[str]
) -> dict[str, str]:
    """Returns our name of a weight -> published name of its layer in the adapter's file, for the adapter's layers.

    The file tells by which class it is named, `adapter_config.json` which layers are in it. The two may speak of
    different classes, where a saver translated the names. So the layers are those that `target_modules` means under the
    class that comes closest to the file; what is then missing or left over is told by name when the tensors are read.
    """
    layers = [_linear_layers(config, shapes, naming) for naming in NAMINGS]
    stems = {name.removeprefix(PREFIX).rpartition(".lora_")[0] for name in published if ".lora_" in name}
    named = max(layers, key=lambda each: len(stems.intersection(each.values())))
    there = {ours for ours, layer in named.items() if layer in stems}
    meant = [{ours for ours, layer in each.items() if adapter.reaches(layer)} for each in layers]
    if not any(meant):
        raise CheckpointError(f"target_modules of adapter_config.json fits no layer, got {adapter.targets!r}")
    closest = min(filter(None, meant), key=lambda each: len(each ^ there))
    return {ours: PREFIX + layer for ours, layer in named.items() if ours in closest}


def _merging(published: str, shape: Shape, stem: str, ours: str, adapter: AdapterConfig) -> Rule:
    """Returns the rule of a weight and the two halves of its adapter, summed in float32."""
    outputs, inputs = shape
    halves = {f"{stem}.lora_A.weight": (adapter.rank, inputs), f"{stem}.lora_B.weight": (outputs, adapter.rank)}

    def merge(tensors: Sequence[Tensor], dtype: torch.dtype) -> Sequence[Tensor]:
        weight, down, up = tensors
        return (merged(weight, up, down, adapter.scaling, dtype),)

    def part(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Leaves the merged adapter in the weight, and gives an adapter of zeros beside it."""
        return [tensors[0], *(tensors[0].new_zeros(half) for half in halves.values())]

    return Rule(published={published: shape, **halves}, ours=(ours,), fold=merge, unfold=part)
