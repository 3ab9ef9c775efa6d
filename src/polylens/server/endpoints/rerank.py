"""The endpoint POST /v1/rerank: documents in the order of their relevance to a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polylens.errors import FieldError, TooLargeError
from polylens.runtime.reranker import relevance
from polylens.server.concurrency import together
from polylens.server.endpoints.embedding_service import Embedded, EmbeddingService
from polylens.server.endpoints.scoring_service import ScoringService
from polylens.server.engine.registry import Registry, Served
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.schemas import RerankRequest
from polylens.server.intake.options import EmbedOptions
from polylens.server.intake.sources import ImageInput, PdfInput, Source, parse_item
from polylens.types import FloatArray

DECIMALS = 8  # of a score, as published


class RerankEndpoint:
    """Ranks by the scores of a model that is trained for it; else by MaxSim where the model produces multi-vectors, and
    by cosine where it does not.

    Args:
        registry: The served models.
        embedding: The service that computes vectors.
        scoring: The service that computes scores.
        max_documents: The most documents in one request.
    """

    def __init__(
        self, registry: Registry, embedding: EmbeddingService, scoring: ScoringService, max_documents: int
    ) -> None:
        self._registry = registry
        self._embedding = embedding
        self._scoring = scoring
        self._max_documents = max_documents

    async def post(self, request: RerankRequest, context: RequestContext) -> Result:
        """Answers POST /v1/rerank."""
        served = self._registry.find(request.model)
        query, documents = await self._embedding.in_thread(_sources, request, self._max_documents)
        if served.scores_pairs:
            scored = await self._scoring.score(served, query, documents, _options(request, (None, None), context))
            scores, tokens = [each.score for each in scored], sum(each.tokens for each in scored)
        else:
            scores, tokens = await self._compare(served, query, documents, request, context)
        results = _results(request, documents, scores)
        value = {"model": request.model, "object": "list", "usage": {"total_tokens": tokens}, "results": results}
        if "top_k" in request.model_fields_set:  # null or not: Voyage's client, which looks for them in `data`
            value["data"] = results
        return Result(value, tokens, served.name, 1 + len(documents))

    async def _compare(
        self,
        served: Served,
        query: Source,
        documents: Sequence[Source],
        request: RerankRequest,
        context: RequestContext,
    ) -> tuple[list[float], int]:
        """The scores by vectors, and the tokens; query and documents are embedded at the same time."""
        tasks = ("retrieval.query", "retrieval.passage") if served.header.processor.tasks else (None, None)
        wants_tokens = served.header.multivector_dim is not None
        of_query, of_documents = _options(request, tasks, context, wants_tokens=wants_tokens)
        (embedded,), others = await together(
            [
                self._embedding.embed(served, [query], of_query),
                self._embedding.embed(served, documents, of_documents),
            ]
        )
        scores = await self._embedding.in_thread(_relevances, served, embedded, others)
        return scores, embedded.tokens + sum(each.tokens for each in others)


def _sources(request: RerankRequest, max_documents: int) -> tuple[Source, list[Source]]:
    """The query and the documents.

    Raises:
        FieldError: One has none of the known forms, or is a PDF.
        TooLargeError: There are too many documents.
    """
    if len(request.documents) > max_documents:
        raise TooLargeError(
            f"documents has {len(request.documents)} items, and the limit is {max_documents} per request; split it "
            "into several requests"
        )
    query = parse_item(request.query, "query")
    documents = [parse_item(each, f"documents.{index}") for index, each in enumerate(request.documents)]
    if any(isinstance(source, PdfInput) for source in (query, *documents)):
        raise FieldError("a PDF cannot be ranked; send its pages as images", "documents")
    return query, documents


def _options(
    request: RerankRequest,
    tasks: tuple[str | None, str | None],
    context: RequestContext,
    *,
    wants_tokens: bool = False,
) -> tuple[EmbedOptions, EmbedOptions]:
    """The options of the query and those of the documents."""
    truncate = request.truncation is not False
    query = EmbedOptions(
        context=context,
        task=tasks[0],
        truncate=truncate,
        wants_tokens=wants_tokens,
        field="query",
        listed=False,
        name="query",
    )
    documents = EmbedOptions(
        context=context,
        task=tasks[1],
        truncate=truncate,
        max_length=request.max_doc_length,
        wants_tokens=wants_tokens,
        field="documents",
        name="document",
    )
    return query, documents


def _relevances(served: Served, query: Embedded, documents: Sequence[Embedded]) -> list[float]:
    """The scores of the documents. Takes seconds for thousands of long ones."""
    asked = _rows(served, query)
    return [relevance(asked, _rows(served, document)) for document in documents]


def _rows(served: Served, embedded: Embedded) -> FloatArray:
    """The vectors by which an input is compared: its multi-vector, or the one dense vector."""
    if served.header.multivector_dim is None:
        return embedded.embedding.dense[None]
    return embedded.embedding.multivector


def _results(request: RerankRequest, documents: Sequence[Source], scores: Sequence[float]) -> list[dict[str, Any]]:
    """The results of the response, best first; equal scores keep the order of the documents."""
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[: request.top_n or request.top_k]
    results: list[dict[str, Any]] = [
        {"index": index, "relevance_score": round(scores[index], DECIMALS)} for index in best
    ]
    if request.return_documents is not False:
        for row in results:
            row |= _echo(request.documents[row["index"]], documents[row["index"]])
    return results


def _echo(document: Any, source: Source) -> dict[str, Any]:
    """A document beside its score: an object as it came, a string as an object of its kind; no token ids."""
    if isinstance(document, str):
        document = {"image" if isinstance(source, ImageInput) else "text": document}
    return {"document": document} if isinstance(document, dict) else {}
