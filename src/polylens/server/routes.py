"""The routes of the HTTP interface. What an endpoint does is in `endpoints/`."""

from __future__ import annotations

import asyncio
import secrets
from collections import ChainMap
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from polylens import __version__
from polylens.errors import NotFoundError
from polylens.server.dialects import cohere, gemini, ollama, openai, tei, voyage
from polylens.server.dialects.translating import Route
from polylens.server.endpoints.models import model_info
from polylens.server.http import schemas
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.openapi import Operation, document
from polylens.server.http.reference_page import reference_page
from polylens.server.http.responding import JSON, NamedRoute
from polylens.server.http.wire import to_json
from polylens.server.state import Server

R = TypeVar("R", bound=schemas.Request)

DIALECTS = (cohere, gemini, voyage, tei, ollama, openai)


def all_routes(server: Server, index_page: Response | None) -> Sequence[BaseRoute]:
    """The routes of a server, but for those of its library.

    Args:
        server: The server that the routes lead to.
        index_page: The response to `GET /`; None greets instead.
    """
    operations = [*_with_bodies(server), *_lists(server), *_health(server), *_of_others(server)]
    described = document([operation for operation, _ in operations], ChainMap(*(each.SCHEMAS for each in DIALECTS)))
    plain = _Undocumented(server, described, index_page)
    documented = [NamedRoute(each.path, handler, methods=[each.method]) for each, handler in operations]
    return [
        *documented,
        NamedRoute("/v1/files/{file_id}/content", openai.content_handler(server)),
        NamedRoute("/", plain.root),
        NamedRoute("/openapi.json", plain.openapi),
        NamedRoute("/docs", plain.reference),
        NamedRoute("/metrics", plain.metrics),
        NamedRoute("/r/{address:path}", plain.read),
    ]


def _of_others(server: Server) -> list[Route]:
    """The operations of other services' interfaces."""
    return [route for dialect in DIALECTS for route in dialect.routes(server)]


def health_routes(server: Server) -> Sequence[BaseRoute]:
    """The routes for orchestrators."""
    return [NamedRoute(each.path, handler, methods=[each.method]) for each, handler in _health(server)]


