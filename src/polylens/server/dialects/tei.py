"""The interface of Text Embeddings Inference, and the addresses under which Hugging Face's client asks for a model.

https://huggingface.github.io/text-embeddings-inference, version 1.9. It serves one model per process and so names none;
here that is the first that fits, unless `model` in the body or in the path says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from polylens import __version__
from polylens.errors import FieldError
from polylens.server.dialects.translating import Route, float_lists, naming, route, texts, to_embed, to_rank
from polylens.server.endpoints.embeddings import Answer, Wish
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.dialect import Dialect, Told, told
from polylens.server.http.openapi import ERRORS, Operation
from polylens.server.http.problems import Problem
from polylens.server.http.schemas import Dimensions, Flag, Request
from polylens.server.state import Server


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Direction = Annotated[str, BeforeValidator(_lower), Field(pattern="^(left|right)$")]
"""The end at which a text is cut: TEI writes it with a capital, Hugging Face's client without."""

PROMPTS = {"query": "query", "document": "document", "passage": "document"}
"""Usual names of prompts -> `input_type`; other names are those of tasks."""


class TeiEmbedRequest(Request):
    """Embed texts, as clients of Text Embeddings Inference ask."""

    inputs: str | list[str] | list[int] | list[list[int]]
    model: str | None = Field(default=None, description="Default: the first served model that produces vectors.")
    normalize: Flag | None = Field(default=None, description="Default true.")
    truncate: Flag | None = Field(default=None, description="Default false: a text that is too long is refused.")
    truncation_direction: Direction | None = Field(default=None, description="The end that is cut off; default right.")
    prompt_name: str | None = Field(default=None, description="query, document, or a published task.")
    dimensions: Dimensions | None = None


class TeiRerankRequest(Request):
    """Rank texts by their relevance to a query, as clients of Text Embeddings Inference ask."""

    query: str
    texts: Annotated[list[str], Field(min_length=1)]
    model: str | None = Field(default=None, description="Default: the first served model that is trained to rerank.")
    raw_scores: Flag | None = Field(default=None, description="Not offered: scores are those of /v1/rerank.")
    return_text: Flag | None = None
    truncate: Flag | None = Field(default=None, description="Default false: a text that is too long is refused.")


class TeiSentences(Request):
    """A sentence, and others to compare it with."""

    source_sentence: str
    sentences: Annotated[list[str], Field(min_length=1)]


class TeiSimilarityRequest(Request):
    """Compare a sentence with others, as clients of Text Embeddings Inference ask."""

    inputs: TeiSentences
    model: str | None = Field(default=None, description="Default: the first served model that produces vectors.")


_NUMBERS = {"type": "array", "items": {"type": "number"}}
SCHEMAS: dict[str, Any] = {
    "TeiEmbedResponse": {"type": "array", "items": _NUMBERS},
    "TeiRerankResponse": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["index", "score"],
            "properties": {"index": {"type": "integer"}, "score": {"type": "number"}, "text": {"type": "string"}},
        },
    },
    "TeiSimilarityResponse": _NUMBERS,
    "TeiInfo": {
        "type": "object",
        "required": ["model_id", "model_type", "max_input_length", "version"],
        "properties": {
            "model_id": {"type": "string"},
            "model_type": {"type": "object"},
            "max_input_length": {"type": "integer"},
            "version": {"type": "string"},
        },
    },
    "TeiError": {
        "type": "object",
        "required": ["error", "error_type"],
        "properties": {"error": {"type": "string"}, "error_type": {"type": "string"}},
    },
}
_ERRORS = {**ERRORS, 424: "The model failed on an input."}


def tell(problem: Problem) -> Told:
    """An error in TEI's shape: its kinds of errors, each with a status of its own."""
    statuses: dict[str | int, int] = {
        "INPUT_MODEL_NOT_FOUND": 404,
        "INPUT_TOKEN_LIMIT_EXCEEDED": 413,
        500: 424,
        503: 429,
    }
    kinds = {404: "Validation", 424: "Backend", 429: "Overloaded", 504: "Overloaded", 401: "Unauthorized"}
    status, _ = told(problem, None, statuses)
    return status, {"error": problem.message, "error_type": kinds.get(status, "Validation")}


DIALECT = Dialect(tell=tell)


