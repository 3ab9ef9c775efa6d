"""Cohere's interface, version 2: `/v2/embed` and `/v2/rerank`.

https://docs.cohere.com/v2/reference/embed and https://docs.cohere.com/v2/reference/rerank.
"""

from __future__ import annotations

import math
import secrets
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from polylens.errors import FieldError
from polylens.server.dialects.translating import Route, naming, route, texts, to_embed, to_rank
from polylens.server.endpoints.embeddings import Answer, Wish
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.dialect import Dialect, Told, told
from polylens.server.http.openapi import Operation
from polylens.server.http.problems import Problem
from polylens.server.http.schemas import Count, Dimensions, Request
from polylens.server.http.wire import written
from polylens.server.state import Server

Kind = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]

DOCUMENT_TOKENS = 4_096  # at which a document's text is cut unless the request says otherwise, as documented
DOCUMENTS_PER_SEARCH = 100  # documents of one billed search


class CohereEmbedRequest(Request):
    """Embed texts, images or inputs of several parts, as Cohere's clients ask."""

    model: str
    input_type: str | None = Field(
        default=None,
        description="search_query, search_document, classification, clustering, image, or a published task.",
    )
    texts: Annotated[list[str], Field(min_length=1)] | None = None
    images: Annotated[list[str], Field(min_length=1)] | None = Field(default=None, description="Data URIs, or URLs.")
    inputs: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = Field(
        default=None, description='Objects with `content`, a list of `{"type": "text"}` and `{"type": "image_url"}`.'
    )
    embedding_types: Annotated[list[Kind], Field(min_length=1)] | None = None
    output_dimension: Dimensions | None = None
    truncate: Literal["NONE", "START", "END"] | None = None
    max_tokens: Count | None = None


class CohereRerankRequest(Request):
    """Rank documents by their relevance to a query, as Cohere's clients ask."""

    model: str
    query: str
    documents: Annotated[list[str], Field(min_length=1)]
    top_n: Count | None = None
    max_tokens_per_doc: Count | None = None
    relevant_spans: Any = Field(default=None, description="Not offered; a request that has it is refused.")


_NUMBERS = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
_META = {"type": "object", "properties": {"billed_units": {"type": "object"}}}
SCHEMAS: dict[str, Any] = {
    "CohereEmbedResponse": {
        "type": "object",
        "required": ["id", "embeddings", "meta"],
        "properties": {
            "id": {"type": "string"},
            "response_type": {"const": "embeddings_by_type"},
            "embeddings": {
                "type": "object",
                "properties": {
                    **dict.fromkeys(("float", "int8", "uint8", "binary", "ubinary"), _NUMBERS),
                    "base64": {"type": "array", "items": {"type": "string"}},
                },
            },
            "texts": {"type": "array", "items": {"type": "string"}},
            "meta": _META,
        },
    },
    "CohereRerankResponse": {
        "type": "object",
        "required": ["id", "results", "meta"],
        "properties": {
            "id": {"type": "string"},
            "results": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["index", "relevance_score"],
                    "properties": {"index": {"type": "integer"}, "relevance_score": {"type": "number"}},
                },
            },
            "meta": _META,
        },
    },
    "CohereError": {
        "type": "object",
        "required": ["message", "id"],
        "properties": {"message": {"type": "string"}, "id": {"type": "string"}},
    },
}


def tell(problem: Problem) -> Told:
    """An error in Cohere's shape."""
    body = {"message": problem.message, "id": problem.request_id}
    return told(problem, body, {"INPUT_MODEL_NOT_FOUND": 404, 413: 400})


DIALECT = Dialect(tell=tell)


def routes(server: Server) -> list[Route]:
    """The routes of this dialect."""
    cohere = Cohere(server)
    embed = Operation(
        method="POST",
        path="/v2/embed",
        summary="Embed texts, images or inputs of several parts, as Cohere's clients ask.",
        request=CohereEmbedRequest,
        response="CohereEmbedResponse",
        error="CohereError",
    )
    rerank = Operation(
        method="POST",
        path="/v2/rerank",
        summary="Rank documents by their relevance to a query, as Cohere's clients ask.",
        request=CohereRerankRequest,
        response="CohereRerankResponse",
        error="CohereError",
    )
    return [
        route(server, embed, CohereEmbedRequest, cohere.embed, DIALECT),
        route(server, rerank, CohereRerankRequest, cohere.rerank, DIALECT),
    ]


class Cohere:
    """The endpoints of this dialect."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def embed(self, asked: CohereEmbedRequest, context: RequestContext) -> Result:
        """Answers POST /v2/embed."""
        given = [name for name in ("texts", "images", "inputs") if getattr(asked, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise FieldError(f"must have exactly one of texts, images and inputs, got {found}")
        items: list[Any] = (
            asked.inputs or [{"image": image} for image in asked.images or []] or texts(asked.texts or [])
        )
        wish = Wish(
            truncate=asked.truncate != "NONE",
            max_tokens=asked.max_tokens,
            keeps_end=asked.truncate == "START",
            cut_by='truncate: "END"',
        )
        with naming({"input": given[0], "dimensions": "output_dimension"}):
            request = to_embed(
                {
                    "model": asked.model,
                    "input": items,
                    "input_type": asked.input_type,
                    "dimensions": asked.output_dimension,
                }
            )
            answer = await self._server.embeddings.embed(request, context, wish)
        embeddings = await self._server.embedding.in_thread(_by_type, answer, asked.embedding_types or ["float"])
        value = {
            "id": secrets.token_hex(16),
            "response_type": "embeddings_by_type",
            "embeddings": embeddings,
            "texts": asked.texts or [],
            "meta": _meta(_billed(answer)),
        }
        return answer.result(value)

    async def rerank(self, asked: CohereRerankRequest, context: RequestContext) -> Result:
        """Answers POST /v2/rerank."""
        if asked.relevant_spans is not None:
            raise FieldError("is not offered; leave it out", "relevant_spans")
        with naming({"max_doc_length": "max_tokens_per_doc"}):
            request = to_rank(
                {
                    "model": asked.model,
                    "query": {"text": asked.query},
                    "documents": texts(asked.documents),
                    "top_n": asked.top_n,
                    "return_documents": False,
                    "max_doc_length": asked.max_tokens_per_doc or DOCUMENT_TOKENS,
                }
            )
            result = await self._server.rerank.post(request, context)
        units = {"search_units": math.ceil(len(asked.documents) / DOCUMENTS_PER_SEARCH)}
        value = {"id": secrets.token_hex(16), "results": result.value["results"], "meta": _meta(units)}
        return Result(value, result.tokens, result.model, result.inputs)


def _by_type(answer: Answer, kinds: list[Kind]) -> dict[str, list[Any]]:
    vectors = answer.vectors()
    return {kind: [_encode(vector, kind) for vector in vectors] for kind in kinds}


def _encode(vector: np.ndarray[Any, Any], kind: Kind) -> Any:
    if kind == "base64":
        return written(vector, "float", as_base64=True)
    return written(vector, kind, as_base64=False)


def _billed(answer: Answer) -> dict[str, int]:
    images = [each for each in answer.embedded if each.is_image]
    of_images = sum(each.tokens for each in images)
    found = {"input_tokens": answer.tokens - of_images}
    return {**found, "image_tokens": of_images, "images": len(images)} if images else found


def _meta(billed: dict[str, int]) -> dict[str, Any]:
    return {"api_version": {"version": "2"}, "billed_units": billed}
