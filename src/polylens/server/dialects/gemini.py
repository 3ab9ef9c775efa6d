"""Gemini's interface to embeddings: `models/NAME:embedContent` and `models/NAME:batchEmbedContents`.

https://ai.google.dev/api/embeddings. Errors have the form of https://google.aip.dev/193.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AliasChoices, Field
from starlette.requests import Request as HttpRequest

from polylens.errors import FieldError
from polylens.server.concurrency import together
from polylens.server.dialects.translating import Route, float_lists, naming, route, to_embed
from polylens.server.endpoints.embeddings import Answer, Wish
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.dialect import Dialect, Told, bearer, told
from polylens.server.http.openapi import Operation
from polylens.server.http.problems import Problem
from polylens.server.http.schemas import Dimensions, Flag, Request
from polylens.server.state import Server

VERSIONS = ("v1beta", "v1")

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    507: "INTERNAL",
}
"""Status of the response -> its name, as Google's clients expect it."""


class GeminiConfig(Request):
    """How a content is embedded."""

    task_type: str | None = Field(default=None, validation_alias=AliasChoices("taskType", "task_type"))
    title: str | None = Field(default=None, description="Of a document; it becomes the first line of its text.")
    output_dimensionality: Dimensions | None = Field(
        default=None, validation_alias=AliasChoices("outputDimensionality", "output_dimensionality")
    )
    auto_truncate: Flag | None = Field(default=None, validation_alias=AliasChoices("autoTruncate", "auto_truncate"))


class GeminiEmbedRequest(GeminiConfig):
    """Embed one content, as Gemini's clients ask."""

    content: dict[str, Any] = Field(description='An object with `parts`: `{"text"}` or `{"inlineData"}`.')
    model: str | None = None
    config: GeminiConfig | None = Field(
        default=None, validation_alias=AliasChoices("embedContentConfig", "embed_content_config")
    )


class GeminiBatchRequest(Request):
    """Embed several contents, as Gemini's clients ask."""

    requests: Annotated[list[GeminiEmbedRequest], Field(min_length=1)]


_EMBEDDING = {
    "type": "object",
    "required": ["values"],
    "properties": {"values": {"type": "array", "items": {"type": "number"}}},
}
_USAGE = {"type": "object", "properties": {"promptTokenCount": {"type": "integer"}}}
SCHEMAS: dict[str, Any] = {
    "GeminiEmbedResponse": {
        "type": "object",
        "required": ["embedding"],
        "properties": {"embedding": _EMBEDDING, "usageMetadata": _USAGE},
    },
    "GeminiBatchResponse": {
        "type": "object",
        "required": ["embeddings"],
        "properties": {"embeddings": {"type": "array", "items": _EMBEDDING}, "usageMetadata": _USAGE},
    },
    "GeminiError": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message", "status"],
                "properties": {
                    "code": {"type": "integer"},
                    "message": {"type": "string"},
                    "status": {"type": "string"},
                },
            }
        },
    },
}


def authorization(request: HttpRequest) -> str | None:
    """The key in Google's header, in the address, or in the header that everyone else uses."""
    key = request.headers.get("x-goog-api-key") or request.query_params.get("key")
    return f"Bearer {key}" if key else bearer(request)


def tell(problem: Problem) -> Told:
    """An error in Google's shape."""
    status, _ = told(problem, None, {"INPUT_MODEL_NOT_FOUND": 404, 413: 400, 422: 400})
    return status, {
        "error": {"code": status, "message": problem.message, "status": STATUSES.get(status, "UNKNOWN"), "details": []}
    }


DIALECT = Dialect(tell=tell, authorization=authorization)


def routes(server: Server) -> list[Route]:
    """The routes of this dialect."""
    gemini = Gemini(server)
    found = []
    for version in VERSIONS:
        one = Operation(
            method="POST",
            path=f"/{version}/models/{{model:path}}:embedContent",
            summary="Embed one content, as Gemini's clients ask.",
            request=GeminiEmbedRequest,
            response="GeminiEmbedResponse",
            error="GeminiError",
        )
        several = Operation(
            method="POST",
            path=f"/{version}/models/{{model:path}}:batchEmbedContents",
            summary="Embed several contents, as Gemini's clients ask.",
            request=GeminiBatchRequest,
            response="GeminiBatchResponse",
            error="GeminiError",
        )
        found += [
            route(server, one, GeminiEmbedRequest, gemini.embed, DIALECT),
            route(server, several, GeminiBatchRequest, gemini.embed_batch, DIALECT),
        ]
    return found


@dataclass(frozen=True, slots=True)
class _Manner:
    """How a content is to be embedded; those of one manner are one request."""

    model: str
    task_type: str | None
    dimensions: int | None
    truncate: bool


