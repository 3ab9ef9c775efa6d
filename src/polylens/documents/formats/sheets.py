"""Excel files: several rows of text per page, with the names of the columns on each page."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from polylens.documents.document import Document
from polylens.documents.formats.archive import MAX_PART, MAX_UNPACKED, Archive, Packed, reading
from polylens.documents.formats.blocks import Block, heading, joined, row
from polylens.documents.formats.workbook import Sheet, Workbook
from polylens.documents.splitting import MAX_CHARS, split
from polylens.errors import DocumentError

MAX_ROWS = 20_000  # per file; a longer one is a data set, and its last page says that rows are left out
MAX_HEADER_CHARS = 400  # characters per page for the names of its columns, after the page on which they stand as a row

_HEADER_WITHIN = 10  # rows from the top


def open_sheets(path: Path) -> Document:
    """Opens an Excel file (.xlsx, .xlsm, .xltx). A formula is read as its last result.

    Raises:
        DocumentError: The file is damaged, protected by a password, too large, or not an Excel file.
    """
    archive = Archive(path)
    with reading(archive):
        _require_sane(archive)
        return Packed("sheet", archive, _texts(archive))


def _texts(archive: Archive) -> Iterator[str]:
    book = Workbook(archive)
    limit = RowLimit()
    for sheet in book.sheets:
        yield from table_pages(sheet.name, limit.first(_rows(archive, book, sheet)))
        with archive.sparing(f"sheet {sheet.name}, beside its cells"):
            yield from aside_pages(sheet.name, book.aside(sheet))


def _rows(archive: Archive, book: Workbook, sheet: Sheet) -> Iterator[list[str]]:
    with archive.sparing(f"sheet {sheet.name}"):
        yield from book.rows(sheet)


class RowLimit:
    """The rows that a file may have, all of its tables together."""

    def __init__(self) -> None:
        self._left = MAX_ROWS

    def first(self, rows: Iterable[list[str]]) -> Iterator[list[str]]:
        """Yields the rows of a table as far as the limit goes, and then one that says that others are left out."""
        for cells in rows:
            if not self._left:
                yield [f"(Only the first {MAX_ROWS:,} rows of a file are searched; this sheet has more.)"]
                return
            self._left -= 1
            yield cells


def _require_sane(archive: Archive) -> None:
    sizes = archive.sizes()
    whole = [size for part, size in sizes.items() if part.endswith(".xml") and "/worksheets/" not in part]
    if max(whole, default=0) > MAX_PART or sum(sizes.values()) > MAX_UNPACKED:
        raise DocumentError(f"{archive.name} is too large when unpacked: {sum(sizes.values()) / 2**20:,.0f} MB")


def table_pages(name: str, rows: Iterable[Sequence[str]], *, max_chars: int = MAX_CHARS) -> Iterator[str]:
    """Splits a table into pages of text, each with the name of the table and of its columns, if they have names.

    Args:
        name: Name of the table.
        rows: Texts of the cells of each row, without empty rows; best made while they are taken.
        max_chars: Largest number of characters per page.

    Example:
        >>> rows = [["Port", "Berths"], ["Aveiro", "12"], ["Brest", "40"]]
        >>> list(table_pages("Ports", rows, max_chars=40))
        ['# Ports\\nPort | Berths\\nAveiro | 12', '# Ports\\nPort | Berths\\nBrest | 40']
    """
    rows = iter(rows)
    top = list(itertools.islice(rows, _HEADER_WITHIN))
    header = next((n for n, cells in enumerate(top) if _is_header(cells)), None)
    repeated = page = [f"# {name}"]
    for number, cells in enumerate(itertools.chain(top, rows)):
        line = row(cells).text
        for piece in split(line, max(max_chars - len("\n".join(repeated)) - 1, max_chars // 4)):
            if page is not repeated and len("\n".join([*page, piece])) > max_chars:
                yield "\n".join(page)
                page = repeated
            page = [*page, piece]
        if number == header:
            repeated = [repeated[0], line[:MAX_HEADER_CHARS]]
    if page is not repeated:
        yield "\n".join(page)


def aside_pages(name: str, words: Iterable[Block]) -> Iterator[str]:
    """Returns the pages of what stands beside the cells of a table: text boxes, charts and comments."""
    words = list(words)
    return split(joined([heading(name, 1), *words])) if words else iter(())


def _is_header(cells: Sequence[str]) -> bool:
    """Returns whether a row names the columns: at least two cells, none of them a number."""
    named = [cell for cell in cells if cell]
    return len(named) >= 2 and not any(cell[:1].isdigit() or cell[:1] in "-+" for cell in named)
