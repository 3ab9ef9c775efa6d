"""The steps of every request: key, limits, body, result or error as a response, a log line."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from polylens.errors import OverloadedError, PolylensError, TooLargeError
from polylens.server.http import schemas
from polylens.server.http.access import Keys, Sessions
from polylens.server.http.context import MemoryBudget, RequestContext, Result
from polylens.server.http.dialect import Dialect, bearer
from polylens.server.http.metrics import Metrics
from polylens.server.http.problems import Problem, published
from polylens.server.http.rates import RateLimits
from polylens.server.http.wire import to_json

log = logging.getLogger("polylens.server")

JSON = "application/json"
CLIENT_GONE = 499  # the status in logs and metrics of a request whose client went away
SESSION_COOKIE = "polylens_session"
INLINE_BYTES = 8 * 1024  # a body up to this size is parsed on the event loop: in well under a millisecond

R = TypeVar("R", bound=schemas.Request)


@dataclass(slots=True)
class RequestRecord:
    """One request under way, as the log will describe it."""

    request_id: str
    route: str
    started: float
    owner: str | None = None  # None until the key was checked
    as_openai: bool = False  # whether errors also carry OpenAI's object
    flat: bool = False  # whether `detail` must be a string
    dialect: Dialect | None = None  # in which errors are told; None is the published interface
    result: Result | None = None


class NamedRoute(Route):
    """A route that tells its handler the path it was declared with, which logs and metrics call it by."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "declared_path": self.path}


class Responder:
    """Responds to requests.

    Args:
        keys: The keys that may send requests.
        rates: The requests and tokens per minute that each key may send.
        memory: The bytes that requests may hold in memory.
        metrics: The metrics in which requests are counted.
        max_body: The most bytes in one body.
    """

    def __init__(self, keys: Keys, rates: RateLimits, memory: MemoryBudget, metrics: Metrics, max_body: int) -> None:
        self.keys = keys
        self.sessions = Sessions()
        self.rates = rates
        self.memory = memory
        self.metrics = metrics
        self.max_body = max_body
        self.stopping = False

    async def respond(
        self,
        request: Request,
        schema: type[R] | None,
        work: Callable[[R, RequestContext], Awaitable[Result]],
        *,
        session_suffices: bool = False,
        dialect: Dialect | None = None,
    ) -> Response:
        """Runs an endpoint: asks for the key, reads the body, turns errors into responses, ends with a log line.

        Args:
            request: The HTTP request.
            schema: The schema of its body; None for a request without one, whose `work` gets an empty request.
            work: The endpoint, which turns the request and its context into a result. It is cancelled if the client
                goes away.
            session_suffices: Whether the search page's cookie may stand in for the key.
            dialect: The interface whose client sends the request; None is the published one.
        """
        record = RequestRecord(
            secrets.token_hex(16), request.scope["declared_path"], time.perf_counter(), dialect=dialect
        )
        try:
            record.owner = self._owner(request, dialect, session_suffices=session_suffices)
            self.rates.take_request(record.owner)
            if self.stopping:
                raise OverloadedError("the server is shutting down")
            with self.memory.request(record.owner) as context:
                parsed = await self._parsed(request, schema, record, context)
                record.result = await _unless_gone(request, work(parsed, context))
                response = await self._response(record)
        except ClientDisconnect:
            response = Response(status_code=CLIENT_GONE)
        except PolylensError as error:
            response = self._problem(record, error)
        except Exception:  # a defect of ours: the log gets the details, the client none of them
            log.exception("request %s failed", record.request_id)
            response = self._problem(record, PolylensError("An unexpected error occurred."))
        response.headers["X-Request-ID"] = record.request_id
        if record.owner is not None:
            response.headers.update(self.rates.headers(record.owner))
        self._note(record, response.status_code)
        return response

    def _owner(self, request: Request, dialect: Dialect | None, *, session_suffices: bool) -> str:
        authorization = (dialect.authorization if dialect is not None else bearer)(request)
        if session_suffices and not authorization:
            owner = self.sessions.owner(request.cookies.get(SESSION_COOKIE))
            if owner is not None:
                return owner
        return self.keys.owner(authorization)

    async def _response(self, record: RequestRecord) -> Response:
        result = record.result
        if result is None:
            return Response(status_code=CLIENT_GONE)
        self.rates.take_tokens(record.owner or "", result.tokens)
        if result.inputs:
            self.metrics.count_usage(result.model, result.inputs, result.tokens)
        if isinstance(result.value, Response):
            return result.value
        # In a thread, whatever the size: nothing tells how long it will be before it is written.
        return Response(await asyncio.to_thread(to_json, result.value), media_type=JSON)

    async def _parsed(
        self, request: Request, schema: type[R] | None, record: RequestRecord, context: RequestContext
    ) -> R:
        record.as_openai = "x-stainless-lang" in request.headers
        if schema is None:
            return cast("R", schemas.Request())
        body = await self._body(request, context)
        if len(body) <= INLINE_BYTES:
            return _parse(body, schema, record)
        return await asyncio.to_thread(_parse, body, schema, record)

    async def _body(self, request: Request, context: RequestContext) -> bytearray:
        limit = self.max_body
        length = request.headers.get("content-length", "")
        received = bytearray()
        if not (length.isdecimal() and int(length) > limit):
            async for chunk in request.stream():
                received += chunk
                context.hold(len(chunk))
                if len(received) > limit:
                    break
            else:
                return received
        raise TooLargeError(f"the body is longer than {limit:,} bytes, the limit per request; send several")

    def _problem(self, record: RequestRecord, error: PolylensError) -> Response:
        problem = Problem.of(error, record.request_id)
        if record.dialect is not None:
            status, body = record.dialect.tell(problem)
        else:
            status, body = problem.status, published(problem, as_openai=record.as_openai, flat=record.flat)
        return Response(to_json(body), status_code=status, headers=problem.headers(), media_type=JSON)

    def _note(self, record: RequestRecord, status: int) -> None:
        seconds = time.perf_counter() - record.started
        self.metrics.count(record.route, status, seconds)
        result = record.result
        log.info(
            "%s %d",
            record.route,
            status,
            extra={
                "request_id": record.request_id,
                "route": record.route,
                "status": status,
                "seconds": round(seconds, 4),
                "owner": record.owner,
                **({"model": result.model, "inputs": result.inputs, "tokens": result.tokens} if result else {}),
            },
        )


def _parse(body: bytearray, schema: type[R], record: RequestRecord) -> R:
    record.as_openai = record.as_openai or b'"encoding_format"' in body
    record.flat = b'"output_dtype"' in body or b'"top_k"' in body  # Voyage's client, which always sends these
    return schemas.parse(body, schema)


async def _unless_gone(request: Request, work: Awaitable[Result]) -> Result | None:
    """The result of the work; None if the client goes away first, which cancels the work."""
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
