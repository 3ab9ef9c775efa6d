"""sentence-transformers: a model as its `SentenceTransformer` or `MultiVectorEncoder`.

`pip install 'polylens[sentence-transformers]'`.

>>> model = sentence_transformer("nano")  # doctest: +SKIP
>>> model.similarity(model.encode_query(["port fees"]), model.encode_document(["Fees in the port"]))  # doctest: +SKIP

Both are the package's own classes, around one module of ours, so whatever takes such an object takes these. `save`
writes a folder that names our class: since version 6.0, sentence-transformers reads it back only with
`trust_remote_code=True`, although the code is that of the installed polylens. `polylens convert --format
sentence-transformers` writes a folder that needs neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor, nn

try:
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    from sentence_transformers.base.modules import InputModule
except ImportError as error:
    raise ImportError(
        "this needs sentence-transformers 6 or later: pip install 'polylens[sentence-transformers]'"
    ) from error

from polylens.errors import CheckpointError, InputError
from polylens.nn.pooling import truncate
from polylens.runtime.embedder import Embedder, load
from polylens.runtime.options import EncodeOptions
from polylens.runtime.prepare import Input
from polylens.types import Embedding, Image

SIDES = {"query": "query", "document": "passage"}
"""What the package calls the two sides, and what we do."""


def sentence_transformer(
    model: str | Path | Embedder = "nano",
    *,
    task: str | None = None,
    truncate_dim: int | None = None,
    max_length: int | None = None,
    max_pixels: int | None = None,
    prompts: dict[str, str] | None = None,
) -> SentenceTransformer:
    """Makes a `SentenceTransformer` that gives the model's dense vectors.

    `encode_query` and `encode_document` take the model's prompts of a query and of a passage; `encode` takes that of
    its `task=`, which may be any that `Embedder.encode_text` knows, such as "retrieval.passage". An input is a `str`,
    always a text; a `PIL.Image` or a `polylens.Image`; or `{"text": ...}` or `{"image": ...}`, whose image may be a
    path, bytes or a URL. The package refuses a batch that mixes the kinds.

    Args:
        model: The model from `polylens.load`, or what to load: a name or a folder.
        task: Task of every call that names none, without its prompt; None is retrieval for queries and documents, and
            for `encode` the model's default.
        truncate_dim: As in `Embedder.encode_text`: the vectors are cut and normalised again.
            `encode(truncate_dim=...)`, which is the package's own, also cuts, and normalises only with
            `normalize_embeddings=True`.
        max_length: As in `Embedder.encode_text`.
        max_pixels: As in `Embedder.encode_image`.
        prompts: Further instructions by name, for `encode(prompt_name=...)`. One stands in front of the text, behind
            the model's own prompt, as does `encode(prompt=...)`.

    Raises:
        InputError: An argument cannot be used; the message says which values can.
    """
    module = PolylensModule(model, task=task, truncate_dim=truncate_dim, max_length=max_length, max_pixels=max_pixels)
    return SentenceTransformer(modules=[module], device=str(module.device), prompts=prompts)


def multi_vector_encoder(
    model: str | Path | Embedder = "nano",
    *,
    task: str | None = None,
    max_length: int | None = None,
    max_pixels: int | None = None,
    prompts: dict[str, str] | None = None,
) -> MultiVectorEncoder:
    """Makes a `MultiVectorEncoder` that gives the model's multi-vectors, which `similarity` compares by MaxSim.

    Arguments and inputs are those of `sentence_transformer`.

    Raises:
        InputError: The model has no multi-vectors, or an argument cannot be used.
    """
    module = PolylensModule(model, task=task, max_length=max_length, max_pixels=max_pixels, multivector=True)
    return MultiVectorEncoder(modules=[module], device=str(module.device), prompts=prompts)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Inputs on their way from `preprocess` to `forward`; the embedder prepares them in its own threads."""

    inputs: list[Input]
    task: str | None
    prompt_name: str | None


