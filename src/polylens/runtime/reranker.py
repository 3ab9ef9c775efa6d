"""`polylens.load_reranker` and the `Reranker` that it returns: a query and documents in, the best documents first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import PIL.Image
import torch

from polylens.checkpoints.fetch import resolve
from polylens.checkpoints.loading import load_model, load_scorer, read_header
from polylens.errors import ImageError, InputError
from polylens.models.description import Header
from polylens.models.protocol import Item, Modality, Scorer, Side
from polylens.runtime.batching import batches, token_budget
from polylens.runtime.devices import choose_device, choose_dtype
from polylens.runtime.embedder import Embedder
from polylens.runtime.engines.choice import model_id, model_stem
from polylens.runtime.engines.protocol import Engine
from polylens.runtime.engines.torch import TorchEngine
from polylens.runtime.memory import bound_compiled_products
from polylens.runtime.options import as_list
from polylens.runtime.pairs import (
    Pair,
    PairOptions,
    Query,
    SideName,
    document_limit,
    join,
    naming,
    prepare_document,
    prepare_query,
    require_count,
    require_pairs,
    windows,
)
from polylens.runtime.prefetch import read_ahead
from polylens.runtime.prepare import AHEAD_BYTES, Input, item_bytes
from polylens.runtime.progress import progress_bar
from polylens.types import Embedding, FloatArray, Image, RankedDocument


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
        >>> reranker.rerank("port fees", ["Fishing", "Fees in the port"])[0].index  # doctest: +SKIP
        1
    """
    bound_compiled_products()
    folder = resolve(name, revision=revision, local_files_only=local_files_only)
    target = choose_device(device)
    header = read_header(folder)
    held_in = choose_dtype(dtype, target, float16_overflows=header.family.overflows_in_float16)
    if header.family.scores:
        return PairReranker(header, load_scorer(header, device=target, dtype=held_in), model_stem(name))
    model = load_model(header, device=target, dtype=held_in)
    return VectorReranker(Embedder(header, model, model_id(model_stem(name), header, None)))


class Reranker(ABC):
    """Orders documents by how well they answer a query. Texts and images may stand on either side, mixed.

    Attributes:
        model_id: Name and fingerprint of the weights.
        modalities: "text", "image" or both.
        max_pixels: Largest area of an image that the model looks at, unless a call names another.
        outputs: How documents are scored: "score" by a model trained for it, "multi" by MaxSim, "dense" by the cosine.
    """

    model_id: str
    modalities: tuple[Modality, ...]
    max_pixels: int
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
            max_doc_length: Tokens at which a document's text is cut; None is what a pair may have without those that
                are kept for the query.
            max_pixels: Area to which an image is shrunk; None is the model's own.
            show_progress: Shows a progress bar on stderr, if it is a terminal.

        Returns:
            The documents' places and scores, best first; equal scores keep the order of the input.

        Raises:
            InputError: An input cannot be used, or an option; the message names the document or the option.
        """
        require_count(top_n, "top_n")
        if isinstance(documents, (str, Image, PIL.Image.Image)):
            raise InputError("documents must be a list; to score one document, put it into one")
        documents = as_list(documents, False, "documents must be a list")
        options = PairOptions(
            max_length=max_length,
            max_query_length=max_query_length,
            max_doc_length=max_doc_length,
            max_pixels=max_pixels,
            batch_size=batch_size,
        )
        with progress_bar(len(documents), show_progress, "scoring") as progress:
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
        typed = _typed_pairs(pairs, query_type, doc_type)
        options = PairOptions(
            max_length=max_length,
            max_query_length=max_query_length,
            max_doc_length=max_doc_length,
            batch_size=batch_size,
        )
        with progress_bar(len(typed), show_progress, "scoring") as progress:
            scores = self.score(typed, options, progress)
        return float(scores[0]) if len(typed) == 1 else [float(score) for score in scores]

    def score(
        self, pairs: Sequence[Pair], options: PairOptions, progress: Callable[[int], None] = lambda _: None
    ) -> FloatArray:
        """Scores pairs, `[N]` in input order.

        Args:
            pairs: The pairs. An input that is the same object in several of them is prepared once, as far as they are
                close to each other; a query that follows itself always is.
            options: How they are prepared and batched.
            progress: Called with numbers of finished pairs, which add up to all of them.

        Raises:
            InputError: An input cannot be used; the message names the query or the document.
        """
        require_pairs(pairs, self.modalities)
        return self._score(pairs, options, progress)

    @abstractmethod
    def _score(self, pairs: Sequence[Pair], options: PairOptions, progress: Callable[[int], None]) -> FloatArray:
        """Scores pairs that have been checked; see `score`."""


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
        self._device = next(iter(model.named_parameters()))[1].device
        self.processor = header.pairs
        self.modalities = header.modalities
        self.max_pixels = header.pairs.max_pixels
        self.model_id = model_id(name, header, None)

    def _score(self, pairs: Sequence[Pair], options: PairOptions, progress: Callable[[int], None]) -> FloatArray:
        """Scores window by window, so that a thousand pages do not fill the memory, and prepares the next meanwhile."""
        scores = np.zeros(len(pairs), dtype=np.float32)
        start = 0
        windowed = self._windows(pairs, options)
        with read_ahead(windowed, nbytes=lambda items: sum(map(item_bytes, items)), max_bytes=AHEAD_BYTES) as ready:
            for items in ready:
                sizes = [item.num_tokens for item in items]
                for batch in batches(sizes, max_items=options.batch_size, token_budget=token_budget(self._device)):
                    scores[[start + place for place in batch]] = self.engine.score([items[i] for i in batch])
                    progress(len(batch))
                start += len(items)
        return scores

    def _windows(self, pairs: Sequence[Pair], options: PairOptions) -> Iterator[list[Item]]:
        """The items of each window; a query is prepared once for all windows in a row that have it."""
        shared = _shares_its_query(pairs)
        queries: dict[int, Query] = {}
        for window in windows(pairs):
            wanted = {id(pairs[index][0]) for index in window}
            queries = {key: query for key, query in queries.items() if key in wanted}
            for index in window:
                query = pairs[index][0]
                if id(query) not in queries:
                    with naming("query", None if shared else index):
                        queries[id(query)] = prepare_query(self.processor, query, options)
            yield self._items(pairs, window, queries, options)

    def _items(
        self, pairs: Sequence[Pair], window: range, queries: Mapping[int, Query], options: PairOptions
    ) -> list[Item]:
        documents: dict[tuple[int, int], Side] = {}
        items = []
        for index in window:
            query, document = queries[id(pairs[index][0])], pairs[index][1]
            key = id(document), document_limit(self.processor, query, options)
            if key not in documents:
                with naming("document", index):
                    documents[key] = prepare_document(self.processor, document, query, options)
            try:
                items.append(join(self.processor, query, documents[key], options))
            except InputError as error:
                raise InputError(f"pair {index}: {error}") from error
        return items


class VectorReranker(Reranker):
    """A model that embeds query and document apart: the score is MaxSim per query token, or the cosine.

    Args:
        embedder: The model. Queries and documents get the prompts of `retrieval`, if it has any.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.modalities = embedder.modalities
        self.max_pixels = embedder.max_pixels
        self.model_id = embedder.model_id
        self.outputs = "multi" if embedder.multivector_dim is not None else "dense"

    def _score(self, pairs: Sequence[Pair], options: PairOptions, progress: Callable[[int], None]) -> FloatArray:
        """Embeds each distinct input once and compares."""
        embedded = 0

        def count(done: int) -> None:
            nonlocal embedded
            embedded += done
            progress(done)

        queries = self._embed(pairs, "query", options, lambda _: None)
        documents = self._embed(pairs, "document", options, count)
        scores = np.zeros(len(pairs), dtype=np.float32)
        for index, (query, document) in enumerate(pairs):
            scores[index] = relevance(queries[id(query)].multivector, documents[id(document)].multivector)
        progress(len(pairs) - embedded)  # pairs whose document another pair has, too
        return scores

    def _embed(
        self, pairs: Sequence[Pair], side: SideName, options: PairOptions, progress: Callable[[int], None]
    ) -> dict[int, Embedding]:
        """The embeddings of one side of the pairs, by the `id` of the input."""
        column, prompt_name, limit = (
            (0, "query", options.max_query_length) if side == "query" else (1, "passage", options.max_doc_length)
        )
        first: dict[int, int] = {}  # the `id` of an input -> the first pair that has it
        for index, pair in enumerate(pairs):
            first.setdefault(id(pair[column]), index)
        task = "retrieval" if self.embedder.tasks else None
        try:
            found = self.embedder.embed(
                [pairs[index][column] for index in first.values()],
                task=task,
                prompt_name=prompt_name if task is not None else None,
                max_length=limit or options.max_length,
                max_pixels=options.max_pixels,
                batch_size=options.batch_size,
                progress=progress,
            )
        except ImageError as error:
            place = None if error.index is None else list(first.values())[error.index]
            shared = side == "query" and _shares_its_query(pairs)
            raise ImageError(error.message, None if shared else place, side) from error
        return dict(zip(first, found, strict=True))


