"""The routes of the HTTP interface. What an endpoint does is in `endpoints/`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from polylens import __version__
from polylens.errors import NotFoundError
from polylens.server.endpoints.models import model_info
from polylens.server.http import schemas
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.openapi import responses
from polylens.server.http.reference_page import reference_page
from polylens.server.http.responding import JSON
from polylens.server.http.wire import to_json
from polylens.server.state import Server

R = TypeVar("R", bound=schemas.Request)


def add_routes(app: FastAPI, server: Server) -> None:
    """All of them."""
    _add_work(app, server)
    _add_lists(app, server)
    _add_health(app, server)


def _add_work(app: FastAPI, server: Server) -> None:
    """The endpoints that take a body."""

    def post(path: str, schema: type[R], work: Callable[[R, RequestContext], Awaitable[Result]], answer: str) -> None:
        async def endpoint(request: Request) -> Response:
            return await server.responder.respond(request, schema, work)

        app.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            name=path.strip("/").replace("/", "_") or "segment_at_root",
            summary=(schema.__doc__ or "").splitlines()[0],
            responses=responses(answer),
            openapi_extra={"requestBody": {"required": True, "content": {JSON: {"schema": {"$ref": _ref(schema)}}}}},
        )

    post("/v1/embeddings", schemas.EmbeddingsRequest, server.embeddings.post, "EmbeddingResponse")
    post("/v1/rerank", schemas.RerankRequest, server.rerank.post, "RerankingResponse")
    post("/v1/classify", schemas.ClassifyRequest, server.classify.post, "ClassificationResponse")
    post("/v1/train", schemas.TrainRequest, server.train.post, "TrainingResponse")
    post("/v1/segment", schemas.SegmentRequest, server.segment.post, "SegmentResponse")
    post("/", schemas.SegmentRequest, server.segment.post, "SegmentResponse")
    post("/invocations", schemas.InvocationRequest, server.invocations.post, "InvocationResponse")


def _add_lists(app: FastAPI, server: Server) -> None:
    """The endpoints that list things."""

    @app.get("/v1/models", responses=responses("ModelList"), summary="The models that are served.")
    async def list_models(request: Request) -> Response:
        async def work(_request: schemas.Request, _context: RequestContext) -> Result:
            return Result({"object": "list", "data": [model_info(served) for served in server.models]}, 0)

        return await server.responder.respond(request, None, work)

    @app.get("/v1/models/{model_id:path}", responses=responses("ModelInfo"), summary="One model, by any of its names.")
    async def show_model(request: Request, model_id: str) -> Response:
        async def work(_request: schemas.Request, _context: RequestContext) -> Result:
            try:
                return Result(model_info(server.models.find(model_id)), 0)
            except LookupError as unknown:
                raise NotFoundError(str(unknown)) from unknown

        return await server.responder.respond(request, None, work)

    @app.get("/v1/classifiers", responses=responses("ClassifierList"), summary="The caller's trained classifiers.")
    async def list_classifiers(request: Request) -> Response:
        async def work(_request: schemas.Request, context: RequestContext) -> Result:
            return Result([record.summary() for record in server.classifiers.list(context.owner)], 0)

        return await server.responder.respond(request, None, work)

    @app.delete(
        "/v1/classifiers/{classifier_id}", responses=responses("Deleted"), summary="Forget a trained classifier."
    )
    async def delete_classifier(request: Request, classifier_id: str) -> Response:
        async def work(_request: schemas.Request, context: RequestContext) -> Result:
            await asyncio.to_thread(server.classifiers.delete, classifier_id, owner=context.owner)
            return Result({"classifier_id": classifier_id, "deleted": True}, 0)

        return await server.responder.respond(request, None, work)


def _add_health(app: FastAPI, server: Server) -> None:
    """What orchestrators ask; no key is needed, nothing is logged."""

    @app.get("/health", responses=responses("Status"), summary="The process answers.")
    @app.get("/live", responses=responses("Status"), summary="The process answers.")
    async def live() -> Response:
        return Response(to_json({"status": "ok"}), media_type=JSON)

    @app.get("/ready", responses=responses("Readiness"), summary="Every model can answer, or 503.")
    @app.get("/ping", responses=responses("Readiness"), summary="SageMaker's name for /ready.")
    async def ready() -> Response:
        is_ready, body = server.readiness()
        return Response(to_json(body), status_code=200 if is_ready else 503, media_type=JSON)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/docs", include_in_schema=False)
    async def reference() -> Response:
        return Response(reference_page(app.openapi()), media_type="text/html; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def root(request: Request) -> Response:
        """The published segmenter, which takes its fields from the address too; else the search page, or a greeting."""
        if "content" not in request.query_params and server.library is not None:
            page: Response = app.state.index_page()
            return page
        if "content" not in request.query_params:
            body = {"name": "polylens", "version": __version__, "docs": "/docs", "models": server.models.names()}
            return Response(to_json(body), media_type=JSON)

        async def work(_request: schemas.Request, context: RequestContext) -> Result:
            asked = schemas.checked(dict(request.query_params), schemas.SegmentRequest)
            return await server.segment.post(asked, context)

        return await server.responder.respond(request, None, work)


async def not_routed(_request: Request, error: Exception) -> Response:
    """A path that there is not, or a method that a path has not."""
    assert isinstance(error, HTTPException)
    code = {404: "RESOURCE_NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "INTERNAL_ERROR")
    body = {"detail": str(error.detail), "code": code, "request_id": secrets.token_hex(8)}
    return Response(to_json(body), status_code=error.status_code, headers=error.headers, media_type=JSON)


def _ref(schema: type[schemas.Request]) -> str:
    return f"#/components/schemas/{schema.__name__}"
