"""The endpoints POST /v1/read and GET /r/URL: a web page, PDF or office file as clean Markdown.

They answer as Jina's Reader: the same text, the same JSON, and those of its headers that need no browser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any
from urllib.parse import unquote

from starlette.responses import Response

from polylens.documents.markdown.kinds import KINDS, found_at, name_of
from polylens.documents.markdown.process import read_apart
from polylens.documents.markdown.reading import Reading, Wish
from polylens.errors import FieldError, InputError, TooLargeError
from polylens.media.image import inline_image
from polylens.server.concurrency import in_thread
from polylens.server.engine.registry import Registry
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.schemas import ReadRequest
from polylens.server.intake.fetching import Fetcher
from polylens.server.settings import Limits

THREADS = 2  # files that are read at once, each in a process of its own

FORMATS = ("content", "markdown", "text", "html")

_SCHEME = re.compile(r"(https?):/+", re.I)  # proxies make one slash of two


@dataclass(frozen=True, slots=True)
class _File:
    """A file that is to be read."""

    data: bytes
    wish: Wish
    field: str
    """The field of the request that it came in."""


class ReadEndpoint:
    """Reads pages and files.

    Args:
        models: The served models; the tokenizer of the first counts what was read.
        fetcher: The fetcher of URLs.
        limits: Upper bounds of one request.
    """

    def __init__(self, models: Registry, fetcher: Fetcher, limits: Limits) -> None:
        self._models = models
        self._fetcher = fetcher
        self._limits = limits
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="polylens-read")

    async def post(self, request: ReadRequest, headers: Mapping[str, str], context: RequestContext) -> Result:
        """Answers POST /v1/read, with JSON unless mere text is asked for."""
        accepted = headers.get("accept", "")
        as_json = "application/json" in accepted or "text/plain" not in accepted
        return await self._answer(_with_headers(request, headers), context, as_json=as_json)

    async def get(self, address: str, headers: Mapping[str, str], context: RequestContext) -> Result:
        """Answers GET /r/URL, with mere text unless JSON is asked for."""
        request = _with_headers(ReadRequest(url=address_in(address)), headers)
        return await self._answer(request, context, as_json="application/json" in headers.get("accept", ""))

    async def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _answer(self, request: ReadRequest, context: RequestContext, *, as_json: bool) -> Result:
        wanted = (request.return_format or "content").lower()
        if wanted not in FORMATS:
            raise FieldError(f"must be one of {', '.join(FORMATS)}, got {wanted[:40]!r}", "return_format", wanted)
        file = await self._file(request, context, whole=wanted == "markdown")
        try:
            reading = await in_thread(self._threads, read_apart, file.data, file.wish, seconds=self._limits.pdf_seconds)
        except InputError as error:
            raise FieldError(str(error), file.field) from error
        if wanted == "html" and not reading.html:
            raise FieldError("html is the source of a web page, and this is none; ask for text", "return_format")
        if not as_json:
            return Result(_as_text(reading, request, wanted), 0)
        tokens = await in_thread(self._threads, self._num_tokens, reading.content)
        value = _as_json(reading, request, wanted)
        value["usage"] = {"tokens": tokens}
        return Result({"code": 200, "status": 20000, "data": value}, 0)

    def _num_tokens(self, text: str) -> int:
        tokenizer = self._models.find_embedder().header.processor.tokenizer
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    async def _file(self, request: ReadRequest, context: RequestContext, *, whole: bool) -> _File:
        given = [name for name in ("html", "file") if getattr(request, name) is not None]
        if len(given) > 1 or (given == ["file"] and request.url) or not (given or request.url):
            raise FieldError("is missing; send url, html (with or without url) or file", "url")
        plain = Wish(name="", target=request.target_selector or "", remove=request.remove_selector or "", whole=whole)
        if request.html is not None:
            wish = replace(plain, name="page.html", url=request.url or "", charset="utf-8")
            return _File(request.html.encode("utf-8", "replace"), wish, "html")
        if request.file is not None:
            data = await self._decoded(request.file)
            context.hold(len(data))
            name = PurePath(request.name).name if request.name else name_of(data)
            return _File(data, replace(plain, name=name), "file")
        try:
            fetched = await self._fetcher.fetch_whole(request.url or "", kinds=KINDS)
        except InputError as error:
            raise FieldError(str(error), "url", request.url) from error
        context.hold(len(fetched.data))
        return _File(fetched.data, found_at(plain, fetched.data, fetched.url, fetched.content_type), "url")

    async def _decoded(self, content: str) -> bytes:
        limit = self._limits.image_bytes
        if len(content) > limit * 4 // 3 + 1024:
            raise TooLargeError(f"the file is larger than {limit:,} bytes, the limit for one file")
        try:
            return await in_thread(self._threads, inline_image, content)
        except InputError as error:
            raise FieldError("must be a data: URI or base64", "file") from error


def address_in(path: str) -> str:
    """The URL that stands behind /r/ in a path, as a browser, a proxy or a program may have written it.

    Example:
        >>> address_in("https:/a.example/b%20c?d=1"), address_in("a.example/b"), address_in("https%3A%2F%2Fa.example")
        ('https://a.example/b%20c?d=1', 'https://a.example/b', 'https://a.example')
    """
    if re.match(r"https?%3a", path, re.I):
        path = unquote(path)
    if not path.strip("/"):
        raise FieldError("is missing; write it behind /r/: /r/https://example.org", "url")
    scheme = _SCHEME.match(path)
    return f"{scheme[1].lower()}://{path[scheme.end() :]}" if scheme else f"https://{path.lstrip('/')}"


def _with_headers(request: ReadRequest, headers: Mapping[str, str]) -> ReadRequest:
    """The request with what its headers ask for; a field of the body wins."""
    texts = {
        "return_format": headers.get("x-return-format") or headers.get("x-respond-with"),
        "target_selector": headers.get("x-target-selector"),
        "remove_selector": headers.get("x-remove-selector"),
    }
    flags = {
        name: headers.get(f"x-{name.replace('_', '-')}", "").lower() in ("true", "all", "1")
        for name in ("with_links_summary", "with_images_summary")
    }
    missing = {name: value for name, value in (texts | flags).items() if value and getattr(request, name) is None}
    return request.model_copy(update=missing)


def _as_json(reading: Reading, request: ReadRequest, wanted: str) -> dict[str, Any]:
    """The `data` of the published JSON. `pages` is ours: the pages of PDFs, slides and sheets."""
    value: dict[str, Any] = {"title": reading.title, "description": reading.description, "url": reading.url}
    if reading.published:
        value["publishedTime"] = reading.published
    value |= {wanted: getattr(reading, wanted)} if wanted in ("text", "html") else {"content": reading.content}
    if request.with_links_summary:
        value["links"] = {text or address: address for text, address in reading.links}
    if request.with_images_summary:
        value["images"] = _numbered(reading)
    if reading.pages and wanted in ("content", "markdown"):
        value["pages"] = [{"number": number, "content": content} for number, content in reading.pages]
    if reading.warning:
        value["warning"] = reading.warning
    return value


def _as_text(reading: Reading, request: ReadRequest, wanted: str) -> Response:
    if wanted in ("text", "html"):
        return _plain(getattr(reading, wanted))
    head = [f"Title: {reading.title}", f"URL Source: {reading.url}"]
    if reading.published:
        head.append(f"Published Time: {reading.published}")
    if reading.warning:
        head.append(f"Warning: {reading.warning}")
    parts = [*head, f"Markdown Content:\n{reading.content}"]
    if request.with_images_summary:
        parts.append("\n".join(["Images:", *(f"- ![{text}]({url})" for text, url in _numbered(reading).items())]))
    if request.with_links_summary:
        links = dict.fromkeys(reading.links)
        parts.append("\n".join(["Links/Buttons:", *(f"- [{text}]({url})" for text, url in links)]))
    return _plain("\n\n".join(parts) + "\n")


def _plain(text: str) -> Response:
    """Mere text, whatever it holds: a browser must not run the page of another site as one of this server."""
    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(text.encode("utf-8", "replace"), media_type="text/plain", headers=headers)


def _numbered(reading: Reading) -> dict[str, str]:
    images = list(dict.fromkeys(reading.images))
    return {f"Image {n}: {text}" if text else f"Image {n}": url for n, (text, url) in enumerate(images, start=1)}
