"""The application: a server and its routes, for any ASGI host."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from polylens import __version__
from polylens.server.http.openapi import describe
from polylens.server.routes import add_routes, not_routed
from polylens.server.search_page.routes import add_library
from polylens.server.settings import Settings
from polylens.server.state import Server


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
        docs_url=None,  # FastAPI's own page fetches its scripts from another host
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.server = server
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"]
        )
    app.add_exception_handler(HTTPException, not_routed)
    add_routes(app, server)
    if server.library is not None:
        add_library(app, server.library, server.responder, settings.host)
    describe(app)
    return app
