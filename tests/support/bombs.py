"""Files that ask for far more memory, time or pages than their size promises, one for each way in which a file can."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import PIL.Image
from tests.support import papers

SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def shared_strings(path: Path, cells: int = 12_000, length: int = 1_000_000) -> None:
    """Cells that share one long text."""
    rows = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>0</v></c></row>' for n in range(1, cells + 1))
    _workbook(path, rows, f'<sst xmlns="{SHEET}"><si><t>{"word " * (length // 5)}</t></si></sst>')


def same_text(path: Path, cells: int = 2_000) -> None:
    """Cells with the same long text, which packs to almost nothing."""
    text = "word " * 6_000
    rows = (f'<row r="{n}"><c r="A{n}" t="inlineStr"><is><t>{text}</t></is></c></row>' for n in range(1, cells + 1))
    _workbook(path, "".join(rows))


def _workbook(path: Path, rows: str, strings: str = "") -> None:
    more = {"xl/sharedStrings.xml": strings} if strings else {}
    shared = ("b", "sharedStrings", "sharedStrings.xml")
    table = papers.relations(("a", "worksheet", "worksheets/s1.xml"), *([shared] if more else []))
    papers.pack(
        path,
        {
            "_rels/.rels": papers.relations(("a", "officeDocument", "/xl/workbook.xml")),
            "xl/workbook.xml": f'<workbook xmlns="{SHEET}" xmlns:r="{papers.OFFICE}"><sheets><sheet name="S" r:id="a"/>'
            "</sheets></workbook>",
            "xl/_rels/workbook.xml.rels": table,
            "xl/worksheets/s1.xml": f'<worksheet xmlns="{SHEET}"><sheetData>{rows}</sheetData></worksheet>',
            **more,
        },
    )


def repeated_cells(path: Path, rows: int = 2_000) -> None:
    """Rows of a thousand cells each, which the file says in one."""
    cell = f'<table:table-cell table:number-columns-repeated="1000"><text:p>{"word " * 200}</text:p></table:table-cell>'
    table = f'<table:table table:name="S">{f"<table:table-row>{cell}</table:table-row>" * rows}</table:table>'
    papers.make_odf(path, f"<office:spreadsheet>{table}</office:spreadsheet>")


def nested_forms(path: Path, depth: int = 8) -> None:
    """A PDF whose drawing repeats a drawing ten times, and so on."""
    forms = []
    for number in range(depth):
        inner = b"0 0 5 5 re f\n" if number == depth - 1 else f"/F{number + 1} Do\n".encode() * 10
        within = f"/Resources<</XObject<</F{number + 1} {6 + number} 0 R>>>>" if number < depth - 1 else ""
        head = f"<</Type/XObject/Subtype/Form/BBox[0 0 99 99]{within}/Length {len(inner)}>>stream\n"
        forms.append(head.encode() + inner + b"endstream")
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R/Resources<</XObject<</F0 5 0 R>>>>>>"
    _pdf(path, page, [b"<</Length 7>>stream\n/F0 Do\nendstream", *forms])


def million_pages(path: Path) -> None:
    """A PDF of one page that claims a million."""
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>"
    _pdf(path, page, [], count=1_000_000)


def _pdf(path: Path, page: bytes, more: list[bytes], count: int = 1) -> None:
    pages = f"<</Type/Pages/Kids[3 0 R]/Count {count}>>".encode()
    data = b"%PDF-1.7\n"
    places = []
    for number, each in enumerate([b"<</Type/Catalog/Pages 2 0 R>>", pages, page, *more], start=1):
        places.append(len(data))
        data += f"{number} 0 obj\n".encode() + each + b"\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(places) + 1
    end = f"trailer<</Size {size}/Root 1 0 R>>\nstartxref\n{len(data)}\n%%EOF"
    path.write_bytes(data + f"xref\n0 {size}\n0000000000 65535 f \n{table}{end}".encode())


def deep_picture(path: Path, side: int = 13_000) -> None:
    """A picture of 16 bits a pixel."""
    PIL.Image.new("I;16", (side, side)).save(path)


def clear_picture(path: Path, side: int = 13_000) -> None:
    """A picture with transparency."""
    PIL.Image.new("RGBA", (side, side), (1, 2, 3, 0)).save(path)


def many_frames(path: Path, frames: int = 1_500) -> None:
    """A TIFF whose frames have to be walked through."""
    first, *others = [PIL.Image.new("L", (40, 40), number % 256) for number in range(frames)]
    first.save(path, save_all=True, append_images=others)


def nested_tables(path: Path, depth: int = 60, width: int = 200_000) -> None:
    """A Word file whose tables lie in each other, with a long text in the innermost."""
    inner = f"<w:p><w:r><w:t>{'word ' * width}</w:t></w:r></w:p>"
    for _ in range(depth):
        inner = f"<w:tbl><w:tr><w:tc>{inner}<w:p/></w:tc></w:tr></w:tbl>"
    papers.word_by_hand(path, inner)


def nested_uses(path: Path) -> None:
    """A drawing that repeats a drawing ten times, and so on."""
    groups = "".join(f'<g id="g{n}">' + f'<use href="#g{n - 1}"/>' * 10 + "</g>" for n in range(1, 12))
    shapes = f'<defs><g id="g0"><rect width="5" height="5"/></g>{groups}</defs><use href="#g11"/><text>words</text>'
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" width="60" height="30">{shapes}</svg>')


def slow_filter(path: Path) -> None:
    """A drawing whose filter is computed for hours."""
    noise = '<feTurbulence baseFrequency="0.9" numOctaves="1000000"/>'
    shapes = f'<filter id="f">{noise}</filter><rect width="600" height="300" filter="url(#f)"/><text>words</text>'
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" width="600" height="300">{shapes}</svg>')


def zip_of_zeros(path: Path, size: int = 100_000_000) -> None:
    """An archive with a long text that packs to nothing, beside a short one."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("zeros.txt", "w") as file:
            for _ in range(size // 1_000_000):
                file.write(b"0" * 1_000_000)
        archive.writestr("note.txt", "words")


def zip_of_bombs(path: Path) -> None:
    """An archive with bombs of other kinds, beside a short text."""
    makers = {"a.pdf": nested_forms, "b.xlsx": shared_strings}
    parts: dict[str, str | bytes] = {"note.txt": "words"}
    for name, make in makers.items():
        inner = path.with_name(f"{path.stem}-{name}")
        make(inner)
        parts[name] = inner.read_bytes()
        inner.unlink()
    papers.pack(path, parts)


def entities(path: Path) -> None:
    """A web page with the thousand million laughs."""
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    body = f'<html xmlns="{papers.XHTML}"><p>words &l11;</p></html>'
    path.write_text(f'<?xml version="1.0"?><!DOCTYPE html [<!ENTITY l0 "lol">{levels}]>{body}')


def long_chapter(path: Path, length: int = 31_000_000) -> None:
    """A book with one chapter, almost as long as a part may be."""
    papers.make_epub(path, {"one": f"<p>{'word ' * 10_000}</p>" * (length // 50_000)})


def many_messages(path: Path, messages: int = 1_000_000) -> None:
    """A mailbox of tiny messages."""
    path.write_bytes(b"From a@b Mon Jan  1 00:00:00 2024\nSubject: s\n\nwords\n\n" * messages)


def long_outputs(path: Path, outputs: int = 300) -> None:
    """A notebook that printed megabytes."""
    shown = {"output_type": "stream", "text": "word " * 4_000}
    cell = {"cell_type": "code", "source": "x", "outputs": [shown] * outputs}
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4}))


BOMBS: Mapping[str, Callable[[Path], None]] = {
    "shared-strings.xlsx": shared_strings,
    "same-text.xlsx": same_text,
    "repeated-cells.ods": repeated_cells,
    "nested-forms.pdf": nested_forms,
    "million-pages.pdf": million_pages,
    "deep.png": deep_picture,
    "clear.png": clear_picture,
    "frames.tif": many_frames,
    "nested-tables.docx": nested_tables,
    "nested-uses.svg": nested_uses,
    "slow-filter.svg": slow_filter,
    "zeros.zip": zip_of_zeros,
    "bombs.zip": zip_of_bombs,
    "entities.xhtml": entities,
    "long-chapter.epub": long_chapter,
    "messages.mbox": many_messages,
    "outputs.ipynb": long_outputs,
}
"""What makes each, by a name that says its kind."""


def make_all(folder: Path) -> Iterator[Path]:
    """Makes all of them, in full size, and yields each."""
    for name, make in BOMBS.items():
        make(folder / name)
        yield folder / name
