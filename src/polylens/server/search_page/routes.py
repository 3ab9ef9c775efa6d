"""The routes of the search page of `polylens serve --library FOLDER`: its own files, and the requests it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import astuple
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute

from polylens import types
from polylens.errors import FieldError, InputError, NotFoundError
from polylens.index.ranking.filters import Filters
from polylens.index.ranking.places import MAX_PLACES
from polylens.index.search import By
from polylens.library.reranking import DEFAULT_PAGES
from polylens.library.view import Group
from polylens.media.image import inline_image
from polylens.server.http import schemas
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.responding import JSON, SESSION_COOKIE, NamedRoute, Responder
from polylens.server.http.wire import to_json
from polylens.server.search_page.service import LibraryService, RerankWish, Wanted
from polylens.types import Box, Kind

CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""The page loads nothing from any other host, and runs no code but its own files."""

PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
IMAGE_HEADERS = {"Cache-Control": "private, max-age=300", "X-Content-Type-Options": "nosniff"}
FILE_HEADERS = {"X-Content-Type-Options": "nosniff"}

MEDIA_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
"""The types of the page's files. Systems differ in what they report, and a browser runs no script of another type."""

MAX_WIDTH = 2_400  # pixels of an image that is sent
MAX_TOP = 200
MAX_OFFSET = 100_000  # a list ends long before
MAX_LISTED = 1_000  # files that are not searchable, per request
MAX_RERANKED = 100  # pages
MAX_RERANK_SECONDS = 600.0


class PageRef(schemas.Request):
    """A page of a file in the index."""

    file: str
    page: Annotated[int, Field(strict=True, ge=1)]


class RerankRequest(schemas.Request):
    """The rerank stage of a search: by which model, how many pages, and within how many seconds."""

    model: str | None = None
    pages: Annotated[int, Field(strict=True, ge=1, le=MAX_RERANKED)] = DEFAULT_PAGES
    seconds: Annotated[float, Field(strict=True, gt=0, le=MAX_RERANK_SECONDS)] = 10.0


class SearchRequest(schemas.Request):
    """POST /library/search: a text, an image, both, or a page whose like is looked for."""

    query: str | None = None
    image: str | None = None
    like: PageRef | None = None
    top: Annotated[int, Field(strict=True, ge=1, le=MAX_TOP)] = 24
    offset: Annotated[int, Field(strict=True, ge=0, le=MAX_OFFSET)] = 0
    min_score: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    group: Group | None = None
    by: By = "fused"
    folder: str | None = None
    kinds: list[Kind] | None = None
    languages: list[str] | None = None
    since: str | None = None
    until: str | None = None
    rerank: RerankRequest | None = None
    places: Annotated[bool, Field(strict=True)] = True


class WhyRequest(PageRef):
    """POST /library/why: a query, and a page that it found."""

    query: str


class PageFiles:
    """The files that the search page itself is made of."""

    def __init__(self) -> None:
        folder = files("polylens.server.search_page") / "static"
        self._files = {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}

    def index(self) -> Response:
        """The page."""
        return Response(self._files["index.html"], media_type="text/html", headers=PAGE_HEADERS)

    async def get(self, request: Request) -> Response:
        """Responds to GET /page/{name}: a script, a style sheet or an icon."""
        name = request.path_params["name"]
        if name not in self._files:
            error = {"detail": f"the search page has no file {name!r}", "code": "RESOURCE_NOT_FOUND", "request_id": ""}
            return Response(to_json(error), status_code=404, media_type=JSON)
        return Response(self._files[name], media_type=MEDIA_TYPES[Path(name).suffix], headers=PAGE_HEADERS)


