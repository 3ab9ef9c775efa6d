"""The HTTP interface: routes, keys, limits, errors, logs. What an endpoint does is in `operations.py`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

from polylens import __version__
from polylens.errors import NotFoundError, OverloadedError, PolylensError, TooLargeError
from polylens.server import schemas
from polylens.server.access import Keys, RateLimits, read_keys
from polylens.server.answer import Answer
from polylens.server.cache import Cache
from polylens.server.callers import Caller, Memory
from polylens.server.classifiers import ClassifierStore
from polylens.server.embedding import EmbeddingService
from polylens.server.fetching import Fetcher
from polylens.server.labelling import Labelling
from polylens.server.listing import model_info
from polylens.server.metrics import Metrics
from polylens.server.openapi import describe, responses
from polylens.server.operations import Operations
from polylens.server.problems import problem
from polylens.server.registry import Registry
from polylens.server.settings import Settings
from polylens.server.wire import to_json

log = logging.getLogger("polylens.server")

JSON = "application/json"
CLIENT_GONE = 499  # what logs and metrics call a request whose client went away

R = TypeVar("R", bound=schemas.Request)


@dataclass(slots=True)
class Call:
    """One request under way, and what the log will say of it."""

    request_id: str
    route: str
    started: float
    owner: str | None = None  # None until the key was looked at
    as_openai: bool = False  # whether errors are to have OpenAI's object as well
    answer: Answer | None = None


class Server:
    """Everything behind the routes.

    Args:
        settings: How it runs.

    Raises:
        PolylensError: A model, the file of keys or the folder of classifiers cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.models = Registry(settings)
        self.keys = Keys(read_keys(settings.keys) if settings.keys is not None else None)
        self.rates = RateLimits(settings.limits.requests_per_minute, settings.limits.tokens_per_minute)
        self.cache = Cache(settings.cache_bytes)
        self.embedding = EmbeddingService(Fetcher(settings.fetch), self.cache, settings.limits)
        self.classifiers = ClassifierStore(settings.classifiers)
        self.memory = Memory(settings.limits.request_bytes, settings.limits.held_bytes)
        self.operations = Operations(self.models, self.embedding, settings.limits.inputs)
        self.labelling = Labelling(self.models, self.embedding, self.classifiers)
        self.metrics = Metrics(self.models, self.cache)
        self.stopping = False

    @contextlib.asynccontextmanager
    async def running(self, _app: FastAPI) -> AsyncIterator[None]:
        """Starts the models, and ends them when the server is done."""
        for served in self.models:
            if not self.settings.lazy:
                served.engine.start()
        try:
            yield
        finally:
            self.stopping = True
            for served in self.models:
                await served.engine.stop()
            await self.embedding.close()

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether requests would be answered, and the state of each model."""
        states = {served.name: served.engine.state for served in self.models}
        ready = not self.stopping and all(state in ("ready", "idle") for state in states.values())
        reasons = {served.name: served.engine.reason for served in self.models if served.engine.reason}
        body: dict[str, Any] = {"status": "ready" if ready else "not ready", "models": states}
        return ready, {**body, "reasons": reasons} if reasons else body

    async def respond(
        self, request: Request, schema: type[R] | None, work: Callable[[R, Caller], Awaitable[Answer]]
    ) -> Response:
        """Runs an endpoint: asks for the key, reads the body, turns errors into answers, ends with a line in the log.

        Args:
            request: As it came.
            schema: Of its body; None for one without, whose `work` gets an empty request.
            work: Request and caller -> answer; cancelled if the client goes away.
        """
        call = Call(secrets.token_hex(8), request.scope["route"].path, time.perf_counter())
        try:
            call.owner = self.keys.owner(request.headers.get("authorization"))
            self.rates.take_request(call.owner)
            if self.stopping:
                raise OverloadedError("the server is shutting down")
            with self.memory.caller(call.owner) as caller:
                parsed = await self._parsed(request, schema, call, caller)
                call.answer = await _unless_gone(request, work(parsed, caller))
                response = self._answered(call)
        except ClientDisconnect:
            response = Response(status_code=CLIENT_GONE)
        except PolylensError as error:
            response = self._problem(call, error)
        except Exception:  # whatever it was, it is ours, and no reason to tell a client how we are built
            log.exception("request %s failed", call.request_id)
            response = self._problem(call, PolylensError("An unexpected error occurred."))
        response.headers["X-Request-ID"] = call.request_id
        if call.owner is not None:
            response.headers.update(self.rates.headers(call.owner))
        self._note(call, response.status_code)
        return response

    def _answered(self, call: Call) -> Response:
        answer = call.answer
        if answer is None:
            return Response(status_code=CLIENT_GONE)
        self.rates.take_tokens(call.owner or "", answer.tokens)
        if answer.inputs:
            self.metrics.count_usage(answer.model, answer.inputs, answer.tokens)
        return Response(to_json(answer.value), media_type=JSON)

    async def _parsed(self, request: Request, schema: type[R] | None, call: Call, caller: Caller) -> R:
        call.as_openai = "x-stainless-lang" in request.headers
        if schema is None:
            return cast("R", schemas.Request())
        body = await self._body(request, caller)
        call.as_openai = call.as_openai or b'"encoding_format"' in body
        return schemas.parse(body, schema)

    async def _body(self, request: Request, caller: Caller) -> bytes:
        limit = self.settings.limits.body_bytes
        length = request.headers.get("content-length", "")
        received = bytearray()
        if not (length.isdecimal() and int(length) > limit):
            async for chunk in request.stream():
                received += chunk
                caller.hold(len(chunk))
                if len(received) > limit:
                    break
            else:
                return bytes(received)
        raise TooLargeError(f"the body is longer than {limit:,} bytes, the limit for one request; send several")

    def _problem(self, call: Call, error: PolylensError) -> Response:
        status, body, headers = problem(error, call.request_id, as_openai=call.as_openai)
        return Response(body, status_code=status, headers=headers, media_type=JSON)

    def _note(self, call: Call, status: int) -> None:
        seconds = time.perf_counter() - call.started
        self.metrics.count(call.route, status, seconds)
        answer = call.answer
        log.info(
            "%s %d",
            call.route,
            status,
            extra={
                "request_id": call.request_id,
                "route": call.route,
                "status": status,
                "seconds": round(seconds, 4),
                "owner": call.owner,
                **({"model": answer.model, "inputs": answer.inputs, "tokens": answer.tokens} if answer else {}),
            },
        )


async def _unless_gone(request: Request, work: Awaitable[Answer]) -> Answer | None:
    """The work's answer, or None, the work being cancelled, if the client goes away before it is there."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def create_app(settings: Settings) -> FastAPI:
    """The application of a server, for any ASGI host; `polylens serve` runs it in uvicorn.

    Args:
        settings: How it runs.

    Raises:
        PolylensError: A model, the file of keys or the folder of classifiers cannot be used.
    """
    server = Server(settings)
    app = FastAPI(
        title="polylens",
        version=__version__,
        description="Universal embeddings one can run oneself, behind the interface of the published models.",
        lifespan=server.running,
        docs_url="/docs",
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.server = server
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"]
        )
    app.add_exception_handler(HTTPException, _not_routed)
    _add_work(app, server)
    _add_lists(app, server)
    _add_health(app, server)
    describe(app)
    return app


