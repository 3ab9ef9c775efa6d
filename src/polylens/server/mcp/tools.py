"""What assistants can call: `search`, `open_page`, `embed` and `rerank`.

Each does what the HTTP interface does, through the same endpoints: same models, limits and error messages. This module
knows the protocol's words, not its package.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import PIL.Image
from pydantic import ConfigDict, Field

from polylens.index.search import By
from polylens.server.http import schemas
from polylens.server.http.context import RequestContext, Result
from polylens.server.mcp.addresses import PageAddress, address_of, label, read_address, template
from polylens.server.search_page.routes import MAX_WIDTH, LibraryRoutes, RerankRequest, SearchRequest
from polylens.server.search_page.service import LibraryService
from polylens.server.state import Server
from polylens.types import Kind

MAX_TOP = 50
MAX_PNG = 512 * 1024  # bytes of a picture that is sent without loss; assistants refuse answers of more than about 1 MB
JPEG_QUALITY = 85
LISTED = 100  # pages per answer to resources/list

_STAGES = ("fused_score", "late_score", "dense_score", "text_score")


class Arguments(schemas.Request):
    """The arguments of a tool. A name that the tool does not have is an error: the assistant can mend it."""

    model_config = ConfigDict(extra="forbid")


class SearchArguments(Arguments):
    """Find the pages of the library that fit a question best, by meaning, looks and words, in any language.

    Each result names a file and a page, with the passage of its text that fits best. Call open_page to see the page.
    """

    query: str = Field(description="What to look for: a question or a few words.")
    top: Annotated[int, Field(strict=True, ge=1, le=MAX_TOP)] = Field(default=5, description="Most results.")
    by: By = Field(
        default="fused",
        description="What ranks: fused is everything together and the best; text only finds pages with these words.",
    )
    folder: str | None = Field(default=None, description="Only files below this folder of the library.")
    kinds: list[Kind] | None = Field(default=None, description="Only pages of these kinds of files.")
    languages: list[str] | None = Field(default=None, description="Only texts in these languages: ISO 639 codes.")
    since: str | None = Field(default=None, description="Only files modified on this day or later: 2026-11-01.")
    until: str | None = Field(default=None, description="Only files modified on this day or earlier.")
    min_score: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Only pages that match at least so well; 0.5 leaves out what hardly fits."
    )
    rerank: bool = Field(
        default=False, description="Order the first pages anew with the server's reranker, which is slower and better."
    )


class OpenPageArguments(Arguments):
    """Show one page of a file of the library: its text, and its picture where it has one."""

    file: str = Field(description="A file, as search names it.")
    page: Annotated[int, Field(strict=True, ge=1, le=10**9)] = Field(default=1, description="Its page, from 1.")
    picture: bool = Field(default=True, description="Whether to send the picture, not only the text.")
    width: Annotated[int, Field(strict=True, ge=16, le=MAX_WIDTH)] = Field(
        default=1_000, description="Most pixels per row of the picture."
    )


class EmbedArguments(Arguments):
    """Turn texts and images into vectors, which are near each other where the meanings are."""

    input: schemas.Input = Field(description="A text, or a list of texts and of objects with an image.")
    model: str | None = Field(default=None, description="A served model; by default the first that makes vectors.")
    task: str | None = Field(default=None, description="Such as retrieval.query, retrieval.passage or text-matching.")
    dimensions: schemas.Dimensions | None = Field(default=None, description="Numbers per vector (Matryoshka).")


class RerankArguments(Arguments):
    """Order texts or images by how well they answer a query, best first."""

    query: schemas.Item = Field(description="A text, or an object with an image.")
    documents: list[schemas.Item] = Field(min_length=1, description="Texts, and objects with an image.")
    model: str | None = Field(default=None, description="A served model; by default a reranker if there is one.")
    top: schemas.Count | None = Field(default=None, description="Most results; by default all documents.")


@dataclass(slots=True)
class Call:
    """One message of an assistant that is being answered."""

    context: RequestContext
    result: Result | None = None
    """What it is counted as; None where no model of the server computed for it, or only for a search."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image in an answer."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool answers."""

    parts: Sequence[str | Picture] = ()
    value: dict[str, Any] | None = None
    """The same for programs; then `parts` need not be given."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool, as it is listed and run."""

    name: str
    title: str
    arguments: type[Arguments]
    run: Callable[[Any, Call], Awaitable[Answer]]
    output: dict[str, Any] | None = field(default=None)
    """The JSON schema of its `Answer.value`."""


