"""The protocol over stdin and stdout, for assistants that start the server themselves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from mcp.server.stdio import stdio_server

from polylens.server.http.access import ANYONE
from polylens.server.mcp.protocol import Context, Protocol
from polylens.server.mcp.tools import Call, Tools
from polylens.server.state import Server


def serve_stdio(server: Server) -> None:
    """Answers messages until stdin ends. Nothing else is written to stdout: what is printed goes to stderr.

    Args:
        server: A server with a library, not running yet.
    """
    asyncio.run(_serve(server))


async def _serve(server: Server) -> None:
    assert server.library is not None

    @contextlib.contextmanager
    def call_of(_context: Context) -> Iterator[Call]:
        with server.responder.memory.request(ANYONE) as context:
            yield Call(context)

    protocol = Protocol(Tools(server, server.library), call_of).server()
    async with stdio_server() as (received, sent), server.running():  # workers inherit stdout as it is by then
        await protocol.run(received, sent, protocol.create_initialization_options())
