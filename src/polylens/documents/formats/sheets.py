"""Excel files: several rows of text per page, with the names of the columns on each page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from polylens.documents.document import Document
from polylens.documents.formats.archive import MAX_PART, MAX_UNPACKED, Archive, Packed, reading
from polylens.documents.formats.blocks import Block, heading, joined, row
from polylens.documents.formats.workbook import Workbook
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
        return Packed("sheet", archive, list(_texts(archive)))


def _texts(archive: Archive) -> Iterator[str]:
    book = Workbook(archive)
    left = MAX_ROWS
    for sheet in book.sheets:
        rows: list[list[str]] = []
        is_cut = False
        with archive.sparing(f"sheet {sheet.name}"):
            for cells in book.rows(sheet):
                is_cut = len(rows) == left
                if is_cut:
                    break
                rows.append(cells)
        left -= len(rows)
        yield from table_pages(sheet.name, rows, is_cut=is_cut)
        with archive.sparing(f"sheet {sheet.name}, beside its cells"):
            yield from aside_pages(sheet.name, book.aside(sheet))


def _require_sane(archive: Archive) -> None:
    sizes = archive.sizes()
    whole = [size for part, size in sizes.items() if part.endswith(".xml") and "/worksheets/" not in part]
    if max(whole, default=0) > MAX_PART or sum(sizes.values()) > MAX_UNPACKED:
        raise DocumentError(f"{archive.name} is too large when unpacked: {sum(sizes.values()) / 2**20:,.0f} MB")


def table_pages(
    name: str, rows: Iterable[Sequence[str]], *, is_cut: bool = False, max_chars: int = MAX_CHARS
) -> Iterator[str]:
    """Splits a table into pages of text, each with the name of the table and of its columns, if they have names.

    Args:
        name: Name of the table.
        rows: Texts of the cells of each row, without empty rows.
        is_cut: Whether rows were left out; if so, the last page says it.
        max_chars: Largest number of characters per page.

    Example:
        >>> rows = [["Port", "Berths"], ["Aveiro", "12"], ["Brest", "40"]]
        >>> list(table_pages("Ports", rows, max_chars=40))
        ['# Ports\\nPort | Berths\\nAveiro | 12', '# Ports\\nPort | Berths\\nBrest | 40']
    """
    rows = list(rows)
    header = next((n for n, cells in enumerate(rows[:_HEADER_WITHIN]) if _is_header(cells)), None)
    lines = [row(cells).text for cells in rows]
    if is_cut:
        lines.append(f"(Only the first {MAX_ROWS:,} rows of a file are searched; this sheet has more.)")
    repeated = page = [f"# {name}"]
    for number, line in enumerate(lines):
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
