"""The application: a server and its routes, for any ASGI host."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from polylens.server.routes import all_routes, not_routed
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
    app = Starlette(
        routes=[*all_routes(server, library.index_page() if library is not None else None), *pages],
        middleware=_middleware(settings),
        exception_handlers={HTTPException: not_routed},
        lifespan=server.running,
    )
    app.router.redirect_slashes = False
    app.state.server = server
    return app


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