def _add_work(app: FastAPI, server: Server) -> None:
    """The endpoints that take a body."""
    operations = server.operations

    def post(path: str, schema: type[R], work: Callable[[R, Caller], Awaitable[Answer]], answer: str) -> None:
        async def endpoint(request: Request) -> Response:
            return await server.respond(request, schema, work)

        app.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            name=path.strip("/").replace("/", "_") or "segment_at_root",
            summary=(schema.__doc__ or "").splitlines()[0],
            responses=responses(answer),
            openapi_extra={"requestBody": {"required": True, "content": {JSON: {"schema": {"$ref": _ref(schema)}}}}},
        )

    async def segment(request: schemas.SegmentRequest, _caller: Caller) -> Answer:
        return await operations.segment(request)

    post("/v1/embeddings", schemas.EmbeddingsRequest, operations.embeddings, "EmbeddingResponse")
    post("/v1/rerank", schemas.RerankRequest, operations.rerank, "RerankingResponse")
    post("/v1/classify", schemas.ClassifyRequest, server.labelling.classify, "ClassificationResponse")
    post("/v1/train", schemas.TrainRequest, server.labelling.train, "TrainingResponse")
    post("/v1/segment", schemas.SegmentRequest, segment, "SegmentResponse")
    post("/", schemas.SegmentRequest, segment, "SegmentResponse")
    post("/invocations", schemas.InvocationRequest, operations.invoke, "InvocationResponse")