def routes(server: Server) -> list[Route]:
    """The routes of this dialect."""
    tei = Tei(server)
    one = "/models/{model:path}/pipeline"
    return [
        _post(server, "/embed", TeiEmbedRequest, "TeiEmbedResponse", tei.embed),
        _post(server, f"{one}/feature-extraction", TeiEmbedRequest, "TeiEmbedResponse", tei.embed),
        _post(server, "/rerank", TeiRerankRequest, "TeiRerankResponse", tei.rerank),
        _post(server, "/similarity", TeiSimilarityRequest, "TeiSimilarityResponse", tei.similarity),
        _post(server, f"{one}/sentence-similarity", TeiSimilarityRequest, "TeiSimilarityResponse", tei.similarity),
        route(
            server,
            Operation(
                method="GET",
                path="/info",
                summary="Show the model that /embed uses, and its limits.",
                response="TeiInfo",
                error="TeiError",
                errors=_ERRORS,
            ),
            None,
            tei.info,
            DIALECT,
        ),
    ]


def _post(server: Server, path: str, schema: type[Any], response: str, work: Any) -> Route:
    operation = Operation(
        method="POST",
        path=path,
        summary=schema.__doc__ or "",
        request=schema,
        response=response,
        error="TeiError",
        errors=_ERRORS,
    )
    return route(server, operation, schema, work, DIALECT)


class Tei:
    """The endpoints of this dialect."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def embed(self, asked: TeiEmbedRequest, context: RequestContext, *, model: str | None = None) -> Result:
        """Answers POST /embed."""
        items: list[Any] = asked.inputs if isinstance(asked.inputs, list) else [asked.inputs]
        if items and isinstance(items[0], str):
            items = texts(items)
        fields = {
            "model": model or asked.model,
            "input": items,
            "input_type": PROMPTS.get(asked.prompt_name or "", asked.prompt_name),
            "normalized": asked.normalize,
            "truncate": asked.truncate,
            "dimensions": asked.dimensions,
        }
        with naming({"input": "inputs", "input_type": "prompt_name"}):
            answer = await self._embed(fields, context, keeps_end=asked.truncation_direction == "left")
        return answer.result(await float_lists(self._server, answer))

    async def rerank(self, asked: TeiRerankRequest, context: RequestContext) -> Result:
        """Answers POST /rerank."""
        if asked.raw_scores:
            raise FieldError("is not offered: scores are those of /v1/rerank; leave it out", "raw_scores")
        with naming({"documents": "texts"}):
            request = to_rank(
                {
                    "model": asked.model or self._server.models.find_ranker().name,
                    "query": {"text": asked.query},
                    "documents": texts(asked.texts),
                    "truncation": bool(asked.truncate),
                    "return_documents": False,
                }
            )
            result = await self._server.rerank.post(request, context)
        rows = [{"index": row["index"], "score": row["relevance_score"]} for row in result.value["results"]]
        if asked.return_text:
            rows = [{**row, "text": asked.texts[row["index"]]} for row in rows]
        return Result(rows, result.tokens, result.model, result.inputs)

    async def similarity(
        self, asked: TeiSimilarityRequest, context: RequestContext, *, model: str | None = None
    ) -> Result:
        """Answers POST /similarity: cosines of vectors by the task that is symmetric, if the model has one."""
        items = texts([asked.inputs.source_sentence, *asked.inputs.sentences])
        fields = {"model": model or asked.model, "input": items, "task": "SEMANTIC_SIMILARITY", "truncate": True}
        with naming(_place):
            answer = await self._embed(fields, context)
        return answer.result(await self._server.embedding.in_thread(_cosines, answer))

    async def info(self, _request: Request, _context: RequestContext) -> Result:
        """Answers GET /info."""
        models = self._server.models
        embedder = next((served for served in models if served.embeds), None)
        served = embedder or models.find_ranker()
        limits = self._server.settings.limits
        value = {
            "model_id": served.name,
            "model_type": {"embedding": {}} if embedder is not None else {"reranker": {}},
            "max_input_length": self._server.embedding.max_tokens(served),
            "max_batch_tokens": limits.request_tokens,
            "max_client_batch_size": limits.inputs,
            "auto_truncate": False,
            "version": __version__,
        }
        return Result(value, 0)

    async def _embed(self, fields: dict[str, Any], context: RequestContext, *, keeps_end: bool = False) -> Answer:
        if fields["model"] is None:
            fields = {**fields, "model": self._server.models.find_embedder().name}
        return await self._server.embeddings.embed(to_embed(fields), context, Wish(keeps_end=keeps_end))


def _cosines(answer: Answer) -> list[float]:
    """The cosine of the first vector with each of the others."""
    source, *others = answer.vectors()
    return [float(np.dot(source, other)) for other in others]


def _place(field: str) -> str:
    """The place of a sentence in the request, from that among the inputs."""
    first, _, index = field.partition(".")
    if first != "input" or not index.isdigit():
        return field
    return "inputs.source_sentence" if index == "0" else f"inputs.sentences.{int(index) - 1}"
