"""The endpoint POST /v1/segment: a text cut into chunks and tokens, without a model. It answers as Jina's segmenter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from polylens.errors import FieldError, InputError
from polylens.server.endpoints.embedding_service import EmbeddingService
from polylens.server.endpoints.segmenter.chunks import chunk_bounds
from polylens.server.endpoints.segmenter.published import PUBLISHED_TOKENIZERS, published_tokenizer
from polylens.server.endpoints.segmenter.tokenizers import OffsetTokenizer, Piece, SegmentTokenizer
from polylens.server.engine.registry import Registry
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.schemas import SegmentRequest

MAX_CHUNK_LENGTH = 64_000  # characters; longer chunks are longer than any model reads


class SegmentEndpoint:
    """Segments texts.

    Args:
        registry: The served models, whose tokenizers can be asked for.
        embedding: The service in whose threads texts are segmented.
    """

    def __init__(self, registry: Registry, embedding: EmbeddingService) -> None:
        self._registry = registry
        self._embedding = embedding

    async def post(self, request: SegmentRequest, _context: RequestContext) -> Result:
        """Answers POST /v1/segment."""
        tokenizer = await self._embedding.in_thread(self._tokenizer, request.tokenizer)
        value = await self._embedding.in_thread(
            segment,
            request.content,
            tokenizer,
            return_tokens=request.return_tokens,
            return_chunks=request.return_chunks,
            max_chunk_length=request.max_chunk_length,
            head=request.head,
            tail=request.tail,
        )
        return Result(value, 0, tokenizer.name, 1)

    def _tokenizer(self, name: str | None) -> SegmentTokenizer:
        """The tokenizer of a published name or of a served model; None is that of the first model with vectors."""
        served = self._registry.find_embedder(field="tokenizer") if name is None else None
        if name is not None and name not in PUBLISHED_TOKENIZERS:
            try:
                served = self._registry.find_embedder(name, field="tokenizer")
            except LookupError as unknown:
                names = ", ".join((*PUBLISHED_TOKENIZERS, *self._registry.names()))
                raise FieldError(f"must be one of {names}, got {name[:40]!r}", "tokenizer", name) from unknown
        if served is None:
            assert name is not None
            return published_tokenizer(name)
        return OffsetTokenizer(served.name, served.header.processor.tokenizer)


def segment(
    content: str,
    tokenizer: SegmentTokenizer,
    *,
    return_tokens: bool,
    return_chunks: bool,
    max_chunk_length: int = 1000,
    head: int | None = None,
    tail: int | None = None,
) -> dict[str, Any]:
    """Counts the tokens of a text, and returns the tokens or cuts the text into chunks where that is asked for.

    Chunks are tokenized one by one, as the published service does and as a model will see them. With chunks,
    `num_tokens` can therefore be a little larger than without.

    Args:
        content: Any text.
        tokenizer: The tokenizer that counts the tokens.
        return_tokens: Return the tokens: one list per chunk, or one list for the text where there are no chunks.
        return_chunks: Return the chunks and their positions.
        max_chunk_length: The most characters (Unicode code points) of a chunk, between 1 and `MAX_CHUNK_LENGTH`.
        head: Return at most this many tokens from the start. Pieces stay whole, and every chunk keeps its list.
        tail: Return at most this many tokens from the end. Excludes `head`.

    Returns:
        The published shape. `chunk_positions` are offsets of code points (the published service's are of UTF-16), and
        the chunks tile the text: each begins where the one before it ends.

    Raises:
        InputError: A number is out of range, head and tail are both given, or the text has half a surrogate pair.
    """
    _require_segmentable(content, max_chunk_length, head, tail)
    bounds = chunk_bounds(content, max_chunk_length) if return_chunks else [0, len(content)]
    texts = [content[start:end] for start, end in pairwise(bounds)]
    encoded = [tokenizer.encode(text) for text in texts]
    value: dict[str, Any] = {
        "num_tokens": sum(len(ids) for pieces in encoded for _, ids in pieces),
        "tokenizer": tokenizer.name,
        "usage": {"tokens": 0},
    }
    if return_chunks:
        value["num_chunks"] = len(texts)
        value["chunk_positions"] = [[start, end] for start, end in pairwise(bounds)]
    if return_tokens:
        value["tokens"] = _head_or_tail(encoded, head, tail)
    if return_chunks:
        value["chunks"] = texts
    return value


def _require_segmentable(content: str, max_chunk_length: int, head: int | None, tail: int | None) -> None:
    if not 1 <= max_chunk_length <= MAX_CHUNK_LENGTH:
        raise InputError(f"max_chunk_length must be between 1 and {MAX_CHUNK_LENGTH}, got {max_chunk_length}")
    if head is not None and tail is not None:
        raise InputError("head and tail cannot be used together; leave one of them out")
    for name, value in (("head", head), ("tail", tail)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    if half := re.search(r"[\ud800-\udfff]", content):
        raise InputError(f"content has half of a surrogate pair at {half.start()}; send whole characters")


def _head_or_tail(encoded: list[list[Piece]], head: int | None, tail: int | None) -> list[list[Piece]]:
    if head is not None:
        return _first(encoded, head)
    if tail is not None:
        return [pieces[::-1] for pieces in _first([pieces[::-1] for pieces in encoded[::-1]], tail)][::-1]
    return encoded


def _first(encoded: Sequence[Sequence[Piece]], num_tokens: int) -> list[list[Piece]]:
    """The pieces that fit into this many tokens from the start, in one list per chunk, which may be empty."""
    left = num_tokens
    shown: list[list[Piece]] = []
    for pieces in encoded:
        shown.append([])
        for piece in pieces:
            left -= len(piece[1])
            if left < 0:
                break
            shown[-1].append(piece)
    return shown