class LibraryRoutes:
    """The search page and the requests that it sends.

    With keys, each request brings one in its header, as any client's does. Images and downloads are loaded by their
    URL, which cannot carry a header: for these two a session suffices, whose cookie `POST /library/login` sets in
    exchange for the key. The cookie is `HttpOnly` and `SameSite=Strict` and opens nothing else, so a page of another
    site can neither read it nor have requests sent with it (docs/decisions/0016).

    Args:
        library: The library that is searched.
        responder: Responds to the requests.
    """

    def __init__(self, library: LibraryService, responder: Responder) -> None:
        self._library = library
        self._responder = responder
        self._page = PageFiles()

    def index_page(self) -> Response:
        """The page itself."""
        return self._page.index()

    def all_routes(self) -> Sequence[BaseRoute]:
        """The routes, all below /page and /library."""
        return [
            NamedRoute("/page/{name}", self._page.get),
            NamedRoute("/library", self.get_state),
            NamedRoute("/library/login", self.get_login),
            NamedRoute("/library/login", self.post_login, methods=["POST"]),
            NamedRoute("/library/search", self.post_search, methods=["POST"]),
            NamedRoute("/library/why", self.post_why, methods=["POST"]),
            NamedRoute("/library/page", self.get_image),
            NamedRoute("/library/text", self.get_text),
            NamedRoute("/library/file", self.get_file),
            NamedRoute("/library/unsearchable", self.get_unsearchable),
        ]

    async def get_login(self, _request: Request) -> Response:
        """Responds to GET /library/login: whether the page has to ask for a key. This needs none."""
        return Response(to_json({"needed": self._responder.keys.required}), media_type=JSON)

    async def post_login(self, request: Request) -> Response:
        """Responds to POST /library/login with the cookie of a session."""
        return await self._responder.respond(request, None, partial(self._login, request.url.scheme == "https"))

    async def get_state(self, request: Request) -> Response:
        """Responds to GET /library."""
        return await self._responder.respond(request, None, self._state)

    async def post_search(self, request: Request) -> Response:
        """Responds to POST /library/search."""
        return await self._responder.respond(request, SearchRequest, self.search)

    async def post_why(self, request: Request) -> Response:
        """Responds to POST /library/why."""
        return await self._responder.respond(request, WhyRequest, self._why)

    async def get_image(self, request: Request) -> Response:
        """Responds to GET /library/page?file=...&page=...&width=...&marks=..."""
        return await self._responder.respond(request, None, partial(self._image, request), session_suffices=True)

    async def get_text(self, request: Request) -> Response:
        """Responds to GET /library/text?file=...&page=..."""
        return await self._responder.respond(request, None, partial(self._text, request))

    async def get_file(self, request: Request) -> Response:
        """Responds to GET /library/file?file=..."""
        return await self._responder.respond(request, None, partial(self._file, request), session_suffices=True)

    async def get_unsearchable(self, request: Request) -> Response:
        """Responds to GET /library/unsearchable?offset=...&top=..."""
        return await self._responder.respond(request, None, partial(self._unsearchable, request))

    async def _login(self, secure: bool, _asked: schemas.Request, context: RequestContext) -> Result:
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

    async def _state(self, _asked: schemas.Request, _context: RequestContext) -> Result:
        return Result(await self._library.state(), 0)

    async def search(self, asked: SearchRequest, _context: RequestContext) -> Result:
        """Answers POST /library/search."""
        filters = await asyncio.to_thread(_filters, asked)
        wanted = Wanted(asked.top, asked.by, filters, asked.min_score, asked.offset, asked.group, asked.places)
        if asked.like is not None:
            if asked.rerank is not None:
                raise FieldError("needs a query or an image; pages like another one are not reranked", "rerank")
            return Result(await self._library.like(asked.like.file, asked.like.page, wanted), 0)
        parts: list[Any] = [asked.query] if asked.query else []
        if asked.image:
            if asked.image[:8].lower().startswith(("http://", "https://")):
                raise FieldError("must be sent as a data: URI or as base64, not as a URL", "image")
            parts.append(types.Image(await asyncio.to_thread(inline_image, asked.image)))
        rerank = None if asked.rerank is None else RerankWish(**asked.rerank.model_dump())
        return Result(await self._library.search(parts, wanted, rerank), 0)

    async def _why(self, asked: WhyRequest, _context: RequestContext) -> Result:
        return Result(await self._library.why(asked.query, asked.file, asked.page), 0)

    async def _image(self, request: Request, _asked: schemas.Request, _context: RequestContext) -> Result:
        file, page = _page_parameters(request)
        width = min(MAX_WIDTH, _number_parameter(request, "width", MAX_WIDTH))
        picture = await self._library.image(file, page, width, _marks_parameter(request))
        return Result(Response(picture.data, media_type=picture.media_type, headers=IMAGE_HEADERS), 0)

    async def _text(self, request: Request, _asked: schemas.Request, _context: RequestContext) -> Result:
        return Result(await self._library.text(*_page_parameters(request)), 0)

    async def _file(self, request: Request, _asked: schemas.Request, _context: RequestContext) -> Result:
        path = await self._library.file(request.query_params.get("file", ""))
        if not path.is_file():
            raise NotFoundError(f"{path.name} no longer exists; it was removed after it was indexed")
        return Result(FileResponse(path, filename=path.name, headers=FILE_HEADERS), 0)

    async def _unsearchable(self, request: Request, _asked: schemas.Request, _context: RequestContext) -> Result:
        offset = _number_parameter(request, "offset", 0, least=0)
        top = min(MAX_LISTED, _number_parameter(request, "top", MAX_TOP))
        return Result(await self._library.unsearchable(offset, top), 0)


def _filters(asked: SearchRequest) -> Filters:
    """The filters of a search, whose lists may be long.

    Raises:
        FieldError: A filter cannot be used; the error names it.
    """
    given = {
        "folder": asked.folder or None,
        "kinds": asked.kinds,
        "languages": asked.languages,
        "since": asked.since,
        "until": asked.until,
    }
    for name, value in given.items():
        _filters_of(name, {name: value})
    return _filters_of("since", given)  # each is usable by itself: only the order of the two dates can be wrong


def _filters_of(name: str, given: dict[str, Any]) -> Filters:
    try:
        return Filters.of(**given)
    except InputError as error:
        raise FieldError(str(error).removeprefix(f"{name} "), name, given[name]) from error


def _page_parameters(request: Request) -> tuple[str, int]:
    """The file and the number of a page, from the query of a URL."""
    file = request.query_params.get("file", "")
    if not file:
        raise FieldError("is missing; name a file of the index", "file")
    return file, _number_parameter(request, "page", 1)


def _number_parameter(request: Request, name: str, default: int, least: int = 1) -> int:
    given = request.query_params.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdecimal() and least <= int(given) <= 10**9):
        raise FieldError(f"must be a whole number between {least} and {10**9}, got {given[:20]!r}", name, given)
    return int(given)


def _marks_parameter(request: Request) -> list[Box]:
    """The places to mark on an image: `left,top,width,height` in shares of its sides, with a semicolon between two."""
    given = request.query_params.get("marks", "")
    marks = [each.split(",") for each in given.split(";") if each.strip()]
    try:
        boxes = [Box(*map(float, each)) for each in marks]
        if len(boxes) > MAX_PLACES or not all(0 <= share <= 1 for box in boxes for share in astuple(box)):
            raise ValueError
    except (ValueError, TypeError) as error:
        raise FieldError(
            f"must be at most {MAX_PLACES} places left,top,width,height between 0 and 1, with semicolons between "
            f"them, got {given[:40]!r}",
            "marks",
            given,
        ) from error
    return boxes
