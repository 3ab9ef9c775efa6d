"""The endpoint POST /v1/rerank: documents in the order of their relevance to a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polylens.errors import FieldError
from polylens.server.concurrency import together
from polylens.server.endpoints.embedding_service import Embedded, EmbeddingService
from polylens.server.engine.registry import Registry, Served
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.schemas import RerankRequest
from polylens.server.intake.options import EmbedOptions
from polylens.server.intake.sources import PdfInput, Source, parse_input, parse_item


class RerankEndpoint:
    """Ranks by MaxSim where the model produces multi-vectors, by cosine where it does not.

    Args:
        registry: The served models.
        embedding: The service that computes the vectors.
        max_documents: The most documents in one request.
    """

    def __init__(self, registry: Registry, embedding: EmbeddingService, max_documents: int) -> None:
        self._registry = registry
        self._embedding = embedding
        self._max_documents = max_documents

    async def post(self, request: RerankRequest, context: RequestContext) -> Result:
        """Answers POST /v1/rerank."""
        served = self._registry.find(request.model)
        query_source = await self._embedding.in_thread(parse_item, request.query, "query")
        sources = await self._embedding.in_thread(
            parse_input, request.documents, field="documents", max_items=self._max_documents
        )
        if any(isinstance(source, PdfInput) for source in (query_source, *sources)):
            raise FieldError("a PDF cannot be ranked; send its pages as images", "documents")
        query, documents = await self._embed(
            served, query_source, sources, truncate=bool(request.truncation), context=context
        )
        results = await self._embedding.in_thread(_rank, request, served, query, documents)
        tokens = query.tokens + sum(each.tokens for each in documents)
        value = {"model": request.model, "object": "list", "usage": {"total_tokens": tokens}, "results": results}
        return Result(value, tokens, served.name, 1 + len(documents))

    async def _embed(
        self, served: Served, query: Source, documents: Sequence[Source], *, truncate: bool, context: RequestContext
    ) -> tuple[Embedded, list[Embedded]]:
        """The query and the documents, embedded at the same time, each with its own prompt."""
        wants_tokens = served.header.multivector_dim is not None
        prompts = ("retrieval.query", "retrieval.passage") if served.header.processor.tasks else (None, None)
        options = [
            EmbedOptions(task=task, truncate=truncate, wants_tokens=wants_tokens, context=context, field=field)
            for task, field in zip(prompts, ("query", "documents"), strict=True)
        ]
        (embedded_query,), embedded_documents = await together(
            [
                self._embedding.embed(served, [query], options[0]),
                self._embedding.embed(served, documents, options[1]),
            ]
        )
        return embedded_query, embedded_documents


def _rank(
    request: RerankRequest, served: Served, query: Embedded, documents: Sequence[Embedded]
) -> list[dict[str, Any]]:
    """The results of the response, best first. Takes seconds for thousands of long documents."""
    scores = [relevance(served, query, document) for document in documents]
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[: request.top_n]
    results: list[dict[str, Any]] = [{"index": index, "relevance_score": scores[index]} for index in best]
    if request.return_documents:
        for row in results:
            document = request.documents[row["index"]]
            row["document"] = {"text": document} if isinstance(document, str) else document
    return results


def relevance(served: Served, query: Embedded, document: Embedded) -> float:
    """The score of a document: MaxSim per query token, or the cosine where the model has no multi-vectors.

    Returns:
        A number between -1 and 1, whatever the length of the query.
    """
    if served.header.multivector_dim is None:
        return float(query.embedding.dense @ document.embedding.dense)
    return float((query.embedding.multivector @ document.embedding.multivector.T).max(axis=1).mean())
