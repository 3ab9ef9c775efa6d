"""From a query and documents to the scores of a reranker: read, prepare, ask the scheduler, count the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import PIL.Image

from polylens.errors import FieldError, ImageError, InputError, TokenLimitError
from polylens.media.image import read_image
from polylens.models.protocol import Item, PairProcessor, Side
from polylens.runtime.pairs import PairOptions, Query, document_limit, join, prepare_document, prepare_query
from polylens.server.concurrency import together
from polylens.server.endpoints.embedding_service import (
    CHARS_PER_TOKEN,
    TEXTS_AT_ONCE,
    EmbeddingService,
    num_image_tokens,
    too_long,
)
from polylens.server.engine.queues import QueueName
from polylens.server.engine.registry import Served
from polylens.server.intake.options import EmbedOptions
from polylens.server.intake.reading import LoadedFused, LoadedImage, LoadedPart
from polylens.server.intake.sources import Source


@dataclass(frozen=True, slots=True)
class Scored:
    """The result for one document."""

    score: float
    tokens: int
    """The tokens that `usage` counts for the pair: of the document, of the query, and of the prompt around them."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request, with its query prepared."""

    served: Served
    loaded_query: LoadedPart
    query: Query
    documents: Sequence[LoadedPart]
    limits: PairOptions
    options: EmbedOptions
    """Those of the documents."""

    @property
    def processor(self) -> PairProcessor:
        return self.served.header.pairs

    @property
    def has_text_query(self) -> bool:
        return isinstance(self.loaded_query, str)


_Prepared = Item | Side | LoadedImage
"""A pair of two texts; the text of a document whose query is an image; or the image of a document, as it came."""


class ScoringService:
    """Scores the documents of a request with a model that is trained for it.

    Pairs of texts are prepared at once. A pair with an image is prepared when it is its turn, so that few images are in
    memory as patches at any time.

    Args:
        embedding: The service whose threads, limits and places for images are used.
    """

    def __init__(self, embedding: EmbeddingService) -> None:
        self._embedding = embedding

    async def score(
        self, served: Served, query: Source, documents: Sequence[Source], options: tuple[EmbedOptions, EmbedOptions]
    ) -> list[Scored]:
        """Scores all documents of a request.

        Args:
            served: A model that scores pairs.
            query: The query.
            documents: The documents, at least one; none is a PDF.
            options: Those of the query and those of the documents.

        Returns:
            One result per document, in the order of the documents.

        Raises:
            InputError: An input cannot be used; the message says which.
            OverloadedError: The queue of the model is full.
            DeadlineError: The request took too long.
            WorkerError: The model failed on a pair.
        """
        async with self._embedding.deadline():
            (loaded_query,), loaded = await self._load(served, query, documents, options)
            asked = _Asked(
                served=served,
                loaded_query=loaded_query,
                query=await self._prepare_query(served, loaded_query, options[0]),
                documents=loaded,
                limits=PairOptions(max_doc_length=self._limit(served, options[1])),
                options=options[1],
            )
            prepared = await self._prepare_texts(asked)
            return await self._score_all(asked, prepared)

    async def _load(
        self, served: Served, query: Source, documents: Sequence[Source], options: tuple[EmbedOptions, EmbedOptions]
    ) -> list[list[LoadedPart]]:
        """Loads the query and the documents, of which none has several parts: no reranker could read them."""
        both = await together(
            [
                self._embedding.reader.read(served, [query], options[0]),
                self._embedding.reader.read(served, documents, options[1]),
            ]
        )
        return [[each for each in loaded if not isinstance(each, LoadedFused)] for loaded in both]

    def _limit(self, served: Served, options: EmbedOptions) -> int:
        """The most tokens of one text."""
        limit = self._embedding.max_tokens(served)
        return min(limit, options.max_length or limit)

    async def _prepare_query(self, served: Served, loaded: LoadedPart, options: EmbedOptions) -> Query:
        """Prepares the query for all documents."""
        processor = served.header.pairs
        if isinstance(loaded, str):
            limit = self._limit(served, options)
            kept = await self._embedding.in_thread(_cut, processor, loaded, limit)
            if not options.truncate and len(kept) < len(loaded):
                raise too_long(limit, options, 0)
            return await self._embedding.in_thread(prepare_query, processor, kept, PairOptions())
        async with self._embedding.image_slot(served):
            try:
                query = await self._embedding.in_thread(_read_query, processor, loaded)
            except ImageError as error:
                raise options.image_error(error.message, 0) from error
        if query.side.patches is not None:  # which stay in memory until the last document has its score
            options.context.hold(query.side.patches.numel() * query.side.patches.element_size())
        return query

    async def _prepare_texts(self, asked: _Asked) -> list[_Prepared]:
        """Prepares the documents that are texts; images stay as they came."""
        prepared: list[_Prepared] = []
        for start in range(0, len(asked.documents), TEXTS_AT_ONCE):
            batch = range(start, min(start + TEXTS_AT_ONCE, len(asked.documents)))
            prepared += await self._embedding.in_thread(_prepare_batch, asked, batch)
        return prepared

    async def _score_all(self, asked: _Asked, prepared: Sequence[_Prepared]) -> list[Scored]:
        sizes = await self._embedding.in_thread(lambda: [_num_tokens(asked, each) for each in prepared])
        tokens = sum(sizes)
        self._embedding.refuse_too_many(tokens)
        of_images = sum(size for size, each in zip(sizes, prepared, strict=True) if not isinstance(each, Item))
        with asked.served.scheduler.admitted(tokens, image_tokens=of_images) as queue:
            return await together(
                [
                    self._score_pair(asked, each, index, queue)
                    if isinstance(each, Item)
                    else self._score_image(asked, each, index, queue)
                    for index, each in enumerate(prepared)
                ]
            )

    async def _score_pair(self, asked: _Asked, pair: Item, index: int, queue: QueueName) -> Scored:
        score = await asked.served.scheduler.submit_pair(pair, queue, owner=asked.options.context.owner)
        return Scored(score, pair.num_tokens + _extra_tokens(asked, index))

    async def _score_image(self, asked: _Asked, document: Side | LoadedImage, index: int, queue: QueueName) -> Scored:
        """Scores a pair with an image, which is prepared when there is a place for it."""
        async with self._embedding.image_slot(asked.served):
            try:
                pair = await self._embedding.in_thread(_image_pair, asked, document, index)
            except ImageError as error:
                raise asked.options.image_error(error.message, index) from error
            return await self._score_pair(asked, pair, index, queue)


