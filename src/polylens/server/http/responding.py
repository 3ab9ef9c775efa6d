"""What every request goes through: key, limits, body, errors as answers, a line in the log."""

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

from polylens.errors import OverloadedError, PolylensError, TooLargeError
from polylens.server.http import schemas
from polylens.server.http.access import Keys, RateLimits
from polylens.server.http.context import MemoryBudget, RequestContext, Result
from polylens.server.http.metrics import Metrics
from polylens.server.http.problems import problem
from polylens.server.http.wire import to_json

log = logging.getLogger("polylens.server")

JSON = "application/json"
CLIENT_GONE = 499  # what logs and metrics call a request whose client went away

R = TypeVar("R", bound=schemas.Request)


@dataclass(slots=True)
class RequestRecord:
    """One request under way, and what the log will say of it."""

    request_id: str
    route: str
    started: float
    owner: str | None = None  # None until the key was looked at
    as_openai: bool = False  # whether errors are to have OpenAI's object as well
    answer: Result | None = None


class Responder:
    """Answers requests.

    Args:
        keys: Who may ask.
        rates: How much.
        memory: What requests may hold.
        metrics: Where they are counted.
        max_body: Bytes of one body.
    """

    def __init__(self, keys: Keys, rates: RateLimits, memory: MemoryBudget, metrics: Metrics, max_body: int) -> None:
        self.keys = keys
        self.rates = rates
        self.memory = memory
        self.metrics = metrics
        self.max_body = max_body
        self.stopping = False

    async def respond(
        self, request: Request, schema: type[R] | None, work: Callable[[R, RequestContext], Awaitable[Result]]
    ) -> Response:
        """Runs an endpoint: asks for the key, reads the body, turns errors into answers, ends with a line in the log.

        Args:
            request: As it came.
            schema: Of its body; None for one without, whose `work` gets an empty request.
            work: Request and caller -> answer; cancelled if the client goes away.
        """
        record = RequestRecord(secrets.token_hex(8), request.scope["route"].path, time.perf_counter())
        try:
            record.owner = self.keys.owner(request.headers.get("authorization"))
            self.rates.take_request(record.owner)
            if self.stopping:
                raise OverloadedError("the server is shutting down")
            with self.memory.request(record.owner) as context:
                parsed = await self._parsed(request, schema, record, context)
                record.answer = await _unless_gone(request, work(parsed, context))
                response = self._answered(record)
        except ClientDisconnect:
            response = Response(status_code=CLIENT_GONE)
        except PolylensError as error:
            response = self._problem(record, error)
        except Exception:  # whatever it was, it is ours, and no reason to tell a client how we are built
            log.exception("request %s failed", record.request_id)
            response = self._problem(record, PolylensError("An unexpected error occurred."))
        response.headers["X-Request-ID"] = record.request_id
        if record.owner is not None:
            response.headers.update(self.rates.headers(record.owner))
        self._note(record, response.status_code)
        return response

    def _answered(self, record: RequestRecord) -> Response:
        answer = record.answer
        if answer is None:
            return Response(status_code=CLIENT_GONE)
        self.rates.take_tokens(record.owner or "", answer.tokens)
        if answer.inputs:
            self.metrics.count_usage(answer.model, answer.inputs, answer.tokens)
        if isinstance(answer.value, Response):
            return answer.value
        return Response(to_json(answer.value), media_type=JSON)

    async def _parsed(
        self, request: Request, schema: type[R] | None, record: RequestRecord, context: RequestContext
    ) -> R:
        record.as_openai = "x-stainless-lang" in request.headers
        if schema is None:
            return cast("R", schemas.Request())
        body = await self._body(request, context)
        record.as_openai = record.as_openai or b'"encoding_format"' in body
        return schemas.parse(body, schema)

    async def _body(self, request: Request, context: RequestContext) -> bytes:
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
                return bytes(received)
        raise TooLargeError(f"the body is longer than {limit:,} bytes, the limit for one request; send several")

    def _problem(self, record: RequestRecord, error: PolylensError) -> Response:
        status, body, headers = problem(error, record.request_id, as_openai=record.as_openai)
        return Response(body, status_code=status, headers=headers, media_type=JSON)

    def _note(self, record: RequestRecord, status: int) -> None:
        seconds = time.perf_counter() - record.started
        self.metrics.count(record.route, status, seconds)
        answer = record.answer
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
                **({"model": answer.model, "inputs": answer.inputs, "tokens": answer.tokens} if answer else {}),
            },
        )


async def _unless_gone(request: Request, work: Awaitable[Result]) -> Result | None:
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
