"""PDFs, images, office files, books and web pages for tests, made by widely used libraries and by hand."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import docx
import numpy as np
import openpyxl
import PIL.Image
import pptx
import xlsxwriter
from docx.shared import Cm
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def picture(seed: int = 0, width: int = 160, height: int = 120) -> bytes:
    """A PNG of random pixels; another seed gives another image."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pack(path: Path, parts: dict[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """Writes a zip archive of these parts and returns its path."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def relations(*rows: tuple[str, str, str]) -> str:
    """A relationships part. Each row is an identifier, the last word of the type, and the target."""
    inner = "".join(f'<Relationship Id="{id}" Type="{OFFICE}/{kind}" Target="{to}"/>' for id, kind, to in rows)
    return f'<Relationships xmlns="{RELATIONS}">{inner}</Relationships>'


def word_by_hand(path: Path, body: str, namespace: str = W, **more: str | bytes) -> Path:
    """A Word file with `body` inside `w:body`. `more` holds further parts; `__` in a name stands for a slash."""
    return pack(
        path,
        {
            "_rels/.rels": relations(("a", "officeDocument", "/word/document.xml")),
            "word/document.xml": f'<w:document xmlns:w="{namespace}"><w:body>{body}</w:body></w:document>',
            **{name.replace("__", "/"): data for name, data in more.items()},
        },
    )


def make_docx(path: Path) -> Path:
    """A Word file by python-docx with headings, lists, a table, a header and an image."""
    document = docx.Document()
    document.sections[0].header.paragraphs[0].text = "Harbour Authority"
    document.add_heading("Winter report", 0)
    document.add_paragraph("The harbour froze over in January.")
    document.add_heading("Ice", 1)
    document.add_paragraph("thick floes", style="List Bullet")
    document.add_paragraph("thin ice", style="List Bullet")
    table = document.add_table(rows=0, cols=2)
    for left, right in [("Port", "Ice in cm"), ("Luleå", "70"), ("Oulu", "55")]:
        cells = table.add_row().cells
        cells[0].text, cells[1].text = left, right
    run = document.add_paragraph("An icebreaker: ").add_run()
    inline = run.add_picture(io.BytesIO(picture(1)), width=Cm(4))
    inline._inline.docPr.set("descr", "a ship in the ice")
    document.add_picture(io.BytesIO(picture(2, 20, 20)))  # a logo
    document.add_paragraph("The end.")
    document.save(str(path))
    return path


def make_pptx(path: Path) -> Path:
    """Slides by python-pptx: a title; a list, a table, notes and an image; nothing; a chart."""
    deck = pptx.Presentation()
    title = deck.slides.add_slide(deck.slide_layouts[0])
    title.shapes.title.text = "Tides of the estuary"
    title.placeholders[1].text = "A talk for pilots"
    second = deck.slides.add_slide(deck.slide_layouts[1])
    second.shapes.title.text = "Spring tide"
    frame = second.placeholders[1].text_frame
    frame.text = "At new moon"
    below = frame.add_paragraph()
    below.text, below.level = "and at full moon", 1
    table = second.shapes.add_table(2, 2, Inches(1), Inches(1), Inches(4), Inches(1)).table
    for place, text in {(0, 0): "Gauge", (0, 1): "Metres", (1, 0): "Pier 4", (1, 1): "3.9"}.items():
        table.cell(*place).text = text
    group = second.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "in a group"
    second.shapes.add_picture(io.BytesIO(picture(3)), 0, 0)
    second.notes_slide.notes_text_frame.text = "Mention the flood of 1962."
    deck.slides.add_slide(deck.slide_layouts[6])
    last = deck.slides.add_slide(deck.slide_layouts[6])
    data = CategoryChartData()
    data.categories = ["Winter", "Summer"]
    data.add_series("Wave height", (2.5, 1.1))
    last.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, Inches(4), Inches(3), data)
    deck.save(str(path))
    return path


def make_xlsx(path: Path, num_rows: int = 3) -> Path:
    """A workbook by openpyxl with two sheets, the first of which has `num_rows` rows."""
    import datetime

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Moorings"
    sheet.append(["Fees of 2025"])
    sheet.append([])
    sheet.append(["Ship", "Berth", "Fee", "Share", "Paid on"])
    for number in range(1, num_rows + 1):
        sheet.append([f"Ship {number}", f"B{number}", 10.5 * number, 0.25, datetime.datetime(2025, 3, number % 28 + 1)])
        sheet.cell(sheet.max_row, 4).number_format = "0%"
    other = book.create_sheet("Empty")
    assert other.max_row == 1
    book.create_sheet("Notes").append(["Ask the harbour master"])
    book.save(path)
    return path


def make_shared_xlsx(path: Path) -> Path:
    """A workbook by XlsxWriter, which stores texts in a shared table as Excel does."""
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("Gauges")
        bold = book.add_format({"bold": True})
        for number, cells in enumerate([("Gauge", "Metres"), ("Pier 4", 3.9), ("Pier 9", 21)]):
            sheet.write_row(number, 0, cells)
        sheet.write_rich_string(3, 0, "Pier ", bold, "twelve")
        sheet.write_formula(3, 1, "=B2+B3", None, 24.9)
        sheet.insert_image(5, 5, "any.png", {"image_data": io.BytesIO(picture(6))})
    return path


XHTML = "http://www.w3.org/1999/xhtml"


def make_epub(path: Path, chapters: dict[str, str], **more: str | bytes) -> Path:
    """An EPUB book. `chapters` maps names to what stands inside `body`; `more` is as in `word_by_hand`."""
    items = "".join(f'<item id="{n}" href="{n}.xhtml" media-type="application/xhtml+xml"/>' for n in reversed(chapters))
    spine = "".join(f'<itemref idref="{name}"/>' for name in chapters)
    parts: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
        "OEBPS/book.opf": f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}'
        '<item id="pic" href="the%20pic.png" media-type="image/png"/></manifest>'
        f"<spine>{spine}</spine></package>",
        "OEBPS/the pic.png": picture(4),
    }
    for name, body in chapters.items():
        parts[f"OEBPS/{name}.xhtml"] = (
            f'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE html>\n<html xmlns="{XHTML}"><head><title/></head>'
            f"<body>{body}</body></html>"
        )
    return pack(path, {**parts, **{name.replace("__", "/"): data for name, data in more.items()}})


ODF = "urn:oasis:names:tc:opendocument:xmlns"


def make_odf(path: Path, body: str, **more: str | bytes) -> Path:
    """An OpenDocument file with `body` inside `office:body`."""
    names = " ".join(
        f'xmlns:{prefix}="{ODF}:{name}:1.0"'
        for prefix, name in [
            ("office", "office"),
            ("text", "text"),
            ("table", "table"),
            ("draw", "drawing"),
            ("svg", "svg-compatible"),
            ("presentation", "presentation"),
        ]
    )
    content = (
        f'<office:document-content {names} xmlns:xlink="http://www.w3.org/1999/xlink">'
        f"<office:body>{body}</office:body></office:document-content>"
    )
    return pack(path, {"content.xml": content, **{name.replace("__", "/"): data for name, data in more.items()}})


def make_pdf(path: Path, *texts: str, password: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encrypt = StandardEncryption(password) if password else None
    canvas = Canvas(str(path), pagesize=(200, 300), encrypt=encrypt, invariant=True)
    for text in texts:
        canvas.drawString(20, 200, text)
        canvas.showPage()
    canvas.save()


def make_image(path: Path, colour: str, size: tuple[int, int] = (20, 20)) -> None:
    PIL.Image.new("RGB", size, colour).save(path)
