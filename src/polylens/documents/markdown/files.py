"""Files as Markdown: what the readers of `documents` give, with tables as Markdown's, and code between fences."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from polylens.documents.formats.encodings import decode
from polylens.documents.formats.text import read_bytes
from polylens.documents.markdown.reading import Reading, Wish, addresses_in
from polylens.documents.markdown.webpage import read_webpage
from polylens.documents.markdown.writing import fenced, table
from polylens.documents.opening import kind_of, open_document
from polylens.errors import DocumentError
from polylens.types import Kind

MAX_PAGES = 2_000  # of a file; a longer one is a book that nobody pastes anywhere
DRAWN_PIXELS = 4_096  # per page, whose picture is not used

_WEB = {".html", ".htm", ".xhtml"}
_PROSE = {
    "",
    ".txt",
    ".text",
    ".md",
    ".markdown",
    ".mdx",
    ".rst",
    ".adoc",
    ".asciidoc",
    ".org",
    ".tex",
    ".log",
    ".srt",
    ".vtt",
}
_PAGED: tuple[Kind, ...] = ("pdf", "slides", "sheet")
_SEPARATED = {".csv": ",", ".tsv": "\t"}
_HEADING = re.compile(r"#{1,6} +(\S.*)")
_ITEM = re.compile(r"\s*- ")


def read_file(path: Path, wish: Wish) -> Reading:
    """Reads a file as Markdown.

    Args:
        path: The file.
        wish: What is wanted of it.

    Raises:
        DocumentError: It is of another kind, missing, broken, protected by a password, or has no text.
        InputError: A selector is not CSS, or selects nothing.
    """
    suffix = Path(wish.name).suffix.lower()
    if suffix in _WEB:
        return read_webpage(read_bytes(path), wish)
    reading = (
        _read_text(path, wish, suffix) if kind_of(wish.name) == "text" and suffix not in (".mhtml", ".mht") else None
    )
    reading = reading or _read_pages(path, wish)
    if not reading.content.strip():
        raise DocumentError(f"{wish.name} has no text; pictures of text are not read here")
    reading.url = wish.url
    reading.text = reading.text or reading.content
    reading.links = addresses_in(reading.content)
    reading.title = reading.title or _first_heading(reading.content) or Path(wish.name).stem
    return reading


def _read_text(path: Path, wish: Wish, suffix: str) -> Reading:
    text = decode(read_bytes(path), wish.name, declared=wish.charset).strip("\n")
    if suffix in _SEPARATED:
        rows = list(csv.reader(io.StringIO(text), delimiter=_SEPARATED[suffix]))
        return Reading(content=table(rows), text=text)
    if suffix in _PROSE:
        return Reading(content=text)
    return Reading(content=fenced(text, suffix[1:]) if text.strip() else "", text=text)


def _read_pages(path: Path, wish: Wish) -> Reading:
    kind = kind_of(wish.name)
    if kind == "image":
        raise DocumentError(f"{wish.name} is a picture; pictures are searched and embedded, but their text is not read")
    with open_document(path, max_pixels=DRAWN_PIXELS) as document:
        if document.num_pages > MAX_PAGES:
            raise DocumentError(f"{wish.name} has {document.num_pages:,} pages, and the limit is {MAX_PAGES:,}")
        texts = [(page.number, page.text) for page in document if page.text.strip()]
        unread = document.unread
    reading = Reading()
    if kind in _PAGED:
        reading.pages = [(number, as_markdown(text, kind)) for number, text in texts]
        reading.content = "\n\n".join(content for _, content in reading.pages)
    else:
        reading.content = as_markdown(_rejoined([text for _, text in texts]), kind)
    reading.text = "\n\n".join(text for _, text in texts)
    if unread:
        reading.warning = "not all of it could be read: " + "; ".join(f"{part}: {why}" for part, why in unread.items())
    return reading


def as_markdown(text: str, kind: Kind | None) -> str:
    """The text of a page, whose rows of cells become tables. That of a PDF is left as it is.

    A single line with a bar in it is no table, except on a sheet.

    Example:
        >>> print(as_markdown("# Ports\\nPort | Berths\\nAveiro | 12\\n\\nThey are open.", "document"))
        # Ports
        <BLANKLINE>
        | Port | Berths |
        | --- | --- |
        | Aveiro | 12 |
        <BLANKLINE>
        They are open.
    """
    if kind == "pdf":
        return text
    least = 1 if kind == "sheet" else 2
    return re.sub(r"\n{3,}", "\n\n", "\n".join(_with_tables(text.split("\n"), least))).strip()


def _with_tables(lines: list[str], least: int) -> Iterator[str]:
    rows: list[str] = []
    for line in [*lines, ""]:
        if " | " in line and not _HEADING.match(line) and not _ITEM.match(line):
            rows.append(line)
            continue
        if rows:
            is_table = len(rows) >= least
            yield from ("", table([row.split(" | ") for row in rows]), "") if is_table else rows
            rows = []
        yield line
        if _HEADING.match(line):
            yield ""


def _rejoined(passages: list[str]) -> str:
    """Passages as the one text that they were cut from; most were cut at a blank line, but not all."""
    whole = ""
    for passage in passages:
        last, first = whole.rpartition("\n")[2], passage.partition("\n")[0]
        both = [(" | " in last, " | " in first), (bool(_ITEM.match(last)), bool(_ITEM.match(first)))]
        if not whole:
            gap = ""
        elif any(before and after for before, after in both):
            gap = "\n"
        elif last[-1:].isalnum() and first[:1].islower():  # in the middle of a sentence
            gap = " "
        else:
            gap = "\n\n"
        whole += gap + passage
    return whole


def _first_heading(content: str) -> str:
    found = re.search(rf"(?m)^{_HEADING.pattern}$", content)
    return found[1].strip() if found else ""
