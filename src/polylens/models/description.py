"""The description of a model family: its files, its outputs, how its tokens are counted, and how results are explained.

A family is one folder with a `FAMILY`, and one line in `models/family.py`. Loading, export, the server's token
accounting, heat maps and training ask the family; none of them knows one by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from torch import Tensor, nn

from polylens.errors import InputError
from polylens.models.padded import PaddedNetwork
from polylens.models.protocol import Modality, Model, PairProcessor, Processor
from polylens.models.rules import Rule

Output = Literal["dense", "multi", "score"]
"""An output of a model: one vector per input, one vector per token, or one number per pair of inputs."""

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """How the published HTTP interface treats a model: its default task, and how it counts images."""

    default_task: str | None = None
    ignored_tasks: tuple[str, ...] = ()
    """Tasks that are accepted and mean the same as none."""
    tile: int = 0
    """Pixels per side of the squares by which images are counted; 0 where no rule is published, see
    `Header.image_tokens`."""
    tile_tokens: int = 0
    """Tokens per square."""
    unit_vectors_in_batch_jobs: bool = True
    """Whether SageMaker's form returns unit vectors."""

    def image_tokens(self, width: int, height: int) -> int:
        """Tokens that `usage` counts for an image: a fixed number per tile that it covers, at the size it came in.

        Example:
            >>> clip = Usage(tile=512, tile_tokens=4_000)
            >>> clip.image_tokens(720, 720), clip.image_tokens(333, 333)
            (16000, 4000)
        """
        return math.ceil(width / self.tile) * math.ceil(height / self.tile) * self.tile_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """A checkpoint without its weights: everything that its small files say."""

    family: Family
    folder: Path
    config: Any
    """The family's own configuration."""
    processing: Processor | PairProcessor
    """Tokens and pixels; `processor` and `pairs` are the same object, as the one or the other kind."""
    dim: int
    """Width of the dense vectors; 0 for a model that only scores pairs."""
    matryoshka_dims: tuple[int, ...]
    """Widths to which the dense vectors may be truncated."""
    multivector_dim: int | None
    """Width of each vector of a multi-vector; None where there is no late interaction."""
    modalities: tuple[Modality, ...]
    """Kinds of input that the loaded model takes."""
    context: int
    """Tokens of the longest text."""
    usage: Usage
    has_towers: bool = False
    """Whether texts and images each have a network of their own, so that one may be loaded without the other."""
    fingerprint: str = ""
    """Twelve hexadecimal digits that change when the weights do."""
    base: Path | None = None
    """Folder of the base model where `folder` holds an adapter alone; None for a checkpoint that is whole."""

    @property
    def config_file(self) -> Path:
        """The path of `config.json`, which an adapter leaves to its base model."""
        return (self.base or self.folder) / "config.json"

    def image_tokens(self, width: int, height: int) -> int:
        """Tokens that `usage` counts for an image: by the published rule, else as many as the model reads.

        Args:
            width: Pixels of the image as it came.
            height: Pixels of the image as it came.

        Raises:
            ImageError: No image may have such a shape.
        """
        if self.usage.tile:
            return self.usage.image_tokens(width, height)
        return self.processing.num_image_tokens(width, height)

    @property
    def processor(self) -> Processor:
        """The processing of a model that produces vectors.

        Raises:
            InputError: The model only scores pairs.
        """
        if not self.family.embeds:
            raise InputError(
                "this model is a reranker: it scores pairs of inputs and produces no vectors; use it with "
                "load_reranker, or `polylens rerank`"
            )
        return cast("Processor", self.processing)

    @property
    def sight(self) -> Sight | None:
        """The places of its vectors; None for a model whose vectors belong to no place in an image."""
        return None if self.family.heat_maps is None else Sight(self.processor, self.family.heat_maps)

    @property
    def pairs(self) -> PairProcessor:
        """The processing of a reranker.

        Raises:
            InputError: The model does not score pairs.
        """
        if not self.family.scores:
            raise InputError("this model produces vectors and does not score pairs of inputs")
        return cast("PairProcessor", self.processing)


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightPart:
    """A part of a checkpoint's tensors, and the rules by which they become parameters."""

    rules: Sequence[Rule]
    file: str | None = None
    """Path below the folder; None means the checkpoint's main weights, in one file or in shards. The main weights of an
    adapter are its own and those of its base model."""
    skipped: tuple[str, ...] = ()
    """Prefixes of the names that are left unread on purpose."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtraFiles:
    """Files that only this family has, by their path below the folder."""

    tensors: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    """Safetensors files: path -> published name -> tensor."""
    json: Mapping[str, Json | Sequence[Json]] = field(default_factory=dict)
    text: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiVectorHead:
    """What turns the hidden states of a merged checkpoint into multi-vectors; the stock network has no place for it."""

    tensors: Mapping[str, Tensor]
    """The projection by published name, float32, with the task's adapter merged."""
    architecture: str
    """Name under which vLLM knows a network with this head, through a plug-in."""
    chat_template: str
    """Jinja template by which that network is given the published prompt of an image."""
    prompts: Mapping[str, str]
    """What stands in front of a text of this task: of a "query", and of a "document"."""
    image_prompt: str
    """What stands around an image, with `image_token` once in its place."""
    image_token: str
    """The placeholder of a visual token."""
    pad_token: str
    """What fills up the shorter texts of a batch; it has no effect on them."""
    max_length: int
    """Tokens after which a text is cut."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A checkpoint as files: what `export` writes and the same family reads again."""

    tensors: Mapping[str, Tensor]
    """The main weights, by published name."""
    config: Json
    """`config.json`."""
    tokenizer: Tokenizer
    preprocessor: Json | None = None
    """`preprocessor_config.json`; None for a model that takes no images."""
    extra: ExtraFiles = field(default_factory=ExtraFiles)
    multivector: MultiVectorHead | None = None
    """The head that belongs to a merged checkpoint; None for other layouts, which have it in their tensors."""


