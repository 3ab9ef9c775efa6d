"""What each endpoint does with a parsed request, knowing nothing of HTTP: requests in, values for JSON out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from polylens.errors import FieldError
from polylens.server.concurrency import together
from polylens.server.endpoints.embedding_service import Embedded, EmbeddingService
from polylens.server.endpoints.segmenter import (
    PUBLISHED_TOKENIZERS,
    OffsetTokenizer,
    SegmentTokenizer,
    published_tokenizer,
    segment,
)
from polylens.server.engine.published import KINDS
from polylens.server.engine.registry import Registry, Served
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.schemas import (
    EmbeddingsRequest,
    InvocationRequest,
    RerankRequest,
    SegmentRequest,
    checked,
)
from polylens.server.http.wire import multi, single, sized
from polylens.server.intake.options import EmbedOptions
from polylens.server.intake.sources import PdfInput, Source, TokenIds, parse_input, parse_item


class Operations:
    """The endpoints of a server.

    Args:
        registry: Its models.
        embedding: Makes vectors.
        max_inputs: Longest list in one request.
    """

    def __init__(self, registry: Registry, embedding: EmbeddingService, max_inputs: int) -> None:
        self.registry = registry
        self.embedding = embedding
        self.max_inputs = max_inputs

    async def embeddings(self, request: EmbeddingsRequest, context: RequestContext) -> Result:
        """POST /v1/embeddings."""
        served = self.registry.find(request.model)
        sources = parse_input(request.input, max_items=self.max_inputs)
        _check_outputs(request, served, sources)
        options = EmbedOptions(
            task=request.task,
            truncate=bool(request.truncate),
            wants_tokens=bool(request.return_multivector),
            shows_tokens=bool(request.return_tokenized_input),
            late_chunking=bool(request.late_chunking),
            context=context,
            listed=len(sources) > 1 or (isinstance(request.input, list) and not isinstance(sources[0], TokenIds)),
        )
        found = await self.embedding.embed(served, sources, options)
        usage = _usage(found)
        rows = _rows(request, served, found)
        value = {"model": request.model, "object": "list", "usage": usage, "data": rows}
        return Result(value, usage["total_tokens"], served.name, len(found))

    async def rerank(self, request: RerankRequest, context: RequestContext) -> Result:
        """POST /v1/rerank: MaxSim where the model has multi-vectors, cosine where it has not."""
        served = self.registry.find(request.model)
        query = parse_item(request.query, "query")
        documents = parse_input(request.documents, field="documents", max_items=self.max_inputs)
        if any(isinstance(source, PdfInput) for source in (query, *documents)):
            raise FieldError("a PDF cannot be ranked; send its pages as images", "documents")
        asked, found = await self._both_sides(
            served, query, documents, truncate=bool(request.truncation), context=context
        )
        scores = [_relevance(served, asked, each) for each in found]
        best = sorted(range(len(scores)), key=lambda index: -scores[index])[: request.top_n]
        results: list[dict[str, Any]] = [{"index": index, "relevance_score": scores[index]} for index in best]
        if request.return_documents:
            for row in results:
                document = request.documents[row["index"]]
                row["document"] = {"text": document} if isinstance(document, str) else document
        tokens = asked.tokens + sum(each.tokens for each in found)
        value = {"model": request.model, "object": "list", "usage": {"total_tokens": tokens}, "results": results}
        return Result(value, tokens, served.name, 1 + len(found))

    async def _both_sides(
        self, served: Served, query: Source, documents: Sequence[Source], *, truncate: bool, context: RequestContext
    ) -> tuple[Embedded, list[Embedded]]:
        wants_tokens = served.header.multivector_dim is not None
        prompts = ("retrieval.query", "retrieval.passage") if served.header.processor.tasks else (None, None)
        options = [
            EmbedOptions(task=task, truncate=truncate, wants_tokens=wants_tokens, context=context, field=field)
            for task, field in zip(prompts, ("query", "documents"), strict=True)
        ]
        asked, found = await together(
            [
                self.embedding.embed(served, [query], options[0]),
                self.embedding.embed(served, documents, options[1]),
            ]
        )
        return asked[0], found

    async def segment(self, request: SegmentRequest, _context: RequestContext) -> Result:
        """POST /v1/segment."""
        tokenizer = self._segment_tokenizer(request.tokenizer)
        value = await asyncio.to_thread(
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

    def _segment_tokenizer(self, name: str | None) -> SegmentTokenizer:
        """A published name, or a served model; nothing said is the first model's, whose tokens are what it embeds."""
        served = next(iter(self.registry)) if name is None else None
        if name is not None and name not in PUBLISHED_TOKENIZERS:
            try:
                served = self.registry.find(name)
            except LookupError as unknown:
                names = ", ".join((*PUBLISHED_TOKENIZERS, *self.registry.names()))
                raise FieldError(f"must be one of {names}, got {name[:40]!r}", "tokenizer", name) from unknown
        if served is None:
            assert name is not None
            return published_tokenizer(name)
        return OffsetTokenizer(served.name, served.header.processor.tokenizer)

    async def invoke(self, request: InvocationRequest, context: RequestContext) -> Result:
        """POST /invocations: SageMaker's form of embedding and of ranking."""
        parameters = request.parameters
        name = parameters.model or next(iter(self.registry)).name
        served = self.registry.find(name)
        data = request.data
        ranked = data[0] if isinstance(data, list) and len(data) == 1 else data
        if isinstance(ranked, dict) and "query" in ranked:
            answer = await self.rerank(checked({"model": name, **ranked}, RerankRequest), context)
            return Result({"data": [answer.value], "parameters": {}}, answer.tokens, served.name, answer.inputs)
        normalised = parameters.normalized
        if normalised is None:
            normalised = KINDS[served.kind].normalised_in_batch_jobs
        fields = {**parameters.model_dump(exclude_none=True), "model": name, "input": data, "normalized": normalised}
        return await self.embeddings(checked(fields, EmbeddingsRequest), context)


