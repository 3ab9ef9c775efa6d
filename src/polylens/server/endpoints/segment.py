"""The endpoint POST /v1/segment: a text cut into chunks and tokens, without a model. It answers as Jina's segmenter."""

from __future__ import annotations

from polylens.errors import FieldError
from polylens.server.endpoints.embedding_service import EmbeddingService
from polylens.server.endpoints.segmenter import (
    PUBLISHED_TOKENIZERS,
    OffsetTokenizer,
    SegmentTokenizer,
    published_tokenizer,
    segment,
)
from polylens.server.engine.registry import Registry
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.schemas import SegmentRequest


class SegmentEndpoint:
    """Segments texts.

    Args:
        registry: The served models, whose tokenizers can be asked for.
        embedding: Lends its threads.
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
        """The tokenizer of a published name or of a served model; None is that of the first model."""
        served = next(iter(self._registry)) if name is None else None
        if name is not None and name not in PUBLISHED_TOKENIZERS:
            try:
                served = self._registry.find(name)
            except LookupError as unknown:
                names = ", ".join((*PUBLISHED_TOKENIZERS, *self._registry.names()))
                raise FieldError(f"must be one of {names}, got {name[:40]!r}", "tokenizer", name) from unknown
        if served is None:
            assert name is not None
            return published_tokenizer(name)
        return OffsetTokenizer(served.name, served.header.processor.tokenizer)