def relevance(query: FloatArray, document: FloatArray) -> float:
    """Compares multi-vectors: MaxSim per query token. Of single vectors, one row each, that is the cosine.

    Shapes: S query tokens, T document tokens, E width. Khattab & Zaharia 2020, https://arxiv.org/abs/2004.12832.

    Args:
        query: `[S, E]`, unit rows.
        document: `[T, E]`, unit rows.

    Returns:
        A number between -1 and 1, whatever the length of the query.

    Example:
        >>> sides = np.eye(2, dtype=np.float32)
        >>> relevance(sides[:1], sides), relevance(sides, sides[:1])
        (1.0, 0.5)
    """
    return float((query @ document.T).max(axis=1).mean())


def _shares_its_query(pairs: Sequence[Pair]) -> bool:
    """Whether all pairs have the same query, so that no number is needed to name it."""
    return len({id(query) for query, _ in pairs}) == 1


def _typed_pairs(
    pairs: Sequence[Sequence[Input]] | Sequence[Input], query_type: Modality, doc_type: Modality
) -> list[Pair]:
    """Reads the pairs of the published interface: one or a list, whose strings are what the types say.

    Raises:
        InputError: The pairs are not pairs, or a type is unknown.
    """
    for name, kind in (("query_type", query_type), ("doc_type", doc_type)):
        if kind not in get_args(Modality):
            raise InputError(f"{name} must be one of {', '.join(get_args(Modality))}, got {kind!r}")
    listed = as_list(pairs, False, "pairs must be a list of [query, document]")
    single = len(listed) == 2 and all(isinstance(side, (str, Image, PIL.Image.Image)) for side in listed)
    typed: list[Pair] = []
    for index, pair in enumerate([listed] if single and not isinstance(pairs, str) else listed):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise InputError(f"pair {index} must be [query, document], got {repr(pair)[:60]}")
        typed.append((_typed(pair[0], query_type), _typed(pair[1], doc_type)))
    return typed


def _typed(value: Input, kind: Modality) -> Input:
    """A `str` of an image's place becomes an image; everything else stays what it is."""
    return Image(value) if isinstance(value, str) and kind == "image" else value
