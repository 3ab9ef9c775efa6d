"""The application: a server and its routes, for any ASGI host."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import BaseRoute

from polylens.server.mcp.endpoint import McpEndpoint, is_installed
from polylens.server.mcp.tools import Tools
from polylens.server.routes import all_routes, health_routes, not_routed
from polylens.server.search_page.routes import LibraryRoutes
from polylens.server.settings import Settings, is_loopback
from polylens.server.state import Server


def create_app(settings: Settings) -> Starlette:
    """The application of a server, for any ASGI host; `polylens serve` runs it in uvicorn.

    Args:
        settings: The settings of the server.

    Raises:
        PolylensError: A model, the file of keys or the library cannot be used.
    """
    server = Server(settings)
    library = LibraryRoutes(server.library, server.responder) if server.library is not None else None
    pages = library.all_routes() if library is not None else []
    mcp = _mcp(server) if is_installed() else None
    routes = [*all_routes(server, library.index_page() if library is not None else None), *pages]
    return _app(server, [*routes, *([mcp.route()] if mcp is not None else [])], mcp)


def create_mcp_app(settings: Settings) -> Starlette:
    """The application of `polylens mcp --transport http`: a library's tools for assistants, and nothing else.

    Args:
        settings: The settings of the server, with a library. The package `mcp` must be installed.

    Raises:
        PolylensError: A model, the file of keys or the library cannot be used.
    """
    server = Server(settings, runs_batches=False)
    mcp = _mcp(server)
    assert mcp is not None, "the settings have a library"
    return _app(server, [*health_routes(server), mcp.route()], mcp)


def _mcp(server: Server) -> McpEndpoint | None:
    return None if server.library is None else McpEndpoint(server, Tools(server, server.library))


def _app(server: Server, routes: Sequence[BaseRoute], mcp: McpEndpoint | None) -> Starlette:
    app = Starlette(
        routes=routes,
        middleware=_middleware(server.settings),
        exception_handlers={HTTPException: not_routed},
        lifespan=server.running if mcp is None else _both(server, mcp),
    )
    app.router.redirect_slashes = False
    app.state.server = server
    return app


def _both(server: Server, mcp: McpEndpoint) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def running(_app: Starlette) -> AsyncIterator[None]:
        async with server.running(), mcp.running():
            yield

    return running


def _middleware(settings: Settings) -> list[Middleware]:
    found = []
    if settings.library is not None and settings.keys is None:
        # Without a key, a page elsewhere could have its own name lead here and read the library (DNS rebinding).
        # With keys any name will do, such as that of a reverse proxy: the name alone opens nothing.
        names = ["127.0.0.1", "localhost", "[::1]"]
        own = [settings.host] if is_loopback(settings.host) and ":" not in settings.host else []
        found.append(Middleware(TrustedHostMiddleware, allowed_hosts=[*names, *own]))
    if settings.cors_origins:
        found.append(
            Middleware(CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"])
        )
    return found