def _cut(processor: PairProcessor, text: str, limit: int) -> str:
    """The first tokens of a query. A longer one would be tokenised whole for each document, to be cut with the pair."""
    kept = text[: CHARS_PER_TOKEN * limit]  # so that a text of megabytes costs what its first tokens cost
    offsets = processor.tokenizer.encode(kept, add_special_tokens=False).offsets
    return kept[: offsets[limit - 1][1]] if len(offsets) > limit else kept


def _read_query(processor: PairProcessor, image: LoadedImage) -> Query:
    return prepare_query(processor, read_image(image.file), PairOptions())


def _prepare_batch(asked: _Asked, indices: Sequence[int]) -> list[_Prepared]:
    return [_prepare_text(asked, asked.documents[index], index) for index in indices]


def _prepare_text(asked: _Asked, document: LoadedPart, index: int) -> _Prepared:
    """The text of a document, joined with the query if that is one, too; an image stays what it is."""
    if isinstance(document, LoadedImage):
        return document
    limit = document_limit(asked.processor, asked.query, asked.limits)
    kept = document[: CHARS_PER_TOKEN * limit]
    side = prepare_document(asked.processor, kept, asked.query, asked.limits)
    if not asked.options.truncate and (side.truncated or len(kept) < len(document)):
        raise too_long(limit, asked.options, index)
    return _joined(asked, side, index) if asked.has_text_query else side


def _image_pair(asked: _Asked, document: Side | LoadedImage, index: int) -> Item:
    if isinstance(document, LoadedImage):
        image: PIL.Image.Image = read_image(document.file)
        document = prepare_document(asked.processor, image, asked.query, asked.limits)
    return _joined(asked, document, index)


def _joined(asked: _Asked, document: Side, index: int) -> Item:
    try:
        pair = join(asked.processor, asked.query, document, asked.limits)
    except InputError as error:
        raise FieldError(str(error), asked.options.field_of(index)) from error
    if pair.truncated and not asked.options.truncate:
        raise TokenLimitError(
            f"has, together with the query, more than {asked.processor.max_length} tokens, the limit for a pair; "
            f"shorten one of them, or send {asked.options.cut_by}",
            asked.options.field_of(index),
        )
    return pair


def _num_tokens(asked: _Asked, document: _Prepared) -> int:
    """The number of tokens that the model sees of a pair, but for its prompt where it is not joined yet."""
    if isinstance(document, Item):
        return document.num_tokens
    if isinstance(document, LoadedImage):
        return asked.query.tokens + num_image_tokens(asked.served, document)
    return asked.query.tokens + len(asked.processor.tokenizer.encode(document.text or "", add_special_tokens=False).ids)


def _extra_tokens(asked: _Asked, index: int) -> int:
    """By how much the tokens of a pair's images in `usage` exceed those that the model sees."""
    images = [each for each in (asked.loaded_query, asked.documents[index]) if isinstance(each, LoadedImage)]
    return sum(asked.served.header.image_tokens(*each.size) - num_image_tokens(asked.served, each) for each in images)