class Tools:
    """The tools and pages of a server with a library.

    Args:
        server: The server, whose models and endpoints are used.
        library: Its library.
    """

    def __init__(self, server: Server, library: LibraryService) -> None:
        self._server = server
        self._library = library
        self._routes = LibraryRoutes(library, server.responder)
        self.label = label(library.name)
        self.name = library.name
        self.template = template(self.label)
        self.all = (
            Tool("search", "Search the library", SearchArguments, self._search, SEARCH_OUTPUT),
            Tool("open_page", "Open a page", OpenPageArguments, self._open_page),
            Tool("embed", "Embed texts and images", EmbedArguments, self._embed, EMBED_OUTPUT),
            Tool("rerank", "Rerank documents", RerankArguments, self._rerank, RERANK_OUTPUT),
        )

    def find(self, name: str) -> Tool | None:
        """The tool of this name; None if there is none."""
        return next((tool for tool in self.all if tool.name == name), None)

    async def call(self, tool: Tool, arguments: dict[str, Any], call: Call) -> Answer:
        """Runs a tool.

        Raises:
            FieldError: An argument is missing, unknown or of a wrong type.
            PolylensError: As its endpoint raises.
        """
        return await tool.run(schemas.checked(arguments, tool.arguments), call)

    async def pages(self, cursor: str | None) -> tuple[list[PageAddress], str | None]:
        """The pages of the index in the order of their files, from a cursor on, and the cursor of what follows.

        The cursor is the address of the last page before, so that it holds whatever the index has become meanwhile.

        Raises:
            NotFoundError: The cursor is none that came from here.
        """
        after = None if cursor is None else read_address(cursor, self.label)
        found = [PageAddress(*each) for each in await self._library.pages(after, LISTED + 1)]
        is_more = len(found) > LISTED
        return found[:LISTED], self.address(found[LISTED - 1]) if is_more else None

    def address(self, place: PageAddress) -> str:
        """The address of a page."""
        return address_of(self.label, place)

    async def read(self, address: str) -> Sequence[str | Picture]:
        """The text of the page at an address, and its picture where it has one.

        Raises:
            NotFoundError: No page of the index has this address.
        """
        place = read_address(address, self.label)
        shown = await self._library.text(*place)
        if not shown["picture"]:
            return [shown["text"]]
        picture = await self._picture(place, MAX_WIDTH)
        return [shown["text"], picture] if shown["text"] else [picture]

    async def _search(self, asked: SearchArguments, call: Call) -> Answer:
        given = asked.model_dump(exclude={"rerank"})
        request = SearchRequest(**given, rerank=RerankRequest() if asked.rerank else None)
        found = (await self._routes.search(request, call.context)).value
        return Answer(value={**found, "results": [self._row(row) for row in found["results"]]})

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        """A result without the scores of the stages, which say nothing to an assistant, and with its address."""
        kept = {name: value for name, value in row.items() if name not in _STAGES and name != "text"}
        if kept.get("rerank_score") is None:
            kept.pop("rerank_score", None)
        return {"uri": self.address(PageAddress(row["file"], row["page"])), **kept, "snippet": row["text"]}

    async def _open_page(self, asked: OpenPageArguments, _call: Call) -> Answer:
        place = PageAddress(asked.file, asked.page)
        shown = await self._library.text(*place)
        pages = "" if shown["pages"] is None else f" of {shown['pages']}"
        note = f" ({shown['note']})" if shown["note"] else ""
        parts: list[str | Picture] = [f"{asked.file}, page {asked.page}{pages}{note}"]
        if shown["text"]:
            parts.append(shown["text"])
        elif shown["picture"]:
            parts.append("This page has no text layer, only its picture.")
        if asked.picture and shown["picture"]:
            parts.append(await self._picture(place, asked.width))
        return Answer(parts)

    async def _picture(self, place: PageAddress, width: int) -> Picture:
        sent = await self._library.image(*place, width)
        if len(sent.data) <= MAX_PNG:
            return Picture(sent.data, sent.media_type)
        return await asyncio.to_thread(_as_jpeg, sent.data)

    async def _embed(self, asked: EmbedArguments, call: Call) -> Answer:
        model = asked.model or self._server.models.find_embedder().name
        request = schemas.EmbeddingsRequest(
            model=model, input=asked.input, task=asked.task, dimensions=asked.dimensions, truncate=True
        )
        call.result = await self._server.embeddings.post(request, call.context)
        return Answer(value=call.result.value)

    async def _rerank(self, asked: RerankArguments, call: Call) -> Answer:
        model = asked.model or self._reranker()
        request = schemas.RerankRequest(model=model, query=asked.query, documents=asked.documents, top_n=asked.top)
        call.result = await self._server.rerank.post(request, call.context)
        return Answer(value=call.result.value)

    def _reranker(self) -> str:
        """The first model that is trained to rerank, or else the first with vectors."""
        trained = next((served.name for served in self._server.models if served.scores_pairs), None)
        return trained or self._server.models.find_embedder().name


def _as_jpeg(png: bytes) -> Picture:
    """A scan or photograph as JPEG, a tenth of the size."""
    buffer = io.BytesIO()
    with PIL.Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Picture(buffer.getvalue(), "image/jpeg")


def _object(properties: dict[str, Any], required: Sequence[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


_NUMBER, _TEXT = {"type": "number"}, {"type": "string"}

_FOUND = _object(
    {
        "uri": {**_TEXT, "description": "The page's address, for resources/read."},
        "file": _TEXT,
        "page": {"type": "integer", "description": "From 1."},
        "pages": {"type": "integer", "description": "How many pages the file has."},
        "snippet": {**_TEXT, "description": "The passage of the page's text that fits best; empty for a picture."},
        "score": {**_NUMBER, "description": "Higher is better; comparable within one answer only."},
        "match": {"description": "From 0 to 1, how well the page fits; comparable between answers."},
        "places": {"description": "Where on the picture the match is, in shares of its width and height."},
        "picture": {"type": "boolean", "description": "Whether open_page shows a picture."},
        "kind": _TEXT,
        "language": _TEXT,
        "modified": _TEXT,
    },
    ["uri", "file", "page", "snippet", "score"],
)
SEARCH_OUTPUT = _object(
    {
        "results": {"type": "array", "items": _FOUND},
        "reason": {"type": ["string", "null"], "description": "Why there is no result."},
    },
    ["results", "reason"],
)
EMBED_OUTPUT = _object(
    {"model": _TEXT, "data": {"type": "array", "items": {"type": "object"}}, "usage": {"type": "object"}},
    ["model", "data", "usage"],
)
RERANK_OUTPUT = _object(
    {
        "model": _TEXT,
        "results": {
            "type": "array",
            "items": _object(
                {"index": {"type": "integer"}, "relevance_score": _NUMBER, "document": {"type": "object"}},
                ["index", "relevance_score"],
            ),
        },
        "usage": {"type": "object"},
    },
    ["model", "results", "usage"],
)
