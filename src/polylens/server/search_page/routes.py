"""The search page and what it asks for: `polylens serve --library FOLDER`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute

from polylens import types
from polylens.errors import InputError, NotFoundError
from polylens.index.ranking.filters import Filters
from polylens.index.search import By
from polylens.media.image import inline_image
from polylens.server.http import schemas
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.responding import JSON, SESSION_COOKIE, NamedRoute, Responder
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


class LibraryRoutes:
    """The search page and what it asks for.

    With keys, every question brings one in its header, as any client does. Pictures and downloads are loaded by their
    address, which cannot carry a header: for these two a session suffices, whose cookie `POST /library/login` sets in
    exchange for the key. The cookie is `HttpOnly` and `SameSite=Strict` and opens nothing else, so a page of another
    site can neither read it nor have requests sent with it (docs/decisions/0016).

    Args:
        library: What is searched.
        responder: Responds to requests.
    """

    def __init__(self, library: LibraryService, responder: Responder) -> None:
        self._library = library
        self._responder = responder
        folder = files("polylens.server.search_page") / "static"
        self._parts = {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}

    def index_page(self) -> Response:
        """The page itself."""
        return Response(self._parts["index.html"], media_type="text/html", headers=PAGE_HEADERS)

    def all_routes(self) -> Sequence[BaseRoute]:
        """The routes, all below /page and /library."""
        return [
            NamedRoute("/page/{name}", self.part),
            NamedRoute("/library", self.state),
            NamedRoute("/library/login", self.login_needed),
            NamedRoute("/library/login", self.login, methods=["POST"]),
            NamedRoute("/library/search", self.search, methods=["POST"]),
            NamedRoute("/library/why", self.why, methods=["POST"]),
            NamedRoute("/library/page", self.picture),
            NamedRoute("/library/text", self.text),
            NamedRoute("/library/file", self.file),
        ]

    async def part(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._parts:
            error = {"detail": f"the page has no part {name!r}", "code": "RESOURCE_NOT_FOUND", "request_id": ""}
            return Response(to_json(error), status_code=404, media_type=JSON)
        return Response(self._parts[name], media_type=KINDS[Path(name).suffix], headers=PAGE_HEADERS)

    async def login_needed(self, _request: Request) -> Response:
        """Whether the page has to ask for a key; this needs none."""
        return Response(to_json({"needed": self._responder.keys.required}), media_type=JSON)

    async def login(self, request: Request) -> Response:
        return await self._responder.respond(request, None, partial(self._login, request.url.scheme == "https"))

    async def state(self, request: Request) -> Response:
        return await self._responder.respond(request, None, self._state)

    async def search(self, request: Request) -> Response:
        return await self._responder.respond(request, SearchRequest, self._search)

    async def why(self, request: Request) -> Response:
        return await self._responder.respond(request, WhyRequest, self._why)

    async def picture(self, request: Request) -> Response:
        return await self._responder.respond(request, None, partial(self._picture, request), session_suffices=True)

    async def text(self, request: Request) -> Response:
        return await self._responder.respond(request, None, partial(self._text, request))

    async def file(self, request: Request) -> Response:
        return await self._responder.respond(request, None, partial(self._file, request), session_suffices=True)

    async def _login(self, secure: bool, _request: schemas.Request, context: RequestContext) -> Result:
        response = Response(to_json({}), media_type=JSON)
        response.set_cookie(
            SESSION_COOKIE,
            self._responder.sessions.open(context.owner),
            path="/library",
            secure=secure,
            httponly=True,
            samesite="strict",
        )
        return Result(response, 0)

    async def _state(self, _request: schemas.Request, _context: RequestContext) -> Result:
        return Result(await self._library.state(), 0)

    async def _search(self, asked: SearchRequest, _context: RequestContext) -> Result:
        filters = Filters.of(asked.folder or None, asked.kinds, asked.languages, asked.since, asked.until)
        limits: dict[str, Any] = {"top": asked.top, "by": asked.by, "filters": filters}
        if asked.like is not None:
            return Result(await self._library.like(asked.like.file, asked.like.page, **limits), 0)
        parts: list[Any] = [asked.query] if asked.query else []
        if asked.image:
            if asked.image[:8].lower().startswith(("http://", "https://")):
                raise InputError("send the image itself, as a data: URI")
            parts.append(types.Image(inline_image(asked.image)))
        return Result(await self._library.search(parts, **limits), 0)

    async def _why(self, asked: WhyRequest, _context: RequestContext) -> Result:
        return Result(await self._library.why(asked.query, asked.file, asked.page), 0)

    async def _picture(self, request: Request, _request: schemas.Request, _context: RequestContext) -> Result:
        file, page = _place(request)
        width = min(MAX_WIDTH, _number(request, "width", MAX_WIDTH))
        picture = await self._library.picture(file, page, width)
        return Result(Response(picture, media_type="image/png", headers=PICTURE_HEADERS), 0)

    async def _text(self, request: Request, _request: schemas.Request, _context: RequestContext) -> Result:
        return Result(await self._library.text(*_place(request)), 0)

    async def _file(self, request: Request, _request: schemas.Request, _context: RequestContext) -> Result:
        path = await self._library.file(request.query_params.get("file", ""))
        if not path.is_file():
            raise NotFoundError(f"{path.name} has gone since it was indexed")
        return Result(FileResponse(path, filename=path.name, headers={"X-Content-Type-Options": "nosniff"}), 0)


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
