"""The cells of Excel workbooks, read row by row, and the words beside them.

ECMA-376 part 1, section 18. Only local names are compared, so both variants of the format are read, and nothing that
the cells' text does not need is parsed: a workbook may have styles, filters or drawings that no program understands.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lxml import etree

from polylens.documents.formats.archive import MAX_PART, XML_OPTIONS, Archive, attribute, local
from polylens.documents.formats.blocks import Block
from polylens.documents.formats.ooxml import Package

MAX_COLUMNS = 1_000
MAX_CELL_CHARS = 32_767  # Excel's own limit

_PERCENT_FORMATS = (9, 10)
_DATE_FORMATS = frozenset({*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)})
_NO_LETTERS_OF_IT = re.compile(r'"[^"]*"|\[(?!h+\]|m+\]|s+\])[^\]]*\]|\\.|_.|\*.', re.I)
"""What stands in a number format without being part of it: quoted text, colours and conditions, padding."""
_LEAP_DAY = 60  # the number of 1900-02-29, which Excel has and no calendar
_SPANS = re.compile(r"\[[hms]+\]", re.I)


@dataclass(frozen=True, slots=True)
class Sheet:
    """One sheet of a workbook."""

    name: str
    part: str
    """Name of its part in the archive."""


class Workbook:
    """The sheets of an open workbook.

    Args:
        archive: The file.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._package = Package(archive)
        self._main = self._package.main()
        root = archive.xml(self._main)
        relations = self._package.relations(self._main)
        named = [each for each in root.iter() if local(each) == "sheet"]
        parts = [(attribute(each, "name"), relations.get(attribute(each, "id", qualified=True))) for each in named]
        self.sheets = [Sheet(name, relation.part) for name, relation in parts if relation is not None]
        properties = next((each for each in root.iter() if local(each) == "workbookPr"), None)
        is_1904 = properties is not None and attribute(properties, "date1904") in ("1", "true")
        self._first_day = datetime.datetime(1904, 1, 1) if is_1904 else None
        self._shared = self._strings()
        self._formats = self._number_formats()

    def rows(self, sheet: Sheet) -> Iterator[list[str]]:
        """Yields the texts of the cells of each row that has any; trailing empty cells are left out."""
        with self._archive.open(sheet.part) as file:
            for _, element in etree.iterparse(file, events=("end",), tag="{*}row", **XML_OPTIONS):
                cells = self._cells(element)
                element.clear()
                while (before := element.getprevious()) is not None:
                    element.getparent().remove(before)
                if cells:
                    yield cells

    def aside(self, sheet: Sheet) -> list[Block]:
        """Returns the words beside the cells: those of text boxes, charts and comments."""
        found: list[Block] = []
        for drawing in self._package.related(sheet.part, "drawing"):
            found += self._package.blocks_of(drawing, lambda _, text: Block(text))
            found += self._package.drawn(drawing)
        comments = self._package.comments(sheet.part)
        return [*found, *([Block("Comments:", "heading")] if comments else []), *comments]

    def _strings(self) -> list[str]:
        """Returns the texts that cells share. None is longer than a cell's may be, so that few bytes fill no memory."""
        texts: list[str] = []
        for part in self._package.related(self._main, "sharedStrings"):
            with self._archive.sparing(part), self._archive.open(part, MAX_PART) as file:
                for _, element in etree.iterparse(file, events=("end",), tag="{*}si", **XML_OPTIONS):
                    texts.append(_text_of(element)[:MAX_CELL_CHARS])
                    element.clear()
        return texts

    def _number_formats(self) -> list[Callable[[float], str]]:
        """Returns, for each style of a cell, what shows a number in it."""
        shows: list[Callable[[float], str]] = []
        for part in self._package.related(self._main, "styles"):
            with self._archive.sparing(part):
                root = self._archive.xml(part)
                codes = {
                    attribute(e, "numFmtId"): attribute(e, "formatCode") for e in root.iter() if local(e) == "numFmt"
                }
                tables = (each for each in root if local(each) == "cellXfs")
                ids = [attribute(each, "numFmtId") for table in tables for each in table if local(each) == "xf"]
                shows += [self._shown_in(number, codes.get(number, "")) for number in ids]
        return shows

    def _shown_in(self, number: str, code: str) -> Callable[[float], str]:
        bare = _NO_LETTERS_OF_IT.sub("", code.partition(";")[0])
        builtin = int(number) if number.isdecimal() and not code else 0
        if "%" in bare or builtin in _PERCENT_FORMATS:
            return lambda value: f"{100 * value:.6g}%"
        if _SPANS.search(bare) or builtin == 46:
            return lambda value: _span(value)
        if builtin in _DATE_FORMATS or re.search("[dmyhs]", bare.replace("General", ""), re.I):
            return self._moment
        return _plain

    def _cells(self, row: Any) -> list[str]:
        cells: list[str] = []
        for cell in row:
            if local(cell) != "c":
                continue
            column = _column(cell.get("r", ""))
            column = len(cells) if column is None else column
            if column >= MAX_COLUMNS:
                break
            if text := self._text(cell):
                cells += [""] * (column + 1 - len(cells))
                cells[column] = text
        return cells

    def _text(self, cell: Any) -> str:
        """Formats a cell about as Excel would show it; a formula is its last result."""
        value = next((each.text or "" for each in cell if local(each) == "v"), "")
        match cell.get("t", "n"):
            case "inlineStr":
                text = "".join(_text_of(each) for each in cell if local(each) == "is") or value
                return text[:MAX_CELL_CHARS].strip()
            case "s":
                place = int(value) if value.isdecimal() else -1
                return self._shared[place].strip() if 0 <= place < len(self._shared) else ""
            case "b":
                return {"1": "TRUE", "0": "FALSE"}.get(value, value)
            case "n":
                return self._number(value, cell.get("s", ""))
            case _:
                return value.strip()[:MAX_CELL_CHARS]

    def _number(self, value: str, style: str) -> str:
        try:
            number = float(value)
        except ValueError:
            return value.strip()[:MAX_CELL_CHARS]
        place = int(style) if style.isdecimal() else 0
        return self._formats[place](number) if place < len(self._formats) else _plain(number)

    def _moment(self, value: float) -> str:
        """Formats a number of days since the beginning of 1900, or of 1904, as a date, a time or both."""
        if 0 <= value < 1 and self._first_day is None:
            return _span(value)
        days = value + (self._first_day is None and 0 < value < _LEAP_DAY)
        try:
            moment = (self._first_day or datetime.datetime(1899, 12, 30)) + datetime.timedelta(
                seconds=round(days * 86_400)
            )
        except (OverflowError, ValueError):
            return _plain(value)
        return moment.date().isoformat() if moment.time() == datetime.time() else moment.isoformat(" ", "minutes")


def _text_of(element: Any) -> str:
    """Returns a text with its runs, without the pronunciation that Japanese texts may carry."""
    texts = []
    for child in element:
        if local(child) == "t":
            texts.append(child.text or "")
        elif local(child) == "r":
            texts.append(_text_of(child))
    return "".join(texts)


def _column(reference: str) -> int | None:
    """Returns the column that a cell's reference names, from 0; None where it names none.

    Example:
        >>> _column("A1"), _column("AB12"), _column("")
        (0, 27, None)
    """
    column = 0
    for letter in reference:
        if not "A" <= letter.upper() <= "Z" or column > 26**3:
            break
        column = 26 * column + ord(letter.upper()) - ord("A") + 1
    return column - 1 if column else None


def _plain(value: float) -> str:
    return f"{value:.15g}"


def _span(value: float) -> str:
    """Formats a fraction or number of days as hours, minutes and seconds.

    Example:
        >>> _span(0.5), _span(1.75)
        ('12:00:00', '42:00:00')
    """
    try:
        seconds = round(abs(value) * 86_400)
    except (OverflowError, ValueError):
        return _plain(value)
    return f"{'-' * (value < 0)}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
