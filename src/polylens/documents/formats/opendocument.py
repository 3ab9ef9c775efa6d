"""OpenDocument files, as LibreOffice writes them: texts, slides and sheets.

OASIS OpenDocument 1.3, https://docs.oasis-open.org/office/OpenDocument/v1.3/.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polylens.documents.cleaning import clean
from polylens.documents.document import Document
from polylens.documents.formats.archive import Archive, Packed, Picture, attribute, local, reading
from polylens.documents.formats.blocks import Block, heading, item, joined, row
from polylens.documents.formats.sheets import RowLimit, aside_pages, table_pages
from polylens.documents.formats.workbook import MAX_CELL_CHARS, MAX_COLUMNS
from polylens.documents.splitting import split
from polylens.errors import DocumentError
from polylens.types import Kind

_UNSEEN = frozenset({"tracked-changes", "forms", "sequence-decls", "desc", "title", "covered-table-cell"})
_LABELS = {"notes": "Notes:", "annotation": "Comment:"}
_DRAWN = frozenset({"frame", "custom-shape", "rect", "ellipse", "circle", "line", "polygon", "path", "caption", "g"})
_SHORT = {"tab": "\t", "line-break": "\n"}
_APART = (
    "p",
    "h",
    "text-box",
    "note",
    "frame",
    "custom-shape",
    "annotation",
)  # elements in a paragraph that have paragraphs of their own


def open_opendocument(path: Path, kind: Kind) -> Document:
    """Opens a text (.odt), slides (.odp) or a workbook (.ods).

    Raises:
        DocumentError: The file is damaged, protected by a password, or not an OpenDocument file.
    """
    archive = Archive(path)
    with reading(archive):
        if "META-INF/manifest.xml" in archive:
            manifest = archive.xml("META-INF/manifest.xml")
            if any(local(each) == "encryption-data" for each in manifest.iter()):
                raise DocumentError(f"{path.name} is protected by a password")
        root = archive.xml("content.xml")
        body = next(each for each in root.iter() if local(each) == "body")
        if kind == "sheet":
            return Packed(kind, archive, _sheets(body))
        if kind == "slides":
            pages = [each for each in body.iter() if local(each) == "page"]
            texts = (
                clean(joined(blocks(page))).strip() or f"Slide {number}" for number, page in enumerate(pages, start=1)
            )
            return Packed(kind, archive, texts, _pictures(body))
        return Packed(kind, archive, split(joined(blocks(body))), _pictures(body))


def blocks(element: Any, depth: int = -1) -> Iterator[Block]:
    """Yields the paragraphs and table rows of an element, in order.

    Args:
        element: The element.
        depth: Number of lists around it, minus one.
    """
    for child in element:
        name = local(child)
        if name in _UNSEEN:
            continue
        if name in ("p", "h"):
            text = text_of(child).strip()
            if text and name == "h":
                level = attribute(child, "outline-level")
                yield heading(text, int(level) if level.isdecimal() else 1)
            elif text:
                yield item(text, depth) if depth >= 0 else Block(text)
            for apart in _apart(child):
                yield from blocks([apart])
        elif name == "table-row":
            yield row(" ".join(block.text for block in blocks(cell)) for cell in child if local(cell) == "table-cell")
        elif name in _LABELS:
            said = list(blocks(child))
            yield from ([Block(_LABELS[name], "heading"), *said] if said else [])
        else:
            yield from blocks(child, depth + (name == "list"))


def text_of(element: Any) -> str:
    """Returns the text of a paragraph, without its notes and boxes."""
    parts = [element.text or ""]
    for child in element:
        name = local(child)
        if name == "s":
            count = attribute(child, "c")
            parts.append(" " * min(int(count) if count.isdecimal() else 1, 100))
        elif name in _SHORT:
            parts.append(_SHORT[name])
        elif name not in _UNSEEN and name not in _APART:
            parts.append(text_of(child))
        parts.append(child.tail or "")
    return "".join(parts)


def _apart(element: Any) -> Iterator[Any]:
    for child in element:
        if local(child) in _APART:
            yield child
        else:
            yield from _apart(child)


def _sheets(body: Any) -> Iterator[str]:
    limit = RowLimit()
    for table in body.iter():
        if local(table) == "table":
            rows = (cells for each in _rows(table) if any(cells := _cells(each)))
            name = attribute(table, "name")
            yield from table_pages(name, limit.first(rows))
            yield from aside_pages(name, _aside(table))


def _cells(table_row: Any) -> list[str]:
    """Returns the texts of the cells, repeated cells included, trailing empty cells left out."""
    cells: list[str] = []
    for cell in table_row:
        if local(cell) in ("table-cell", "covered-table-cell") and len(cells) < MAX_COLUMNS:
            text = "\n".join(_lines(cell))[:MAX_CELL_CHARS]
            repeated = attribute(cell, "number-columns-repeated")
            times = int(repeated) if repeated.isdecimal() else 1
            cells += [text] * min(times, MAX_COLUMNS - len(cells))
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _rows(table: Any) -> Iterator[Any]:
    """Yields the rows of a table, not those of the tables in its drawings."""
    for child in table:
        if local(child) == "table-row":
            yield child
        elif local(child).startswith("table-") and local(child) != "table-cell":
            yield from _rows(child)


def _lines(cell: Any) -> Iterator[str]:
    """Yields the paragraphs of a cell, those in lists too, without what is drawn over it or said about it."""
    for child in cell:
        if local(child) in ("p", "h"):
            yield text_of(child)
        elif local(child) in ("list", "list-item", "list-header", "section"):
            yield from _lines(child)


def _aside(table: Any) -> list[Block]:
    """Returns the words of a table's drawings, and the comments on its cells."""
    drawn: list[Block] = []
    comments: list[Block] = []
    stack = list(reversed(table))
    while stack:
        element = stack.pop()
        name = local(element)
        if name == "annotation":
            comments += [Block(block.text, "item") for block in blocks(element)]
        elif name in _DRAWN:
            drawn += blocks([element])
        elif name not in _UNSEEN:
            stack.extend(reversed(element))
    return [*drawn, *([Block("Comments:", "heading")] if comments else []), *comments]


def _pictures(body: Any) -> Iterator[Picture]:
    for element in body.iter():
        part = attribute(element, "href") if local(element) == "image" else ""
        if part and ":" not in part and not part.startswith(("../", "/")):  # nothing outside the file is looked at
            told = [each.text or "" for each in element.getparent() if local(each) in ("desc", "title")]
            yield Picture(part.removeprefix("./"), " ".join(" ".join(told).split()))