def _check_outputs(request: EmbeddingsRequest, served: Served, sources: Sequence[Source]) -> None:
    """Refuses options that exclude each other, or that the model cannot fulfil, before anything is computed."""
    dim = served.header.dim
    if request.dimensions is not None and request.dimensions > dim:
        raise FieldError(f"must be between 1 and {dim} for this model", "dimensions", request.dimensions, "less_than")
    if request.return_multivector:
        if served.header.multivector_dim is None:
            raise FieldError(f"{served.name} has no multi-vectors, leave it out", "return_multivector", True)
        if request.dimensions is not None:
            raise FieldError("cannot be used with return_multivector, whose vectors have one size", "dimensions")
        if request.normalized is False:
            raise FieldError("multi-vectors have unit length, leave normalized out", "normalized", False)
    elif request.return_tokenized_input:
        raise FieldError("needs return_multivector: true", "return_tokenized_input", True)
    if request.late_chunking and any(isinstance(source, PdfInput) for source in sources):
        raise FieldError("joins texts; a PDF's pages are images", "late_chunking", True)


def _rows(request: EmbeddingsRequest, served: Served, found: Sequence[Embedded]) -> list[dict[str, Any]]:
    kinds = request.embedding_type or ["float"]
    if request.return_multivector:
        tokenizer = served.header.processor.tokenizer
        shown = [
            [tokenizer.decode([token], skip_special_tokens=False) for token in each.token_ids or ()]
            if request.return_tokenized_input
            else None
            for each in found
        ]
        return [
            multi(index, each.embedding.multivector, kinds, tokens)
            for index, (each, tokens) in enumerate(zip(found, shown, strict=True))
        ]
    normalised = request.normalized is not False
    return [
        single(index, sized(each.embedding, request.dimensions, normalised=normalised), kinds)
        for index, each in enumerate(found)
    ]


def _usage(found: Sequence[Embedded]) -> dict[str, int]:
    total = sum(each.tokens for each in found)
    images = sum(each.tokens for each in found if each.is_image)
    usage = {"total_tokens": total, "prompt_tokens": total}
    return {**usage, "image_tokens": images} if images else usage


def _relevance(served: Served, query: Embedded, document: Embedded) -> float:
    """MaxSim a query token, or cosine: between -1 and 1, whatever the length of the query."""
    if served.header.multivector_dim is None:
        return float(query.embedding.dense @ document.embedding.dense)
    return float((query.embedding.multivector @ document.embedding.multivector.T).max(axis=1).mean())