async def not_routed(_request: Request, error: Exception) -> Response:
    """The response to an unknown path, or to a method that a path does not have."""
    assert isinstance(error, HTTPException)
    code = {404: "RESOURCE_NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "INTERNAL_ERROR")
    body = {"detail": str(error.detail), "code": code, "request_id": secrets.token_hex(16)}
    return Response(to_json(body), status_code=error.status_code, headers=error.headers, media_type=JSON)


def _with_bodies(server: Server) -> list[Route]:
    """The operations that read a body."""
    return [
        _post(server, "/v1/embeddings", schemas.EmbeddingsRequest, server.embeddings.post, "EmbeddingResponse"),
        _post(server, "/v1/rerank", schemas.RerankRequest, server.rerank.post, "RerankingResponse"),
        _post(server, "/v1/classify", schemas.ClassifyRequest, server.classify.post, "ClassificationResponse"),
        _post(server, "/v1/train", schemas.TrainRequest, server.train.post, "TrainingResponse"),
        _post(server, "/v1/segment", schemas.SegmentRequest, server.segment.post, "SegmentResponse"),
        _post(server, "/", schemas.SegmentRequest, server.segment.post, "SegmentResponse"),
        _read(server),
        _post(server, "/invocations", schemas.InvocationRequest, server.invocations.post, "InvocationResponse"),
    ]


def _post(
    server: Server, path: str, schema: type[R], work: Callable[[R, RequestContext], Awaitable[Result]], response: str
) -> Route:
    summary = (schema.__doc__ or "").splitlines()[0]
    operation = Operation(method="POST", path=path, summary=summary, response=response, request=schema)
    return operation, partial(server.responder.respond, schema=schema, work=work)


def _read(server: Server) -> Route:
    """The reader, some of whose options are headers."""

    async def post(request: Request) -> Response:
        async def work(asked: schemas.ReadRequest, context: RequestContext) -> Result:
            return await server.read.post(asked, request.headers, context)

        return await server.responder.respond(request, schemas.ReadRequest, work)

    summary = (schemas.ReadRequest.__doc__ or "").splitlines()[0]
    operation = Operation(
        method="POST", path="/v1/read", summary=summary, response="ReadResponse", request=schemas.ReadRequest
    )
    return operation, post


def _lists(server: Server) -> list[Route]:
    """The operations on models and on classifiers."""
    lists = _Lists(server)
    model, classifier = "/v1/models/{model_id:path}", "/v1/classifiers/{classifier_id}"
    return [
        (_get("/v1/models", "List the models that are served.", "ModelList"), lists.models),
        (_get(model, "Show one model, by any of its names.", "ModelInfo"), lists.model),
        (_get("/v1/classifiers", "List the trained classifiers of this key.", "ClassifierList"), lists.classifiers),
        (
            Operation(method="DELETE", path=classifier, summary="Delete a trained classifier.", response="Deleted"),
            lists.delete_classifier,
        ),
    ]


def _health(server: Server) -> list[Route]:
    """The operations for orchestrators; they need no key and are not logged."""
    health = _Health(server)
    return [
        (_get("/health", "Whether the process is alive.", "Status"), health.live),
        (_get("/live", "Whether the process is alive.", "Status"), health.live),
        (_get("/ready", "Whether every model can serve requests; 503 otherwise.", "Readiness"), health.ready),
        (_get("/ping", "The same as /ready, under SageMaker's name.", "Readiness"), health.ready),
    ]


def _get(path: str, summary: str, response: str) -> Operation:
    return Operation(method="GET", path=path, summary=summary, response=response)


class _Lists:
    """Handlers of what is listed, shown and deleted."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def models(self, request: Request) -> Response:
        return await self._server.responder.respond(request, None, self._models)

    async def model(self, request: Request) -> Response:
        work = partial(self._model, request.path_params["model_id"])
        return await self._server.responder.respond(request, None, work)

    async def classifiers(self, request: Request) -> Response:
        return await self._server.responder.respond(request, None, self._classifiers)

    async def delete_classifier(self, request: Request) -> Response:
        work = partial(self._delete, request.path_params["classifier_id"])
        return await self._server.responder.respond(request, None, work)

    async def _models(self, _request: schemas.Request, _context: RequestContext) -> Result:
        return Result({"object": "list", "data": [model_info(served) for served in self._server.models]}, 0)

    async def _model(self, name: str, _request: schemas.Request, _context: RequestContext) -> Result:
        try:
            return Result(model_info(self._server.models.find(name)), 0)
        except LookupError as unknown:
            raise NotFoundError(str(unknown)) from unknown

    async def _classifiers(self, _request: schemas.Request, context: RequestContext) -> Result:
        records = await asyncio.to_thread(self._server.classifiers.list, context.owner)
        return Result([record.summary() for record in records], 0)

    async def _delete(self, classifier_id: str, _request: schemas.Request, context: RequestContext) -> Result:
        await asyncio.to_thread(self._server.classifiers.delete, classifier_id, owner=context.owner)
        return Result({"classifier_id": classifier_id, "deleted": True}, 0)


class _Health:
    """Handlers of the questions of orchestrators."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def live(self, _request: Request) -> Response:
        return Response(to_json({"status": "ok"}), media_type=JSON)

    async def ready(self, _request: Request) -> Response:
        is_ready, body = self._server.readiness()
        return Response(to_json(body), status_code=200 if is_ready else 503, media_type=JSON)


class _Undocumented:
    """Handlers that the document leaves out, its own among them."""

    def __init__(self, server: Server, described: dict[str, object], index_page: Response | None) -> None:
        self._server = server
        self._index_page = index_page
        self._document = to_json(described)
        self._reference = reference_page(described)

    async def openapi(self, _request: Request) -> Response:
        return Response(self._document, media_type=JSON)

    async def reference(self, _request: Request) -> Response:
        return Response(self._reference, media_type="text/html")

    async def metrics(self, _request: Request) -> Response:
        return Response(self._server.metrics.text(), media_type="text/plain; version=0.0.4")

    async def read(self, request: Request) -> Response:
        """The published reader: GET /r/URL. The address is taken as it was sent, with its own parameters."""
        sent = request.scope["raw_path"].decode("latin-1").partition("/r/")[2]
        query = request.scope["query_string"].decode("latin-1")
        address = f"{sent}?{query}" if query else sent

        async def work(_request: schemas.Request, context: RequestContext) -> Result:
            return await self._server.read.get(address, request.headers, context)

        return await self._server.responder.respond(request, None, work)

    async def root(self, request: Request) -> Response:
        """The published segmenter, which also takes its fields from the URL; else the search page, or a greeting."""
        if "content" in request.query_params:
            return await self._server.responder.respond(request, None, partial(self._segment, request))
        if self._index_page is not None:
            return self._index_page
        names = self._server.models.names()
        body = {"name": "polylens", "version": __version__, "docs": "/docs", "models": names}
        return Response(to_json(body), media_type=JSON)

    async def _segment(self, request: Request, _request: schemas.Request, context: RequestContext) -> Result:
        asked = schemas.checked(dict(request.query_params), schemas.SegmentRequest)
        return await self._server.segment.post(asked, context)
