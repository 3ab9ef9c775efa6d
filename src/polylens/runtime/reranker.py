"""`polylens.load_reranker` and the `Reranker` that it returns: a query and documents in, the best documents first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import PIL.Image
import torch

from polylens.checkpoints.fetch import resolve
from polylens.checkpoints.loading import load_model, load_scorer, read_header
from polylens.errors import ImageError, InputError
from polylens.media.image import read_image
from polylens.models.description import Header
from polylens.models.protocol import Item, Modality, Scorer, Side
from polylens.runtime.batching import TOKEN_BUDGET, batches
from polylens.runtime.devices import choose_device, choose_dtype
from polylens.runtime.embedder import Embedder, model_stem
from polylens.runtime.engines.choice import model_id
from polylens.runtime.engines.protocol import Engine
from polylens.runtime.engines.torch import TorchEngine
from polylens.runtime.prepare import Input, require_unicode
from polylens.runtime.progress import progress_bar
from polylens.types import FloatArray, Image, RankedDocument

WINDOW_PAIRS = 32  # pairs whose pixels are held at once: 14 MB per image at jina-reranker-m0's largest size

Pair = tuple[Input, Input]
"""A query and a document."""


def load_reranker(
    name: str | Path = "nano",
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
) -> Reranker:
    """Loads a reranker: a model trained to score pairs, or any other model, whose vectors are then compared.

    Args:
        name: A name from the catalog ("jinaai/jina-reranker-m0", "nano"), or a folder in the official layout.
        device: As for `load`.
        dtype: As for `load`.
        revision: As for `load`.
        local_files_only: As for `load`.

    Raises:
        ModelNotFoundError: Neither the catalog nor the disk has this name.
        HubUnavailableError: The weights are not on this machine and cannot be fetched.
        CheckpointError: The files of the checkpoint are broken or do not belong together.
        InputError: The model cannot run on this device or in this dtype.

    Example:
        >>> import polylens
        >>> reranker = polylens.load_reranker("nano")  # doctest: +SKIP
        >>> reranker.rerank("harbour dues", ["Fishing", "Fees in the port"])[0].index  # doctest: +SKIP
        1
    """
    folder = resolve(name, revision=revision, local_files_only=local_files_only)
    target = choose_device(device)
    header = read_header(folder)
    held_in = choose_dtype(dtype, target, float16_overflows=header.family.overflows_in_float16)
    if "score" in header.family.outputs:
        return PairReranker(header, load_scorer(header, device=target, dtype=held_in), model_stem(name))
    model = load_model(header, device=target, dtype=held_in)
    return VectorReranker(Embedder(header, model, model_id(model_stem(name), header, None)))


@dataclass(frozen=True, kw_only=True, slots=True)
class PairOptions:
    """How pairs are prepared and batched; None is the model's own limit."""

    max_length: int | None = None
    """Tokens of a pair."""
    max_query_length: int | None = None
    """Tokens of a query."""
    max_doc_length: int | None = None
    """Tokens at which a document is cut."""
    max_pixels: int | None = None
    """Area to which an image is shrunk."""
    batch_size: int | None = None
    """Pairs per batch; None leaves only the number of tokens per batch."""

    def __post_init__(self) -> None:
        for name in ("max_length", "max_query_length", "max_doc_length", "max_pixels", "batch_size"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise InputError(f"{name} must be a whole number above 0, got {value!r}")


class Reranker(ABC):
    """Orders documents by how well they answer a query. Texts and images may stand on either side, mixed.

    Attributes:
        model_id: Name and fingerprint of the weights.
        modalities: "text", "image" or both.
        outputs: How documents are scored: "score" by a model trained for it, "multi" by MaxSim, "dense" by the cosine.
    """

    model_id: str
    modalities: tuple[Modality, ...]
    outputs: Literal["score", "multi", "dense"]

    def rerank(
        self,
        query: Input,
        documents: Sequence[Input],
        *,
        top_n: int | None = None,
        batch_size: int | None = None,
        max_length: int | None = None,
        max_query_length: int | None = None,
        max_doc_length: int | None = None,
        max_pixels: int | None = None,
        show_progress: bool = False,
    ) -> list[RankedDocument]:
        """Ranks documents by their relevance to a query.

        Args:
            query: A `str` is a text, a `polylens.Image` or a `PIL.Image` is an image.
            documents: Of the same kinds, mixed as they come.
            top_n: How many of the best to return; None returns all.
            batch_size: Most pairs per batch; None leaves only the number of tokens per batch.
            max_length: Tokens of a pair; None is the model's limit, 10,240 for jina-reranker-m0.
            max_query_length: Tokens of the query; None is the model's own way.
            max_doc_length: Tokens after which a document's text is cut; None is the model's own limit.
            max_pixels: Area to which an image is shrunk; None is the model's own.
            show_progress: Shows a progress bar on stderr, if it is a terminal.

        Returns:
            The documents' places and scores, best first; equal scores keep the order of the input.

        Raises:
            InputError: An input cannot be read; the message names the document.
        """
        if top_n is not None and top_n < 1:
            raise InputError(f"top_n must be at least 1, got {top_n}")
        if isinstance(documents, (str, Image, PIL.Image.Image)):
            raise InputError("documents must be a list; to score one document, put it into one")
        options = PairOptions(
            max_length=max_length,
            max_query_length=max_query_length,
            max_doc_length=max_doc_length,
            max_pixels=max_pixels,
            batch_size=batch_size,
        )
        with progress_bar(len(documents), show_progress) as progress:
            scores = self.score([(query, document) for document in documents], options, progress)
        best = np.argsort(-scores, kind="stable")[:top_n]
        return [RankedDocument(int(index), float(scores[index])) for index in best]

    def compute_score(
        self,
        pairs: Sequence[Sequence[Input]] | Sequence[Input],
        batch_size: int = 8,
        max_length: int | None = None,
        max_query_length: int | None = None,
        max_doc_length: int | None = None,
        query_type: Modality = "text",
        doc_type: Modality = "text",
        show_progress: bool = False,
    ) -> float | list[float]:
        """Scores pairs of a query and a document, with the interface of the published jina-reranker-m0.

        Args:
            pairs: One `[query, document]`, or a list of them. A `polylens.Image` or a `PIL.Image` is an image; a `str`
                is what `query_type` or `doc_type` says.
            batch_size: Most pairs per batch.
            max_length: As for `rerank`.
            max_query_length: As for `rerank`.
            max_doc_length: As for `rerank`.
            query_type: What a `str` on the left is: "text", or "image" for a path, a URL or a `data:` URI.
            doc_type: The same for the right.
            show_progress: As for `rerank`.

        Returns:
            A number where there is one pair, otherwise a list with one per pair.

        Raises:
            InputError: The pairs are not pairs, or an input cannot be read.
        """
        for name, kind in (("query_type", query_type), ("doc_type", doc_type)):
            if kind not in get_args(Modality):
                raise InputError(f"{name} must be one of {', '.join(get_args(Modality))}, got {kind!r}")
        listed = [pairs] if len(pairs) == 2 and isinstance(pairs[0], (str, Image, PIL.Image.Image)) else pairs
        typed: list[Pair] = []
        for index, pair in enumerate(cast("Sequence[Sequence[Input]]", listed)):
            if isinstance(pair, (str, Image, PIL.Image.Image)) or len(pair) != 2:
                raise InputError(f"pair {index} must be a query and a document, got {type(pair).__name__}")
            typed.append((_typed(pair[0], query_type), _typed(pair[1], doc_type)))
        options = PairOptions(
            max_length=max_length,
            max_query_length=max_query_length,
            max_doc_length=max_doc_length,
            batch_size=batch_size,
        )
        with progress_bar(len(typed), show_progress) as progress:
            scores = self.score(typed, options, progress)
        return float(scores[0]) if len(typed) == 1 else [float(score) for score in scores]

    @abstractmethod
    def score(
        self, pairs: Sequence[Pair], options: PairOptions, progress: Callable[[int], None] = lambda _: None
    ) -> FloatArray:
        """Scores pairs, `[N]` in input order.

        Args:
            pairs: The pairs; one that is the same object in several is prepared once.
            options: How they are prepared and batched.
            progress: Called with the number of pairs that each batch finished.
        """


class PairReranker(Reranker):
    """A model that reads query and document together and gives one score.

    Args:
        header: The checkpoint without its weights.
        model: The network with its weights.
        name: What to call the model.
    """

    outputs = "score"

    def __init__(self, header: Header, model: Scorer, name: str) -> None:
        self.engine: Engine = TorchEngine(model)
        self.processor = header.pairs
        self.modalities = header.modalities
        self.model_id = model_id(name, header, None)

    def score(
        self, pairs: Sequence[Pair], options: PairOptions, progress: Callable[[int], None] = lambda _: None
    ) -> FloatArray:
        """Scores pairs window by window, each window in batches of similar size; see `Reranker.score`."""
        scores = np.zeros(len(pairs), dtype=np.float32)
        for start in range(0, len(pairs), WINDOW_PAIRS):
            window = range(start, min(start + WINDOW_PAIRS, len(pairs)))
            items = self._items([pairs[index] for index in window], start, options)
            sizes = [item.num_tokens for item in items]
            for batch in batches(sizes, max_items=options.batch_size, token_budget=TOKEN_BUDGET):
                scores[[start + index for index in batch]] = self.engine.score([items[index] for index in batch])
                progress(len(batch))
        return scores

    def _items(self, pairs: Sequence[Pair], start: int, options: PairOptions) -> list[Item]:
        queries: dict[int, Side] = {}
        documents: dict[int, Side] = {}
        items = []
        for index, (query, document) in enumerate(pairs, start):
            if id(query) not in queries:
                value = read_input(query, "query", index, self.modalities)
                queries[id(query)] = self.processor.query(
                    value, max_length=options.max_query_length, max_pixels=options.max_pixels
                )
            if id(document) not in documents:
                value = read_input(document, "document", index, self.modalities)
                documents[id(document)] = self.processor.document(
                    value, max_length=self._document_length(options), max_pixels=options.max_pixels
                )
            sides = queries[id(query)], documents[id(document)]
            items.append(self.processor.pair(*sides, max_length=options.max_length))
        return items

    def _document_length(self, options: PairOptions) -> int | None:
        """Tokens at which a document is cut: by default, what a pair may have without those kept for the query."""
        if options.max_doc_length is not None or (options.max_length is None and options.max_query_length is None):
            return options.max_doc_length
        pair = options.max_length or self.processor.max_length
        return max(1, pair - (options.max_query_length or self.processor.max_query_length))


class VectorReranker(Reranker):
    """A model that embeds query and document apart: the score is MaxSim per query token, or the cosine.

    Args:
        embedder: The model. Queries and documents get the prompts of `retrieval`, if it has any.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.modalities = embedder.modalities
        self.model_id = embedder.model_id
        self.outputs = "multi" if embedder.multivector_dim is not None else "dense"

    def score(
        self, pairs: Sequence[Pair], options: PairOptions, progress: Callable[[int], None] = lambda _: None
    ) -> FloatArray:
        """Embeds each distinct input once and compares; see `Reranker.score`."""
        task = "retrieval" if self.embedder.tasks else None
        sides = []
        for name, side, limit in (
            ("query", 0, options.max_query_length or options.max_length),
            ("passage", 1, options.max_doc_length or options.max_length),
        ):
            distinct = {id(pair[side]): pair[side] for pair in pairs}
            found = self.embedder.embed(
                list(distinct.values()),
                task=task,
                prompt_name=name if task is not None else None,
                max_length=limit,
                max_pixels=options.max_pixels,
                batch_size=options.batch_size,
            )
            sides.append(dict(zip(distinct, found, strict=True)))
        queries, documents = sides
        scores = np.zeros(len(pairs), dtype=np.float32)
        for index, (query, document) in enumerate(pairs):
            left, right = queries[id(query)], documents[id(document)]
            cosines = left.multivector @ right.multivector.T  # without late interaction, one row each: the cosine
            scores[index] = cosines.max(axis=1).mean()
            progress(1)
        return scores


def read_input(
    value: Input, side: Literal["query", "document"], index: int, modalities: Sequence[Modality]
) -> str | PIL.Image.Image:
    """Returns a text as it is, and an image as RGB pixels.

    Args:
        value: One side of a pair.
        side: Which side, for error messages.
        index: The number of the pair, for error messages.
        modalities: What the model accepts.

    Raises:
        InputError: The model does not accept such an input, or it cannot be read.
    """
    if not isinstance(value, (str, Image, PIL.Image.Image)):
        raise InputError(
            f"{side} {index} must be a str, a polylens.Image or a PIL.Image, got {type(value).__name__}; "
            "wrap image paths and bytes in polylens.Image(...)"
        )
    modality: Modality = "text" if isinstance(value, str) else "image"
    if modality not in modalities:
        raise InputError(f"{side} {index} is {modality}, this model accepts {' and '.join(modalities)} only")
    if isinstance(value, str):
        require_unicode(value, index)
        return value
    try:
        return read_image(value, index=index)
    except ImageError as error:
        raise ImageError(f"{side}: {error.message}", index) from error


def _typed(value: Input, kind: Modality) -> Input:
    """A `str` of an image's place becomes an image; everything else stays what it is."""
    return Image(value) if isinstance(value, str) and kind == "image" else value
