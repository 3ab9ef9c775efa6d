"""Workbooks as other programs write them: strict, with odd styles, with words beside their cells."""

from __future__ import annotations

import datetime
import zipfile
from pathlib import Path

import openpyxl
import pytest
import xlsxwriter
from tests.support import papers

from polylens.documents import open_document
from polylens.documents.formats.sheets import table_pages

TRANSITIONAL = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
STRICT = b"http://purl.oclc.org/ooxml/spreadsheetml/main"


def text_of(path: Path) -> str:
    with open_document(path) as document:
        return "\n".join(page.text for page in document)


def changed(path: Path, *pairs: tuple[bytes, bytes]) -> Path:
    with zipfile.ZipFile(path) as whole:
        parts: dict[str, str | bytes] = {name: whole.read(name) for name in whole.namelist()}
    for before, after in pairs:
        assert any(before in data for data in parts.values() if isinstance(data, bytes)), before
        parts = {name: data.replace(before, after) for name, data in parts.items() if isinstance(data, bytes)}
    return papers.pack(path.with_name("b.xlsx"), parts)


def test_strict(tmp_path: Path) -> None:
    path = papers.make_xlsx(tmp_path / "a.xlsx")
    strict = changed(
        path,
        (TRANSITIONAL, STRICT),
        (
            b"http://schemas.openxmlformats.org/officeDocument/2006/relationships",
            b"http://purl.oclc.org/ooxml/officeDocument/relationships",
        ),
    )
    assert text_of(strict) == text_of(path) and "Ship 1 | B1 | 10.5 | 25% | 2025-03-02" in text_of(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"<fill>", b"<fill/><fill>"),
        (b"<cellXfs", b"<odd/><cellXfs"),
        (b"</fonts>", b"<font><sz val='big'/></font></fonts>"),
    ],
)
def test_styles_that_nobody_understands(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = papers.make_xlsx(tmp_path / "a.xlsx")
    assert text_of(changed(path, (before, after))) == text_of(path)


def test_numbers_as_they_are_shown(tmp_path: Path) -> None:
    formats = {
        "0%": (0.25, "25%"), "0.00E+00": (1234.5, "1234.5"), "yyyy-mm-dd": (45000, "2023-03-15"),
        "dd/mm/yy hh:mm": (45000.75, "2023-03-15 18:00"), "hh:mm:ss": (0.5, "12:00:00"), "[h]:mm": (1.75, "42:00:00"),
        '0.0 "days"': (3, "3"), "[Red]0": (7, "7"), '#,##0.00 [$€-407]': (5.5, "5.5"), "General": (0.1 + 0.2, "0.3"),
        "@": (12, "12"), r"0 \d\a\y": (4, "4"),
    }  # fmt: skip
    with xlsxwriter.Workbook(tmp_path / "a.xlsx") as book:
        sheet = book.add_worksheet()
        for number, (code, (value, _)) in enumerate(formats.items()):
            sheet.write_number(number, 0, value, book.add_format({"num_format": code}))
    assert text_of(tmp_path / "a.xlsx").split("\n")[1:] == [shown for _, shown in formats.values()]


@pytest.mark.parametrize("is_1904", [False, True])
def test_dates_of_both_calendars(tmp_path: Path, is_1904: bool) -> None:
    with xlsxwriter.Workbook(tmp_path / "a.xlsx", {"date_1904": is_1904}) as book:
        sheet, style = book.add_worksheet(), book.add_format({"num_format": "yyyy-mm-dd"})
        for row, day in enumerate([datetime.datetime(1962, 2, 16), datetime.datetime(2026, 11, 29)]):
            sheet.write_datetime(row, 0, day, style)
    assert text_of(tmp_path / "a.xlsx").split("\n")[1:] == ["1962-02-16", "2026-11-29"]


def test_pronunciation_is_no_text(tmp_path: Path) -> None:
    path = papers.make_shared_xlsx(tmp_path / "a.xlsx")
    phonetic = b"<t>Gauges are read</t><rPh sb='0' eb='2'><t>pronounced</t></rPh>"
    text = text_of(changed(path, (b"<t>Metres</t>", phonetic)))
    assert "Gauges are read" in text and "pronounced" not in text


def test_words_beside_the_cells(tmp_path: Path) -> None:
    """Text boxes, charts and comments, also of a sheet without any cell."""
    with xlsxwriter.Workbook(tmp_path / "a.xlsx") as book:
        sheet = book.add_worksheet("Berths")
        sheet.insert_textbox(2, 2, "The quay is closed.")
        sheet.write_comment("A1", "Ask the warden.", {"author": "Tom"})
        book.add_worksheet("Fees").write(0, 0, "free")
        chart = book.add_chart({"type": "column"})
        chart.add_series({"values": "=Fees!$A$1:$A$2", "name": "Turnover"})
        chart.set_title({"name": "Busy seasons"})
        sheet.insert_chart(5, 5, chart)
    text = text_of(tmp_path / "a.xlsx")
    assert text.startswith("# Berths\n") and text.endswith("# Fees\nfree")
    assert all(words in text for words in ("The quay is closed.", "Comments:\n", "Ask the warden.", "Busy seasons"))
    assert text.count("Ask the warden.") == 1


def test_a_sheet_that_breaks_off(tmp_path: Path) -> None:
    path = papers.make_xlsx(tmp_path / "a.xlsx", 50)
    with zipfile.ZipFile(path) as whole:
        parts: dict[str, str | bytes] = {name: whole.read(name) for name in whole.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"]
    assert isinstance(sheet, bytes)
    parts["xl/worksheets/sheet1.xml"] = sheet[: len(sheet) // 2]
    with open_document(papers.pack(path, parts)) as document:
        text = "\n".join(page.text for page in document)
        assert "Ship 9 " in text and "Ask the harbour master" in text and "Ship 50" not in text
        assert document.unread.keys() == {"sheet Moorings"}


class TestHeaderRows:
    def test_a_long_one_stands_whole_once(self) -> None:
        header = [f"column{number}" for number in range(200)]
        pages = list(table_pages("T", [header, *[["x" * 700, "1"]] * 4]))
        text = "\n".join(pages)
        assert all(name in text for name in header) and text.count("column199") == 1
        assert all(page.startswith("# T\ncolumn0 | column1") for page in pages[2:]) and len(pages) > 4

    def test_two_cells_of_prose(self, tmp_path: Path) -> None:
        answer = "At seven, says the warden; and " * 40 + "then the vermilion ledger is closed."
        book = openpyxl.Workbook()
        book.active.append(["When does the ferry leave?", answer])
        book.save(tmp_path / "a.xlsx")
        assert "vermilion ledger" in text_of(tmp_path / "a.xlsx")


def test_beside_the_cells_of_opendocument(tmp_path: Path) -> None:
    note = "<office:annotation><text:p>a comment</text:p></office:annotation>"
    listed = "<text:list><text:list-item><text:p>in a list</text:p></text:list-item></text:list>"
    cell = f"<table:table-cell>{note}<text:p>Berth</text:p>{listed}</table:table-cell>"
    row = f"<table:table-row>{cell}</table:table-row>"
    box = "<draw:frame><draw:text-box><text:p>mooring plan</text:p></draw:text-box></draw:frame>"
    table = f'<table:table table:name="T"><table:shapes>{box}</table:shapes>{row}</table:table>'
    text = text_of(papers.make_odf(tmp_path / "a.ods", f"<office:spreadsheet>{table}</office:spreadsheet>"))
    assert text == "# T\nBerth in a list\n# T\nmooring plan\n\nComments:\na comment"


def test_two_parts_of_one_name_but_for_case(tmp_path: Path) -> None:
    path = papers.make_shared_xlsx(tmp_path / "a.xlsx")
    with zipfile.ZipFile(path) as whole:
        parts: dict[str, str | bytes] = {name: whole.read(name) for name in whole.namelist()}
    parts["xl/worksheets/Sheet1.xml"] = "<worksheet/>"
    assert text_of(papers.pack(tmp_path / "b.xlsx", parts)) == text_of(path)