@dataclass(frozen=True, slots=True)
class HeatGrid:
    """Where the tokens of an image lie on it, for heat maps of their similarity to a query."""

    rows: int
    columns: int
    tokens: npt.NDArray[np.int64]
    """`[rows * columns]`: positions in the item's multi-vector, row by row from the top left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeatMaps:
    """How a family's multi-vectors map to places in an image and in a query, to show why a page was found."""

    grid: Callable[[Processor, int, int], HeatGrid]
    """Width and height of an image in pixels, as it comes -> where its tokens lie on it."""
    spans: Callable[[Processor, str, str], Sequence[tuple[int, int]]]
    """Query and prompt as `Processor.text` takes them -> first character and one past the last of the query for each
    token of its item; an empty span for the prompt and for marks."""


@dataclass(frozen=True, slots=True)
class Sight:
    """The places of a checkpoint's token vectors: those of an image on it, those of a query in its text."""

    processor: Processor
    heat_maps: HeatMaps

    def grid(self, width: int, height: int) -> HeatGrid:
        """Returns where the tokens of an image of this size, in pixels, lie on it."""
        return self.heat_maps.grid(self.processor, width, height)

    def spans(self, query: str) -> Sequence[tuple[int, int]]:
        """Returns the characters of a query that each of its tokens stands for; an empty span for the prompt's."""
        _, prompt = self.processor.role("retrieval", "query")
        return self.heat_maps.spans(self.processor, query, prompt)


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapters:
    """What a family with one LoRA adapter per task needs to be fine-tuned, and to have a task merged into its weights.

    The parameters of a task's adapter are those whose names end in `lora_a.TASK` and `lora_b.TASK`.
    """

    files: Callable[[Model], ExtraFiles]
    """Model -> its adapters, in the dtype of its backbone; fine-tuning writes them beside the base model's files."""
    merged: Callable[[Model, Processor, str], Layout]
    """Model, processor and task -> a checkpoint with the task's adapter merged, in the layout of the stock network that
    other engines serve."""


@dataclass(frozen=True, slots=True)
class TowerPart:
    """A part of a model that an engine may compile: a `protocol.Tower`."""

    name: str
    """The attribute of the model; it is None in a model that was loaded without this tower."""
    one_length: bool = False
    """Whether all its sequences have the same length, as images at one size do."""
    any_image: bool = False
    """Whether its sequences are the patches of images of any size."""
    causal: bool = False
    """Whether a token sees only those before it and itself. Such a tower reads texts and images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseModels:
    """How a family reads a folder that holds an adapter alone, as PEFT saves it; its base model lies in another."""

    model_types: tuple[str, ...]
    """Values of `model_type` in the base model's `config.json`."""
    claims: Callable[[Json, Json], bool]
    """The base model's `config.json` and `adapter_config.json` -> whether the two are one of this family."""
    read: Callable[[Path, Path, Json, Json], Header]
    """The adapter's folder, the base model's, and those two files -> the header, without fingerprint and base."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A network, its processing, and its published layout."""

    name: str
    """Name of its folder in `polylens.models`."""
    model_types: tuple[str, ...]
    """Values of `model_type` in `config.json` that belong to it, for error messages."""
    outputs: frozenset[Output]
    claims: Callable[[Json], bool]
    """`config.json` -> whether the checkpoint is one of this family."""
    read: Callable[[Path, Json], Header]
    """Folder and its `config.json` -> the header, without the fingerprint, with every modality of the checkpoint."""
    build: Callable[[Header], nn.Module]
    """Header -> the network with empty parameters, a `protocol.Model` or `Scorer`; called on the meta device."""
    weights: Callable[[Header, nn.Module, frozenset[str]], Sequence[WeightPart]]
    """Header, the empty network and the published names of its tensors -> where its parameters come from."""
    layout: Callable[[Model, Processor, Mapping[str, float]], Layout] | None = None
    """Model, processor and `scalars` -> the published layout; None for a family that is only read."""
    scalars: tuple[str, ...] = ()
    """Published tensors of one number that only training uses, such as CLIP's logit scale."""
    identifying: tuple[str, ...] = ()
    """Small files whose content enters the fingerprint, besides `config.json`, `preprocessor_config.json` and
    `tokenizer.json`."""
    weight_files: tuple[str, ...] = ()
    """Files of weights besides the main ones."""
    overflows_in_float16: bool = False
    """Whether its activations exceed 65,504, the largest float16."""
    heat_maps: HeatMaps | None = None
    """None for a family whose vectors belong to no place in an image."""
    towers: tuple[TowerPart, ...] = ()
    """What an engine may compile; empty for a family that only the torch engine runs."""
    padded: Callable[[Model, Processor, str | None], Sequence[PaddedNetwork]] | None = None
    """Model in float32, processor and task -> its networks over padded batches, with the task's adapter merged into the
    model's weights; None for a family that is not written as graphs."""
    adapters: Adapters | None = None
    """None for a family without adapters that can be trained."""
    bases: BaseModels | None = None
    """None for a family whose checkpoints are always whole."""

    @property
    def embeds(self) -> bool:
        """Whether the family produces vectors: one per input, one per token, or both."""
        return not self.outputs.isdisjoint({"dense", "multi"})

    @property
    def scores(self) -> bool:
        """Whether the family scores pairs of inputs, as a reranker does."""
        return "score" in self.outputs