class PolylensModule(InputModule):  # type: ignore[misc]  # mypy does not follow the package
    """The one module of both: inputs in, dense vectors and multi-vectors out. It computes and cannot be trained.

    Args:
        model: As for `sentence_transformer`, and so are the following four.
        task: See there.
        truncate_dim: See there.
        max_length: See there.
        max_pixels: See there.
        multivector: Whether the multi-vectors are what is wanted, so that a model without them is refused.
        model_id: The id that the model must have; None takes any.

    Raises:
        InputError: An argument cannot be used.
        CheckpointError: The model has another id.
    """

    config_keys = ("model", "model_id", "task", "truncate_dim", "max_length", "max_pixels", "multivector")
    save_in_root = False

    def __init__(
        self,
        model: str | Path | Embedder,
        *,
        task: str | None = None,
        truncate_dim: int | None = None,
        max_length: int | None = None,
        max_pixels: int | None = None,
        multivector: bool = False,
        model_id: str | None = None,
    ) -> None:
        super().__init__()
        embedder = model if isinstance(model, Embedder) else load(model)
        if model_id not in (None, embedder.model_id):
            raise CheckpointError(
                f"the saved folder was made with {model_id}, and {model} is {embedder.model_id} here: vectors of the "
                "two cannot be compared"
            )
        if task is not None and task not in embedder.tasks:
            known = ", ".join(embedder.tasks) or "left out, because this model has none"
            raise InputError(
                f"task must be {known}, got {task!r}; its prompt is chosen by encode_query and encode_document"
            )
        options = EncodeOptions(task=task, truncate_dim=truncate_dim, max_length=max_length, max_pixels=max_pixels)
        options.require_outputs(embedder.matryoshka_dims, embedder.multivector_dim)
        if multivector and embedder.multivector_dim is None:
            raise InputError(f"{embedder.model_id} has no multi-vectors; sentence_transformer gives its dense vectors")
        self.embedder = embedder
        self.network: nn.Module = embedder.model  # type: ignore[assignment]  # every family's model is a module
        self.tokenizer = embedder.processor.tokenizer
        self.model = None if isinstance(model, Embedder) else _name(model)
        self.model_id = embedder.model_id
        self.task, self.truncate_dim, self.multivector = task, truncate_dim, multivector
        self.max_length, self.max_pixels = max_length, max_pixels

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        return next(self.network.parameters()).device

    @property
    def modalities(self) -> list[str]:
        return list(self.embedder.modalities)

    @property
    def max_seq_length(self) -> int | None:
        """Tokens at which a text is cut; None is the model's own limit."""
        return self.max_length

    @max_seq_length.setter
    def max_seq_length(self, value: int | None) -> None:
        self.max_length = EncodeOptions(max_length=value).max_length

    def get_embedding_dimension(self) -> int:
        """Width of the vectors: of each vector of a multi-vector, or of a dense vector as it is cut."""
        if self.multivector:
            assert self.embedder.multivector_dim is not None
            return self.embedder.multivector_dim
        return self.truncate_dim or self.embedder.dim

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, task: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Gathers a batch for `forward`.

        Args:
            inputs: As for `sentence_transformer`.
            prompt: What is put in front of each text.
            task: "query" and "document" choose the prompt of the module's task; anything else is a task itself.
            options: Others are refused.

        Raises:
            InputError: An input or an option cannot be used.
        """
        if options:
            raise InputError(f"this module takes inputs, a prompt and a task, and not {', '.join(options)}")
        side = SIDES.get(task or "")
        chosen = task if task is not None and side is None else self.task
        if side is not None and chosen is None:  # as everywhere in polylens, for models that know retrieval
            chosen, side = ("retrieval", side) if "retrieval" in self.embedder.tasks else (None, None)
        read = [_read(value, index, prompt or "") for index, value in enumerate(inputs)]
        return {"batch": _Batch(read, chosen, side)}

    def forward(self, features: dict[str, Any], **_options: Any) -> dict[str, Any]:
        """Computes a batch of `preprocess`.

        Returns:
            The features with `sentence_embedding`, `[N, dim]`; `token_embeddings`, `[N, T, E]`, with zeros behind the
            vectors of shorter inputs; and `attention_mask`, `[N, T]`, which is 1 where there is a vector. All float32.
        """
        batch: _Batch = features["batch"]
        found = self.embedder.embed(
            batch.inputs,
            task=batch.task,
            prompt_name=batch.prompt_name,
            max_length=self.max_length,
            max_pixels=self.max_pixels,
        )
        dense = torch.from_numpy(np.stack([each.dense for each in found]))
        features["sentence_embedding"] = (
            dense if self.truncate_dim is None else truncate(dense, self.truncate_dim)
        ).to(self.device)
        features["token_embeddings"], features["attention_mask"] = _padded(found, self.device)
        return features

    def save(self, output_path: str, *_args: Any, safe_serialization: bool = True, **_options: Any) -> None:
        """Writes which model this is and how it is asked, without its weights.

        Raises:
            InputError: The module was made from a loaded model, so nothing says where it came from.
        """
        del safe_serialization
        if self.model is None:
            raise InputError(
                "this was made from a model that was loaded already; to save it, make it from the model's name or "
                "folder"
            )
        self.save_config(output_path)


def _name(model: str | Path) -> str:
    """What to load again later, from whichever folder: a name, or a whole path."""
    folder = Path(model).expanduser()
    return str(folder.resolve()) if folder.is_dir() else str(model)


def _read(value: Any, index: int, prompt: str) -> Input:
    """One input of the package's as ours."""
    if isinstance(value, dict):
        if set(value) == {"image"}:
            image = value["image"]
            return image if isinstance(image, (Image, PIL.Image.Image)) else Image(image)
        if set(value) == {"text"}:
            value = value["text"]
    if isinstance(value, str):
        return prompt + value
    if isinstance(value, (Image, PIL.Image.Image)):
        return value
    got = f"a dict of {', '.join(map(repr, value))}" if isinstance(value, dict) else type(value).__name__
    raise InputError(
        f'input {index} must be a str, a PIL.Image, a polylens.Image, {{"text": ...}} or {{"image": ...}}, got {got}'
    )


def _padded(found: Sequence[Embedding], device: torch.device) -> tuple[Tensor, Tensor]:
    rows = [torch.from_numpy(each.multivector) for each in found]
    tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(each) for each in rows])
    mask = torch.arange(tokens.shape[1])[None] < lengths[:, None]
    return tokens.to(device), mask.long().to(device)
