"""Excel files: several rows of text per page, with the names of the columns on each page."""

from __future__ import annotations

import datetime
import itertools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from polylens.documents.document import Document
from polylens.documents.formats.archive import MAX_PART, MAX_UNPACKED, Archive, Packed, reading
from polylens.documents.formats.blocks import row
from polylens.documents.splitting import MAX_CHARS, split
from polylens.errors import DocumentError

MAX_ROWS = 20_000  # per file; a longer one is a data set, and its last page says that rows are left out
MAX_COLUMNS = 1_000
MAX_HEADER_CHARS = 400  # characters per page for the names of its columns

_LOOKED_AT = 1_048_576  # rows that a sheet can have; a damaged file may claim more
_HEADER_WITHIN = 10  # rows from the top


def open_sheets(path: Path) -> Document:
    """Opens an Excel file (.xlsx, .xlsm, .xltx). A formula is read as its last result.

    Raises:
        DocumentError: The file is damaged, protected by a password, too large, or not an Excel file.
    """
    import openpyxl

    archive = Archive(path)
    with reading(archive):
        _require_sane(archive)
        # Never undone: removing a filter is not thread-safe.
        warnings.filterwarnings("ignore", module=r"openpyxl\.")  # warnings about features that it does not read
        with path.open("rb") as file:
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            texts = list(_texts(book))
        return Packed("sheet", archive, texts)


def _texts(book: Any) -> Iterator[str]:
    left = MAX_ROWS
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # the size that a sheet declares is often wrong
        rows = itertools.islice(sheet.rows, _LOOKED_AT)
        filled = filter(any, ([_text(cell) for cell in cells[:MAX_COLUMNS]] for cells in rows))
        taken = list(itertools.islice(filled, left))
        left -= len(taken)
        yield from table_pages(sheet.title, taken, is_cut=left == 0 and next(filled, None) is not None)


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
        line = line[:MAX_HEADER_CHARS] if number == header else line
        for piece in split(line, max(max_chars - len("\n".join(repeated)) - 1, max_chars // 4)):
            if page is not repeated and len("\n".join([*page, piece])) > max_chars:
                yield "\n".join(page)
                page = repeated
            page = [*page, piece]
        if number == header:
            repeated = [repeated[0], line]
    if page is not repeated:
        yield "\n".join(page)


def _is_header(cells: Sequence[str]) -> bool:
    """Returns whether a row names the columns: at least two cells, none of them a number."""
    named = [cell for cell in cells if cell]
    return len(named) >= 2 and not any(cell[:1].isdigit() or cell[:1] in "-+" for cell in named)


def _text(cell: Any) -> str:
    """Formats a cell as Excel would show it.

    Example:
        >>> from types import SimpleNamespace as Cell
        >>> [_text(Cell(value=value, number_format="0%")) for value in (0.25, True, "North", None)]
        ['25%', 'TRUE', 'North', '']
    """
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, (int, float)):
        return f"{100 * value:.6g}%" if "%" in (cell.number_format or "") else f"{value:.15g}"
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ", "minutes")
    return str(value).strip()
