"""The protocol over HTTP, as `POST /mcp` ("streamable HTTP"), behind the same keys and limits as every other path.

Every message is complete in itself: no session is kept, so any of several servers can answer it, and no stream is held
open. The protocol's package takes more than a second to import, so it is imported at the first message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from polylens.server.http import schemas
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.responding import NamedRoute
from polylens.server.mcp.tools import Call, Tools
from polylens.server.state import Server

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

PATH = "/mcp"
_CALL = "polylens.call"  # where the scope of a request has its `Call`


def is_installed() -> bool:
    """Whether the protocol's package is."""
    return find_spec("mcp") is not None


class McpEndpoint:
    """Answers `POST /mcp`.

    Args:
        server: The server.
        tools: What assistants can call and read.
    """

    def __init__(self, server: Server, tools: Tools) -> None:
        self._server = server
        self._tools = tools
        self._starting = asyncio.Lock()
        self._manager: StreamableHTTPSessionManager | None = None
        self._task: asyncio.Task[None] | None = None

    def route(self) -> NamedRoute:
        """Its route. Other methods are refused: there is no stream to listen to, and no session to end."""
        return NamedRoute(PATH, self.post, methods=["POST"])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ends what the messages have started."""
        try:
            yield
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)

    async def post(self, request: Request) -> Response:
        """Responds to POST /mcp."""
        return await self._server.responder.respond(request, schemas.RawBody, partial(self._answer, request))

    async def _answer(self, request: Request, body: schemas.RawBody, context: RequestContext) -> Result:
        call = Call(context)
        manager = await self._started()
        response = _Collected(body.content)
        await manager.handle_request({**request.scope, _CALL: call}, response.receive, response.send)
        counted = call.result or Result(None, 0)
        return Result(response.made(), counted.tokens, counted.model, counted.inputs)

    async def _started(self) -> StreamableHTTPSessionManager:
        async with self._starting:
            if self._manager is None:
                self._manager = await asyncio.to_thread(self._make)
                running = asyncio.Event()
                self._task = asyncio.create_task(_run(self._manager, running))
                await running.wait()
        return self._manager

    def _make(self) -> StreamableHTTPSessionManager:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from polylens.server.mcp.protocol import Protocol

        return StreamableHTTPSessionManager(
            Protocol(self._tools, _call_of).server(),
            json_response=True,
            stateless=True,
            max_request_body_size=self._server.settings.limits.body_bytes,
        )


@contextlib.contextmanager
def _call_of(context: Any) -> Iterator[Call]:
    """The call that the request of a message carries."""
    yield context.request.scope[_CALL]


async def _run(manager: StreamableHTTPSessionManager, running: asyncio.Event) -> None:
    """Keeps the manager's tasks: a group of tasks must be left by the task that entered it."""
    async with manager.run():
        running.set()
        await asyncio.Event().wait()


class _Collected:
    """One request to an ASGI application, whose response is collected.

    Args:
        body: The body of the request.
    """

    def __init__(self, body: bytes) -> None:
        self._left = [{"type": "http.request", "body": body, "more_body": False}]
        self._status, self._body = 500, bytearray()
        self._headers: list[tuple[bytes, bytes]] = []

    async def receive(self) -> Message:
        if self._left:
            return self._left.pop()
        await asyncio.Event().wait()  # whoever goes away is noticed by our caller
        raise AssertionError

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], message["headers"]
        else:
            self._body += message.get("body", b"")

    def made(self) -> Response:
        response = Response(bytes(self._body), status_code=self._status)
        names = (b"content-length",)  # which the response has by itself
        response.raw_headers += [(name, value) for name, value in self._headers if name.lower() not in names]
        return response
