"""Voyage's interface to inputs of several parts: `/v1/multimodalembeddings`.

Its texts and rankings have the paths of the published interface, whose endpoints understand its fields.
https://docs.voyageai.com/reference/multimodal-embeddings-api.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from polylens.server.dialects.translating import Route, naming, route, to_embed
from polylens.server.endpoints.embeddings import Answer, Wish
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.dialect import Dialect, Told, told
from polylens.server.http.openapi import Operation
from polylens.server.http.problems import Problem
from polylens.server.http.schemas import Dimensions, Flag, Request
from polylens.server.http.wire import Dtype, single, written
from polylens.server.state import Server


class VoyageMultimodalRequest(Request):
    """Embed inputs of texts and pictures, as Voyage's clients ask."""

    model: str
    inputs: Annotated[list[dict[str, Any]], Field(min_length=1)] = Field(
        description='Objects with `content`, a list of `{"text"}`, `{"image_url"}` and `{"image_base64"}`.'
    )
    input_type: str | None = Field(default=None, description="query, document, or a published task.")
    truncation: Flag | None = Field(default=None, description="Default true.")
    output_dtype: Dtype | None = None
    output_dimension: Dimensions | None = None
    output_encoding: Literal["base64"] | None = Field(
        default=None, validation_alias=AliasChoices("output_encoding", "encoding_format")
    )


_INT = {"type": "integer"}
SCHEMAS: dict[str, Any] = {
    "VoyageResponse": {
        "type": "object",
        "required": ["object", "data", "model", "usage"],
        "properties": {
            "object": {"const": "list"},
            "data": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["object", "embedding", "index"],
                    "properties": {
                        "object": {"const": "embedding"},
                        "embedding": {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}]},
                        "index": _INT,
                    },
                },
            },
            "model": {"type": "string"},
            "usage": {
                "type": "object",
                "required": ["text_tokens", "image_pixels", "video_pixels", "total_tokens"],
                "properties": dict.fromkeys(("text_tokens", "image_pixels", "video_pixels", "total_tokens"), _INT),
            },
        },
    },
    "VoyageError": {
        "type": "object",
        "required": ["detail"],
        "properties": {"detail": {"type": "string"}},
    },
}


def tell(problem: Problem) -> Told:
    """An error in Voyage's shape."""
    return told(problem, {"detail": problem.message}, {413: 400, 422: 400})


DIALECT = Dialect(tell=tell)


def routes(server: Server) -> list[Route]:
    """The routes of this dialect."""
    operation = Operation(
        method="POST",
        path="/v1/multimodalembeddings",
        summary="Embed inputs of texts and pictures, as Voyage's clients ask.",
        request=VoyageMultimodalRequest,
        response="VoyageResponse",
        error="VoyageError",
    )
    return [route(server, operation, VoyageMultimodalRequest, Voyage(server).embed, DIALECT)]


class Voyage:
    """The endpoint of this dialect."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def embed(self, asked: VoyageMultimodalRequest, context: RequestContext) -> Result:
        """Answers POST /v1/multimodalembeddings."""
        with naming({"input": "inputs", "dimensions": "output_dimension"}):
            request = to_embed(
                {
                    "model": asked.model,
                    "input": asked.inputs,
                    "input_type": asked.input_type,
                    "dimensions": asked.output_dimension,
                }
            )
            wish = Wish(truncate=asked.truncation is not False, cut_by="truncation: true")
            answer = await self._server.embeddings.embed(request, context, wish)
        rows = await self._server.embedding.in_thread(_rows, answer, asked)
        value = {"object": "list", "data": rows, "model": asked.model, "usage": _usage(answer)}
        return answer.result(value)


def _rows(answer: Answer, asked: VoyageMultimodalRequest) -> list[dict[str, Any]]:
    def encode(vector: Any) -> Any:
        return written(vector, asked.output_dtype or "float", as_base64=asked.output_encoding is not None)

    return [single(index, vector, encode) for index, vector in enumerate(answer.vectors())]


def _usage(answer: Answer) -> dict[str, int]:
    return {
        "text_tokens": sum(each.tokens for each in answer.embedded if not each.is_image),
        "image_pixels": sum(each.pixels for each in answer.embedded),
        "video_pixels": 0,
        "total_tokens": answer.tokens,
    }
