"""The search page and what it asks for: `polylens serve --library FOLDER`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from pydantic import Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from polylens import types
from polylens.errors import InputError, NotFoundError
from polylens.index.ranking.filters import Filters
from polylens.index.search import By
from polylens.media.image import inline_image
from polylens.server.http import schemas
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.responding import Responder
from polylens.server.http.wire import to_json
from polylens.server.search_page.service import LibraryService
from polylens.types import Kind

CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Nothing from any other host, no code but the page's own files."""

PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
PICTURE_HEADERS = {"Cache-Control": "private, max-age=300", "X-Content-Type-Options": "nosniff"}

KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
"""Of the page's files; what a system says of them differs, and a browser runs no script of another kind."""

MAX_WIDTH = 2_400  # pixels of a picture that is sent
MAX_TOP = 200


class Place(schemas.Request):
    """A page of the index."""

    file: str
    page: Annotated[int, Field(strict=True, ge=1)]


class SearchRequest(schemas.Request):
    """POST /library/search: a text, an image, both, or a page to find the like of."""

    query: str | None = None
    image: str | None = None
    like: Place | None = None
    top: Annotated[int, Field(strict=True, ge=1, le=MAX_TOP)] = 24
    by: By = "fused"
    folder: str | None = None
    kinds: list[Kind] | None = None
    languages: list[str] | None = None
    since: str | None = None
    until: str | None = None


class WhyRequest(Place):
    """POST /library/why: a query on a page."""

    query: str


def add_library(app: FastAPI, library: LibraryService, responder: Responder, host: str) -> None:
    """Adds the routes.

    Args:
        app: To which.
        library: That is searched.
        responder: Answers requests.
        host: On which the server listens; requests to other names are refused, or a page elsewhere could have its own
            name lead here and read the library.
    """
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_names_of(host))
    _add_page(app)
    _add_questions(app, library, responder)
    _add_pages(app, library, responder)


def _names_of(host: str) -> list[str]:
    local = ["127.0.0.1", "localhost", "[::1]"]
    return local if host in ("127.0.0.1", "localhost", "::1") else ["*"]


def _add_page(app: FastAPI) -> None:
    folder = files("polylens.server.search_page") / "static"
    there = {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        if name not in there:
            error = {"detail": f"the page has no part {name!r}", "code": "RESOURCE_NOT_FOUND", "request_id": ""}
            return Response(to_json(error), status_code=404, media_type="application/json")
        return Response(there[name], media_type=KINDS[Path(name).suffix], headers=PAGE_HEADERS)

    app.state.index_page = lambda: Response(there["index.html"], media_type="text/html", headers=PAGE_HEADERS)


def _add_questions(app: FastAPI, library: LibraryService, responder: Responder) -> None:
    @app.get("/library", include_in_schema=False)
    async def state(request: Request) -> Response:
        async def work(_request: schemas.Request, _context: RequestContext) -> Result:
            return Result(await library.state(), 0)

        return await responder.respond(request, None, work)

    @app.post("/library/search", include_in_schema=False)
    async def search(request: Request) -> Response:
        async def work(asked: SearchRequest, _context: RequestContext) -> Result:
            filters = Filters.of(asked.folder or None, asked.kinds, asked.languages, asked.since, asked.until)
            limits: dict[str, Any] = {"top": asked.top, "by": asked.by, "filters": filters}
            if asked.like is not None:
                return Result(await library.like(asked.like.file, asked.like.page, **limits), 0)
            parts: list[Any] = [asked.query] if asked.query else []
            if asked.image:
                if asked.image[:8].lower().startswith(("http://", "https://")):
                    raise InputError("send the image itself, as a data: URI")
                parts.append(types.Image(inline_image(asked.image)))
            return Result(await library.search(parts, **limits), 0)

        return await responder.respond(request, SearchRequest, work)

    @app.post("/library/why", include_in_schema=False)
    async def why(request: Request) -> Response:
        async def work(asked: WhyRequest, _context: RequestContext) -> Result:
            return Result(await library.why(asked.query, asked.file, asked.page), 0)

        return await responder.respond(request, WhyRequest, work)


def _add_pages(app: FastAPI, library: LibraryService, responder: Responder) -> None:
    @app.get("/library/page", include_in_schema=False)
    async def picture(request: Request) -> Response:
        async def work(_request: schemas.Request, _context: RequestContext) -> Result:
            file, page = _place(request)
            width = min(MAX_WIDTH, _number(request, "width", MAX_WIDTH))
            picture = await library.picture(file, page, width)
            return Result(Response(picture, media_type="image/png", headers=PICTURE_HEADERS), 0)

        return await responder.respond(request, None, work)

    @app.get("/library/text", include_in_schema=False)
    async def text(request: Request) -> Response:
        async def work(_request: schemas.Request, _context: RequestContext) -> Result:
            return Result(await library.text(*_place(request)), 0)

        return await responder.respond(request, None, work)

    @app.get("/library/file", include_in_schema=False)
    async def file(request: Request) -> Response:
        async def work(_request: schemas.Request, _context: RequestContext) -> Result:
            path = await library.file(request.query_params.get("file", ""))
            if not path.is_file():
                raise NotFoundError(f"{path.name} has gone since it was indexed")
            return Result(FileResponse(path, filename=path.name, headers={"X-Content-Type-Options": "nosniff"}), 0)

        return await responder.respond(request, None, work)


def _place(request: Request) -> tuple[str, int]:
    file = request.query_params.get("file", "")
    if not file:
        raise InputError("file is missing; name a file of the index")
    return file, _number(request, "page", 1)


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdecimal() and 1 <= int(given) <= 10**9):
        raise InputError(f"{name} must be a whole number, at least 1, got {given[:20]!r}")
    return int(given)