def _add_lists(app: FastAPI, server: Server) -> None:
    """The endpoints that list things."""

    @app.get("/v1/models", responses=responses("ModelList"), summary="The models that are served.")
    async def list_models(request: Request) -> Response:
        async def work(_request: schemas.Request, _caller: Caller) -> Answer:
            return Answer({"object": "list", "data": [model_info(served) for served in server.models]}, 0)

        return await server.respond(request, None, work)

    @app.get("/v1/models/{model_id:path}", responses=responses("ModelInfo"), summary="One model, by any of its names.")
    async def show_model(request: Request, model_id: str) -> Response:
        async def work(_request: schemas.Request, _caller: Caller) -> Answer:
            try:
                return Answer(model_info(server.models.find(model_id)), 0)
            except LookupError as unknown:
                raise NotFoundError(str(unknown)) from unknown

        return await server.respond(request, None, work)

    @app.get("/v1/classifiers", responses=responses("ClassifierList"), summary="The caller's trained classifiers.")
    async def list_classifiers(request: Request) -> Response:
        async def work(_request: schemas.Request, caller: Caller) -> Answer:
            return Answer([record.summary() for record in server.classifiers.list(caller.owner)], 0)

        return await server.respond(request, None, work)

    @app.delete(
        "/v1/classifiers/{classifier_id}", responses=responses("Deleted"), summary="Forget a trained classifier."
    )
    async def delete_classifier(request: Request, classifier_id: str) -> Response:
        async def work(_request: schemas.Request, caller: Caller) -> Answer:
            await asyncio.to_thread(server.classifiers.delete, classifier_id, owner=caller.owner)
            return Answer({"classifier_id": classifier_id, "deleted": True}, 0)

        return await server.respond(request, None, work)


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

    @app.get("/", include_in_schema=False)
    async def root(request: Request) -> Response:
        """The published segmenter takes its fields from the address as well."""
        if "content" not in request.query_params:
            body = {"name": "polylens", "version": __version__, "docs": "/docs", "models": server.models.names()}
            return Response(to_json(body), media_type=JSON)

        async def work(_request: schemas.Request, _caller: Caller) -> Answer:
            return await server.operations.segment(schemas.checked(dict(request.query_params), schemas.SegmentRequest))

        return await server.respond(request, None, work)


async def _not_routed(_request: Request, error: Exception) -> Response:
    """A path that there is not, or a method that a path has not."""
    assert isinstance(error, HTTPException)
    code = {404: "RESOURCE_NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "INTERNAL_ERROR")
    body = {"detail": str(error.detail), "code": code, "request_id": secrets.token_hex(8)}
    return Response(to_json(body), status_code=error.status_code, headers=error.headers, media_type=JSON)


def _ref(schema: type[schemas.Request]) -> str:
    return f"#/components/schemas/{schema.__name__}"
