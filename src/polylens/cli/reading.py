"""`polylens read`."""

from __future__ import annotations

import asyncio
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polylens.cli.app import app
from polylens.errors import InputError

if TYPE_CHECKING:
    from polylens.documents.markdown.reading import Reading, Wish


class Format(StrEnum):
    """What `read` prints of a page."""

    content = "content"
    markdown = "markdown"
    text = "text"
    html = "html"


@app.command()
def read(
    what: Annotated[str, typer.Argument(metavar="FILE_OR_URL", help="A file, or an http(s) address.")],
    format: Annotated[
        Format,
        typer.Option(
            help="content is the main content, markdown all of a web page, text without marks, html its source."
        ),
    ] = Format.content,
    target: Annotated[str, typer.Option(metavar="SELECTOR", help="Only what this CSS selector selects.")] = "",
    remove: Annotated[str, typer.Option(metavar="SELECTOR", help="Without what this CSS selector selects.")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with title, address, links, images and pages.")
    ] = False,
) -> None:
    """Print a web page, a PDF or an office file as clean Markdown.

    An address is fetched under the rules of the server, which POLYLENS_FETCH and POLYLENS_FETCH_HOSTS change. Finding
    the main content needs pip install 'polylens[read]'; without it, all of a web page is printed.
    """
    from polylens.documents.markdown.files import read_file
    from polylens.documents.markdown.reading import Wish

    wish = Wish(name=Path(what).name, whole=format is Format.markdown, target=target, remove=remove)
    if what[:8].lower().startswith(("http://", "https://")):
        reading = asyncio.run(_read_address(what, wish))
    else:
        reading = read_file(Path(what).expanduser(), wish)
    if reading.warning:
        print(f"polylens: {reading.warning}", file=sys.stderr)
    if format is Format.html and not reading.html:
        raise InputError("html is the source of a web page, and this is none; leave --format out, or ask for text")
    shown = {"content": reading.content, "markdown": reading.content, "text": reading.text, "html": reading.html}
    print(json.dumps(_as_object(reading, shown[format]), ensure_ascii=False) if as_json else shown[format])


async def _read_address(address: str, wish: Wish) -> Reading:
    from polylens.documents.markdown.kinds import KINDS, found_at
    from polylens.documents.markdown.process import read_apart
    from polylens.server.intake.fetching import Fetcher
    from polylens.server.settings import read_settings

    settings = read_settings({})
    fetcher = Fetcher(settings.fetch_policy)
    try:
        fetched = await fetcher.fetch_whole(address, kinds=KINDS)
    finally:
        await fetcher.close()
    return read_apart(
        fetched.data, found_at(wish, fetched.data, fetched.url, fetched.content_type), seconds=settings.max_pdf_seconds
    )


def _as_object(reading: Reading, content: str) -> dict[str, Any]:
    return {
        "title": reading.title,
        "url": reading.url,
        "description": reading.description,
        "published": reading.published,
        "content": content,
        "links": [{"text": text, "url": url} for text, url in reading.links],
        "images": [{"text": text, "url": url} for text, url in reading.images],
        "pages": [{"number": number, "content": page} for number, page in reading.pages],
    }
