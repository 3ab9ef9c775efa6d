"""Ollama's interface to embeddings, and the lists that its clients ask for first.

https://github.com/ollama/ollama/blob/main/docs/api.md, version 0.13. A model may have a tag, of which
`latest` alone exists.
"""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from polylens import __version__
from polylens.server.dialects.translating import Route, float_lists, naming, route, texts, to_embed
from polylens.server.endpoints.embeddings import Answer, Wish
from polylens.server.engine.registry import Served
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.dialect import Dialect, Told, told
from polylens.server.http.openapi import Operation
from polylens.server.http.problems import Problem
from polylens.server.http.schemas import Dimensions, Flag, Request
from polylens.server.state import Server

TAG = ":latest"


class OllamaEmbedRequest(Request):
    """Embed texts, as Ollama's clients ask."""

    model: str
    input: str | list[str] = Field(default_factory=list)
    truncate: Flag | None = Field(default=None, description="Default true.")
    dimensions: Dimensions | None = None


class OllamaPromptRequest(Request):
    """Embed one text, as Ollama's older clients ask."""

    model: str
    prompt: str


_NUMBERS = {"type": "array", "items": {"type": "number"}}
SCHEMAS: dict[str, Any] = {
    "OllamaEmbedResponse": {
        "type": "object",
        "required": ["model", "embeddings"],
        "properties": {
            "model": {"type": "string"},
            "embeddings": {"type": "array", "items": _NUMBERS},
            "total_duration": {"type": "integer", "description": "Nanoseconds."},
            "load_duration": {"type": "integer", "description": "Nanoseconds."},
            "prompt_eval_count": {"type": "integer", "description": "Tokens."},
        },
    },
    "OllamaPromptResponse": {"type": "object", "required": ["embedding"], "properties": {"embedding": _NUMBERS}},
    "OllamaTags": {
        "type": "object",
        "required": ["models"],
        "properties": {
            "models": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "model"],
                    "properties": {"name": {"type": "string"}, "model": {"type": "string"}},
                },
            }
        },
    },
    "OllamaVersion": {"type": "object", "required": ["version"], "properties": {"version": {"type": "string"}}},
    "OllamaError": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
}


def tell(problem: Problem) -> Told:
    """An error in Ollama's shape."""
    return told(problem, {"error": problem.message}, {"INPUT_MODEL_NOT_FOUND": 404, 413: 400, 422: 400})


DIALECT = Dialect(tell=tell)


def routes(server: Server) -> list[Route]:
    """The routes of this dialect."""
    ollama = Ollama(server)
    posts: list[tuple[str, type[Any], str, Any]] = [
        ("/api/embed", OllamaEmbedRequest, "OllamaEmbedResponse", ollama.embed),
        ("/api/embeddings", OllamaPromptRequest, "OllamaPromptResponse", ollama.embed_prompt),
    ]
    gets: list[tuple[str, str, str, Any]] = [
        ("/api/tags", "List the models that are served, as Ollama's clients ask.", "OllamaTags", ollama.tags),
        ("/api/version", "The version of the server, as Ollama's clients ask.", "OllamaVersion", ollama.version),
    ]
    found = []
    for path, schema, response, work in posts:
        operation = Operation(
            method="POST",
            path=path,
            summary=schema.__doc__ or "",
            request=schema,
            response=response,
            error="OllamaError",
        )
        found.append(route(server, operation, schema, work, DIALECT))
    for path, summary, response, work in gets:
        operation = Operation(method="GET", path=path, summary=summary, response=response, error="OllamaError")
        found.append(route(server, operation, None, work, DIALECT))
    return found


class Ollama:
    """The endpoints of this dialect."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def embed(self, asked: OllamaEmbedRequest, context: RequestContext) -> Result:
        """Answers POST /api/embed."""
        started = time.perf_counter_ns()
        inputs = asked.input if isinstance(asked.input, list) else [asked.input]
        if not inputs:  # asks that the model be loaded
            served = self._server.models.find_embedder(asked.model.removesuffix(TAG))
            return Result({"model": asked.model, "embeddings": []}, 0, served.name)
        fields = {"dimensions": asked.dimensions, "truncate": asked.truncate}
        answer = await self._embed(asked.model, inputs, fields, context)
        value = {
            "model": asked.model,
            "embeddings": await float_lists(self._server, answer),
            "total_duration": time.perf_counter_ns() - started,
            "load_duration": 0,
            "prompt_eval_count": answer.tokens,
        }
        return answer.result(value)

    async def embed_prompt(self, asked: OllamaPromptRequest, context: RequestContext) -> Result:
        """Answers POST /api/embeddings."""
        with naming({"input": "prompt"}):
            answer = await self._embed(asked.model, [asked.prompt], {}, context)
        (values,) = await float_lists(self._server, answer)
        return answer.result({"embedding": values})

    async def tags(self, _request: Request, _context: RequestContext) -> Result:
        """Answers GET /api/tags."""
        return Result({"models": [_tag(served) for served in self._server.models if served.embeds]}, 0)

    async def version(self, _request: Request, _context: RequestContext) -> Result:
        """Answers GET /api/version."""
        return Result({"version": __version__}, 0)

    async def _embed(self, model: str, inputs: list[str], fields: dict[str, Any], context: RequestContext) -> Answer:
        request = to_embed({**fields, "model": model.removesuffix(TAG), "input": texts(inputs)})
        return await self._server.embeddings.embed(request, context, Wish(truncate=True))


def _tag(served: Served) -> dict[str, Any]:
    """The entry of a model in the list."""
    header = served.header
    name = served.name.rpartition("/")[2] + TAG
    family = header.family.name
    made = datetime.fromtimestamp(header.config_file.stat().st_mtime, UTC)
    return {
        "name": name,
        "model": name,
        "modified_at": made.isoformat(),
        "size": sum(file.stat().st_size for file in header.folder.rglob("*.safetensors")),
        "digest": hashlib.sha256(served.model_id.encode()).hexdigest(),
        "details": {"format": "safetensors", "family": family, "families": [family]},
    }