class Gemini:
    """The endpoints of this dialect."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def embed(self, asked: GeminiEmbedRequest, context: RequestContext, *, model: str) -> Result:
        """Answers POST models/NAME:embedContent."""
        manner, item = _read(asked, model, "content")
        with naming(lambda field: _renamed(field, [0], prefix=False)):
            answer = await self._embed(manner, [item], context)
        (values,) = await float_lists(self._server, answer)
        return answer.result({"embedding": {"values": values}, "usageMetadata": {"promptTokenCount": answer.tokens}})

    async def embed_batch(self, asked: GeminiBatchRequest, context: RequestContext, *, model: str) -> Result:
        """Answers POST models/NAME:batchEmbedContents; each of its requests has a task and a size of its own."""
        groups, items = await self._server.embedding.in_thread(_grouped, asked, model)
        answers = await together([self._group(each, items, places, context) for each, places in groups.items()])
        rows: list[Any] = [None] * len(items)
        for places, answer in zip(groups.values(), answers, strict=True):
            for index, values in zip(places, await float_lists(self._server, answer), strict=True):
                rows[index] = {"values": values}
        tokens = sum(answer.tokens for answer in answers)
        value = {"embeddings": rows, "usageMetadata": {"promptTokenCount": tokens}}
        return Result(value, tokens, answers[0].served.name, len(rows))

    async def _group(self, manner: _Manner, items: list[Any], places: list[int], context: RequestContext) -> Answer:
        with naming(lambda field: _renamed(field, places, prefix=True)):
            return await self._embed(manner, [items[index] for index in places], context)

    async def _embed(self, manner: _Manner, items: list[Any], context: RequestContext) -> Answer:
        request = to_embed(
            {"model": manner.model, "input": items, "task": manner.task_type, "dimensions": manner.dimensions}
        )
        wish = Wish(truncate=manner.truncate, cut_by="autoTruncate: true")
        return await self._server.embeddings.embed(request, context, wish)


def _grouped(asked: GeminiBatchRequest, model: str) -> tuple[dict[_Manner, list[int]], list[dict[str, Any]]]:
    """The places of the contents of each manner, and all contents as items."""
    groups: dict[_Manner, list[int]] = {}
    items = []
    for index, each in enumerate(asked.requests):
        manner, item = _read(each, each.model or model, f"requests.{index}.content")
        groups.setdefault(manner, []).append(index)
        items.append(item)
    return groups, items


def _read(asked: GeminiEmbedRequest, model: str, field: str) -> tuple[_Manner, dict[str, Any]]:
    """How a content is to be embedded, and the content as an item.

    Raises:
        FieldError: It has no parts, or one that is neither a text nor a picture.
    """
    config = asked.config or GeminiConfig()
    title = config.title or asked.title
    manner = _Manner(
        model.removeprefix("models/"),
        config.task_type or asked.task_type,
        config.output_dimensionality or asked.output_dimensionality,
        next((each for each in (config.auto_truncate, asked.auto_truncate) if each is not None), True),
    )
    parts = asked.content.get("parts")
    if isinstance(parts, dict):  # as JSON of a list with one entry may be written
        parts = [parts]
    if not isinstance(parts, list) or not parts:
        raise FieldError('must be a list of {"text"} and {"inlineData"}', f"{field}.parts", parts)
    read = [_part(part, f"{field}.parts.{index}") for index, part in enumerate(parts)]
    return manner, {"content": [{"text": title}, *read] if title else read}


def _part(part: Any, field: str) -> dict[str, Any]:
    given = part if isinstance(part, dict) else {}
    data = given.get("inlineData") or given.get("inline_data")
    file = given.get("fileData") or given.get("file_data")
    if isinstance(given.get("text"), str):
        return {"text": given["text"]}
    if isinstance(data, dict) and isinstance(data.get("data"), str):
        # Google's clients write bytes in base64's URL-safe alphabet.
        return {"image": data["data"].replace("-", "+").replace("_", "/")}
    uri = file.get("fileUri", file.get("file_uri")) if isinstance(file, dict) else None
    if isinstance(uri, str):
        return {"image": uri}
    raise FieldError('must be {"text"}, {"inlineData": {"data"}} or {"fileData": {"fileUri"}}', field, part)


def _renamed(field: str, places: list[int], *, prefix: bool) -> str:
    """The path of a field in the request, from that in the request that it became.

    Example:
        >>> _renamed("input.1.content.0", [4, 7], prefix=True), _renamed("dimensions", [0], prefix=False)
        ('requests.7.content.parts.0', 'outputDimensionality')
    """
    first, _, rest = field.partition(".")
    names = {"dimensions": "outputDimensionality", "task": "taskType", "input": "content"}
    index, _, inner = rest.partition(".")
    place = places[int(index)] if first == "input" and index.isdigit() and int(index) < len(places) else places[0]
    name = names.get(first, first)
    if inner.startswith("content."):
        name = f"{name}.parts.{inner.removeprefix('content.')}"
    return f"requests.{place}.{name}" if prefix else name
