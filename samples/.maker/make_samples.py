"""Makes the documents of `samples/` from the texts beside this file: PDFs, scans and pictures.

    python samples/.maker/make_samples.py [FOLDER]

The texts are Markdown with two additions: a line `---` begins a new page, and `![chart: NAME]` places a chart. All is
decided by the texts and by `SEED`, so the same fonts and libraries make the same bytes. It needs reportlab, matplotlib,
fontTools and Pillow with Raqm, and the fonts of the Debian packages named in `samples/README.md`.
"""

from __future__ import annotations

import calendar
import io
import re
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from fontTools import subset
from fontTools.pens.cu2quPen import Cu2QuPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont, newTable
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from reportlab import rl_config
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont as PdfFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    Flowable,
    Frame,
    ListFlowable,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
)
from reportlab.platypus import Image as Picture
from reportlab.platypus.doctemplate import BaseDocTemplate

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SEED = 1994
TEXTS = Path(__file__).parent / "texts"
FONTS = Path("/usr/share/fonts")

Block = tuple[str, Any]
"""("title" | "heading" | "text" | "list" | "table" | "chart", what it holds)."""


@dataclass(frozen=True)
class Style:
    """How a PDF looks. Sizes in points."""

    regular: str
    bold: str
    size: float = 14
    columns: int = 1
    accent: str = "#1c4e6e"
    slides: bool = False
    spaced: bool = True


SPACED = ("list", "chart")
"""Blocks that need room below them."""

SANS = Style("NotoSans-Regular.ttf", "NotoSans-Bold.ttf")
SERIF = Style("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf", size=13, accent="#5a2a27")
LIBERATION = Style("LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf", accent="#234f1e")

PDFS: dict[str, Style] = {
    "annual-report-2024": SANS,
    "anemometer-handbook": LIBERATION,
    "tide-forecast-slides": Style("NotoSans-Regular.ttf", "NotoSans-Bold.ttf", size=20, slides=True),
    "budget-2025": LIBERATION,
    "minutes-2024-09": Style("LiberationSerif-Regular.ttf", "LiberationSerif-Bold.ttf", columns=2, accent="#000000"),
    "galley-recipes": SERIF,
    "sicherheit-am-steg": LIBERATION,
    "guide-des-nuages": Style("NotoSerif-Regular.ttf", "NotoSerif-Bold.ttf", columns=2, accent="#3b3b6d"),
    "aves-del-puerto": SERIF,
    "ledovaya-obstanovka": SANS,
    "anemoi-tou-aigaiou": SANS,
    "taifeng-fangbei": Style("NotoSansCJK-Regular.ttc:SC", "NotoSansCJK-Bold.ttc:SC", size=14, spaced=False),
    "tsunami-hinan": Style("NotoSansCJK-Regular.ttc:JP", "NotoSansCJK-Bold.ttc:JP", size=14, spaced=False),
}
"""Text -> look, for the documents with a text layer."""

SCANS: dict[str, tuple[str, str, bool]] = {
    "keepers-letter.jpg": ("FreeSerifItalic.ttf", "ltr", True),
    "logbook-1962.pdf": ("FreeMono.ttf", "ltr", True),
    "qawaid-al-mina.pdf": ("NotoNaskhArabic-Regular.ttf", "rtl", False),
    "varsha-ritu.pdf": ("NotoSansDevanagari-Regular.ttf", "ltr", False),
}
"""File -> font, direction, and whether it went through an old scanner. These are pictures of pages: no text layer."""

INVOICES = [
    (
        "invoice-2024-0417",
        "Halvorsen Mast and Rigging",
        "Invoice 2024-0417",
        "2 April 2024",
        [
            ("Aluminium mast, 10 m", 3, 1180.00),
            ("Stainless steel guy wires", 12, 46.50),
            ("Crane, half a day", 1, 390.00),
        ],
        "Payable within thirty days. The masts carry a guarantee of ten years against corrosion.",
    ),
    (
        "invoice-2024-0533",
        "Brightwater Batteries Ltd",
        "Invoice 2024-0533",
        "19 August 2024",
        [
            ("Lithium battery 12 V 40 Ah", 4, 212.00),
            ("Charge controller", 2, 88.90),
            ("Express delivery by boat", 1, 35.00),
        ],
        "The old lead batteries were taken back for recycling without charge.",
    ),
]


def parse(text: str) -> list[list[Block]]:
    """Pages of blocks."""
    pages = []
    for page in re.split(r"^---\n", text, flags=re.M):
        blocks: list[Block] = []
        for chunk in re.split(r"\n\s*\n", page.strip()):
            lines = chunk.strip().splitlines()
            while lines and lines[0].startswith("#"):
                marks, _, words = lines.pop(0).partition(" ")
                blocks.append(("title" if marks == "#" else "heading", words))
            if not lines:
                continue
            if lines[0].startswith("- "):
                blocks.append(("list", [line[2:] for line in lines]))
            elif lines[0].startswith("|"):
                blocks.append(("table", [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]))
            elif lines[0].startswith("!["):
                blocks.append(("chart", lines[0][len("![chart: ") : -1]))
            else:
                blocks.append(("text", " ".join(lines)))
        pages.append(blocks)
    return pages


def read(name: str) -> str:
    return (TEXTS / f"{name}.md").read_text(encoding="utf-8")


@cache
def font_path(name: str) -> Path:
    found = sorted(FONTS.rglob(name))
    if not found:
        raise SystemExit(f"the font {name} is not under {FONTS}; samples/README.md names the packages")
    return found[0]


@cache
def pdf_font(name: str, letters: str, scratch: Path) -> str:
    """Register a font with reportlab under its own name.

    Args:
        name: A file, or `FILE.ttc:COUNTRY` for one of the CJK collections. Those hold cubic outlines, which reportlab
            does not embed; the few characters needed are turned into quadratic ones.
        letters: All that will be written in it.
        scratch: A folder for the converted font.
    """
    file, _, country = name.partition(":")
    path = font_path(file)
    label = name.replace(":", "-")
    if country:
        index = {"JP": 0, "KR": 1, "SC": 2}[country]
        path = quadratic(TTFont(path, fontNumber=index), letters, scratch / f"{label}-{len(letters)}.ttf")
        label = path.stem
    pdfmetrics.registerFont(PdfFont(label, str(path)))
    return label


def quadratic(font: TTFont, letters: str, path: Path) -> Path:
    """A TrueType font with some of the characters of a CFF font."""
    options = subset.Options(notdef_outline=True, layout_features=[], hinting=False)
    subsetter = subset.Subsetter(options)
    subsetter.populate(text=letters + " ")
    subsetter.subset(font)
    glyphs, order = font.getGlyphSet(), font.getGlyphOrder()
    drawn = {}
    for glyph in order:
        pen = TTGlyphPen(None)
        glyphs[glyph].draw(Cu2QuPen(pen, max_err=1.0, reverse_direction=True))
        drawn[glyph] = pen.glyph()
    font["loca"], font["glyf"] = newTable("loca"), newTable("glyf")
    font["glyf"].glyphOrder, font["glyf"].glyphs = order, drawn
    for table in ("CFF ", "VORG", "GSUB", "GPOS", "GDEF", "BASE", "vhea", "vmtx"):
        if table in font:
            del font[table]
    font["maxp"].tableVersion = 0x00010000
    for field in ("Zones", "TwilightPoints", "Storage", "FunctionDefs", "InstructionDefs", "StackElements"):
        setattr(font["maxp"], f"max{field}", 0)
    font["maxp"].maxSizeOfInstructions = font["maxp"].maxComponentElements = 0
    font["post"].formatType = 3.0
    font.recalcTimestamp = False
    font.sfntVersion = "\x00\x01\x00\x00"
    font.save(path)
    return path


def make_pdf(path: Path, text: str, style: Style, scratch: Path) -> None:
    """A PDF with a text layer."""
    pages = parse(text)
    letters = "".join(sorted(set(text + "0123456789•· ")))
    regular, bold = pdf_font(style.regular, letters, scratch), pdf_font(style.bold, letters, scratch)
    wrap = {} if style.spaced else {"wordWrap": "CJK"}
    size, accent = style.size, colors.HexColor(style.accent)
    body = ParagraphStyle("body", fontName=regular, fontSize=size, leading=1.45 * size, spaceAfter=0.7 * size, **wrap)
    heading = ParagraphStyle(
        "heading",
        body,
        fontName=bold,
        fontSize=1.15 * size,
        leading=1.5 * size,
        spaceBefore=0.6 * size,
        textColor=accent,
    )
    large = 1.35 * size if style.slides else 1.65 * size
    title = ParagraphStyle("title", heading, fontSize=large, leading=1.25 * large, spaceAfter=size)

    width, height = (720, 405) if style.slides else A4
    side, top = (50, 36) if style.slides else (58, 60)
    gutter = 22
    column = (width - 2 * side - (style.columns - 1) * gutter) / style.columns

    def flow(block: Block) -> Flowable:
        kind, what = block
        if kind in ("title", "heading"):
            return Paragraph(what, title if kind == "title" else heading)
        if kind == "list":
            items = [Paragraph(item, ParagraphStyle("item", body, spaceAfter=0.25 * size)) for item in what]
            return ListFlowable(
                items,
                bulletType="bullet",
                start="•",
                bulletFontName=regular,
                bulletFontSize=size,
                leftIndent=1.3 * size,
            )
        if kind == "table":
            first = ParagraphStyle("first", body, fontName=bold, textColor=colors.white, spaceAfter=0)
            cell = ParagraphStyle("cell", body, spaceAfter=0)
            rows = [[Paragraph(c, cell if row else first) for c in cells] for row, cells in enumerate(what)]
            table = Table(rows, colWidths=[column / len(what[0])] * len(what[0]), hAlign="LEFT", spaceAfter=size)
            table.setStyle(
                [
                    ("BACKGROUND", (0, 0), (-1, 0), accent),
                    ("LINEBELOW", (0, 0), (-1, -1), 0.5, colors.grey),
                    ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, colors.HexColor("#eef2f5")]),
                    ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
                ]
            )
            return table
        if kind == "chart":
            picture = CHARTS[what]()
            wide, high = Image.open(picture).size
            picture.seek(0)
            shown = column if not style.slides else 0.55 * column
            return Picture(picture, width=shown, height=shown * high / wide, hAlign="LEFT")
        return Paragraph(re.sub(r"\*(.+?)\*", r"\1", what), body)

    def dress(canvas: Canvas, document: BaseDocTemplate) -> None:
        canvas.saveState()
        if style.slides:
            canvas.setFillColor(accent)
            canvas.rect(0, 0, 14, height, stroke=0, fill=1)
        canvas.setFillColor(colors.HexColor("#555555"))
        canvas.setFont(regular, 11)
        canvas.drawCentredString(width / 2, 20 if style.slides else 30, str(document.page))
        canvas.restoreState()

    story: list[Flowable] = []
    for number, blocks in enumerate(pages):
        if number:
            story.append(PageBreak())
        parts = [(flow(block), Spacer(1, 0.5 * size)) for block in blocks]
        across = 1 if style.columns > 1 and blocks[0][0] == "title" else 0
        shown = [
            part for block, parted in zip(blocks, parts, strict=True) for part in parted[: 1 + (block[0] in SPACED)]
        ]
        story += shown[:across]
        if style.columns > 1:
            below = shown[across:]
            heights = np.cumsum([part.wrap(column, 10_000)[1] + part.getSpaceAfter() for part in below])
            half = int(np.searchsorted(heights, heights[-1] / 2)) + 1
            half -= getattr(below[half - 1], "style", body).name == "heading"  # it stays with what it heads
            pair = Table([[below[:half], "", below[half:]]], colWidths=[column, gutter, column])
            pair.setStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)])
            pair.setStyle([("RIGHTPADDING", (0, 0), (-1, -1), 0)])
            story.append(pair)
        else:
            story += shown
    frames = [Frame(side, 45, width - 2 * side, height - top - 45, 0, 0, 0, 0)]
    name = pages[0][0][1]
    document = BaseDocTemplate(
        str(path), pagesize=(width, height), title=name, author="Saltmark Harbour Weather Cooperative"
    )
    document.addPageTemplates(PageTemplate(frames=frames, onPage=dress))
    document.build(story)
    if document.page != len(pages):
        raise SystemExit(f"{path.name} came out with {document.page} pages instead of {len(pages)}: a page is too full")


def make_invoice(
    path: Path, seller: str, title: str, date: str, items: list[tuple[str, int, float]], note: str
) -> None:
    """One page with a sum at the end."""
    regular = pdf_font(LIBERATION.regular, "", Path())
    bold = pdf_font(LIBERATION.bold, "", Path())
    canvas = Canvas(str(path), pagesize=A4)
    canvas.setTitle(f"{title}, {seller}")
    canvas.setAuthor(seller)

    def line(text: str, x: float, y: float, size: float = 13, font: str = regular) -> None:
        canvas.setFont(font, size)
        canvas.drawString(x, y, text)

    line(seller, 60, 770, 20, bold)
    line("Boatyard Lane 8, Port Elwin", 60, 748)
    for i, text in enumerate(("Saltmark Harbour Weather Cooperative", "Harbour Office, Old Quay 3", "Saltmark")):
        line(text, 60, 690 - 18 * i)
    line(title, 60, 600, 17, bold)
    line(f"Date: {date}", 60, 576)
    rows = [["Item", "Quantity", "Price", "Amount"]]
    rows += [[name, str(count), f"{price:,.2f}", f"{count * price:,.2f}"] for name, count, price in items]
    net = sum(count * price for _, count, price in items)
    rows += [["Net", "", "", f"{net:,.2f}"], ["Value added tax 20%", "", "", f"{0.2 * net:,.2f}"]]
    rows += [["Total in euros", "", "", f"{1.2 * net:,.2f}"]]
    table = Table(rows, colWidths=[230, 75, 80, 90])
    table.setStyle(
        [
            ("FONT", (0, 0), (-1, -1), regular, 13, 22),
            ("FONT", (0, 0), (-1, 0), bold, 13, 22),
            ("FONT", (0, -1), (-1, -1), bold, 13, 22),
            ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
            ("LINEBELOW", (0, 0), (-1, 0), 1, colors.black),
            ("LINEABOVE", (0, -1), (-1, -1), 1, colors.black),
        ]
    )
    _, high = table.wrapOn(canvas, 475, 400)
    table.drawOn(canvas, 60, 545 - high)
    half = note.split(". ") if ". " in note else [note]
    for i, text in enumerate(half):
        line(text if text.endswith(".") else f"{text}.", 60, 500 - high - 20 * i)
    canvas.save()


def chart(draw: Any) -> io.BytesIO:
    """A PNG of a figure."""
    figure, axes = plt.subplots(figsize=(6.4, 3.4), dpi=150)
    draw(axes)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, metadata={"Software": None})
    plt.close(figure)
    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(64).save(small, "PNG", optimize=True)
    small.seek(0)
    return small


def members_chart() -> io.BytesIO:
    def draw(axes: Any) -> None:
        axes.bar(["2019", "2020", "2021", "2022", "2023", "2024"], [214, 221, 240, 262, 287, 312], color="#2a7f9e")
        axes.set_title("Members at the end of the year", fontsize=14)
        axes.tick_params(labelsize=13)

    return chart(draw)


def fog_chart() -> io.BytesIO:
    def draw(axes: Any) -> None:
        months = [calendar.month_abbr[month] for month in range(1, 13)]
        axes.plot(months, [12, 9, 22, 31, 48, 61, 40, 18, 8, 5, 6, 10], "o-")
        axes.set_title("Hours of fog in each month of 2024", fontsize=14)
        axes.tick_params(labelsize=12)
        axes.grid(alpha=0.3)

    return chart(draw)


def tide_chart() -> io.BytesIO:
    def draw(axes: Any) -> None:
        hours = np.linspace(0, 72, 400)
        moon, sun = 1.6 * np.cos(2 * np.pi * hours / 12.42), 0.6 * np.cos(2 * np.pi * hours / 12)
        axes.plot(hours, moon, "--", label="moon")
        axes.plot(hours, sun, ":", label="sun")
        axes.plot(hours, moon + sun, "k", label="sum")
        axes.set_xlabel("hours", fontsize=14)
        axes.set_ylabel("metres", fontsize=14)
        axes.legend(fontsize=13, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)

    return chart(draw)


def expenses_chart() -> io.BytesIO:
    def draw(axes: Any) -> None:
        shares = {"New stations": 41, "Insurance": 18, "Salaries": 21, "Boats and travel": 12, "Laboratory": 8}
        axes.pie(shares.values(), labels=shares.keys(), autopct="%d%%", textprops={"fontsize": 13}, startangle=90)
        axes.set_title("Where the money goes", fontsize=14)

    return chart(draw)


CHARTS = {"members": members_chart, "fog": fog_chart, "tide": tide_chart, "expenses": expenses_chart}


def draw_page(blocks: list[Block], font_name: str, direction: str, size: int) -> Image.Image:
    """A page as a grey picture at 112 dots per inch: A4 is 924 x 1307 pixels."""
    page = Image.new("L", (924, 1307), 255)
    pen = ImageDraw.Draw(page)
    path = font_path(font_name)
    left, right, y = 96, 828, 110.0

    def write(text: str, size: float) -> None:
        nonlocal y
        font = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.RAQM)
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and font.getlength(longer, direction=direction) > right - left:
                lines.append(word)
            else:
                lines[-1] = longer
        for line in lines:
            if direction == "rtl":
                pen.text((right, y), line, fill=20, font=font, anchor="rs", direction="rtl")
            else:
                pen.text((left, y), line, fill=20, font=font, anchor="ls")
            y += 1.55 * size

    for kind, what in blocks:
        if kind in ("title", "heading"):
            write(what, 1.4 * size if kind == "title" else 1.15 * size)
        elif kind == "table":
            font = ImageFont.truetype(path, size)
            for row in what:
                for cell, x in zip(row, (96, 180, 300, 470), strict=False):
                    pen.text((x, y), cell, fill=20, font=font, anchor="ls")
                pen.line((96, y + 0.45 * size, 828, y + 0.45 * size), fill=150)
                y += 1.7 * size
        else:
            for item in what if kind == "list" else [what]:
                write(item, size)
        y += 0.8 * size
    return page


def scan(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    """What an old scanner makes of a page: askew, grey, uneven, grainy."""
    page = page.rotate(rng.uniform(0.7, 1.5) * rng.choice((-1, 1)), Image.Resampling.BICUBIC, fillcolor=255)
    page = page.filter(ImageFilter.GaussianBlur(0.6))
    values = np.asarray(page, dtype=np.float32)
    height, width = values.shape
    shade = np.linspace(0.97, 0.84, width)[None, :] * np.linspace(1.0, 0.93, height)[:, None]
    values = (40 + values * (205 / 255)) * shade + rng.normal(0, 5, values.shape)
    for _ in range(60):
        x, y = rng.integers(0, width - 3), rng.integers(0, height - 3)
        values[y : y + rng.integers(1, 3), x : x + rng.integers(1, 3)] = 70
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def make_scan(path: Path, text: str, font: str, direction: str, worn: bool, rng: np.random.Generator) -> None:
    """Pictures of pages, as a JPEG or as a PDF without a text layer."""
    pages = [draw_page(blocks, font, direction, 25 if worn and path.suffix == ".pdf" else 29) for blocks in parse(text)]
    if worn:
        pages = [scan(page, rng) for page in pages]
    if path.suffix == ".jpg":
        pages[0].save(path, quality=55, optimize=True, dpi=(112, 112))
        return
    canvas = Canvas(str(path), pagesize=A4)
    canvas.setTitle(path.stem)
    for page in pages:
        buffer = io.BytesIO()
        if worn:
            page.save(buffer, "JPEG", quality=50, optimize=True)
        else:
            page.quantize(8).save(buffer, "PNG", optimize=True)
        buffer.seek(0)
        canvas.drawImage(ImageReader(buffer), 0, 0, *A4)
        canvas.showPage()
    canvas.save()


def canvas_of(top: str, bottom: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A picture four times too large, its sky running from one colour to another."""
    sky = Image.linear_gradient("L").resize((2560, 1920))
    picture = Image.composite(Image.new("RGB", sky.size, bottom), Image.new("RGB", sky.size, top), sky)
    return picture, ImageDraw.Draw(picture)


def sailing_boat() -> Image.Image:
    picture, pen = canvas_of("#f4a261", "#fde8c9")
    pen.ellipse((1750, 850, 2150, 1250), fill="#e76f51")
    pen.rectangle((0, 1250, 2560, 1920), fill="#1d6a8f")
    for i in range(14):
        y = 1300 + 44 * i
        for x in range((i * 173) % 400 - 400, 2560, 420):
            pen.arc((x, y, x + 200, y + 50), 180, 360, fill="#5fa8c9", width=10)
    pen.polygon([(620, 1330), (1640, 1330), (1450, 1530), (780, 1530)], fill="#7a3b1d")
    pen.rectangle((1080, 320, 1106, 1330), fill="#4a2511")
    pen.polygon([(1125, 360), (1125, 1260), (1620, 1260)], fill="#ffffff")
    pen.polygon([(1060, 480), (1060, 1260), (700, 1260)], fill="#e9ecef")
    pen.polygon([(1093, 320), (1093, 240), (1230, 280)], fill="#d62828")
    return picture


def mountain_lake() -> Image.Image:
    picture, pen = canvas_of("#4a90c2", "#d8ecf7")
    for peak, base, colour in ((600, 1000, "#7d8ca3"), (1400, 1150, "#5c6b82"), (2100, 900, "#8795aa")):
        summit = 330 if peak == 1400 else 520
        pen.polygon([(peak - base, 1250), (peak, summit), (peak + base, 1250)], fill=colour)
        step = (1250 - summit) / base
        snow = [(peak - 180, summit + 180 * step), (peak, summit), (peak + 180, summit + 180 * step)]
        pen.polygon([*snow, (peak + 60, summit + 150 * step), (peak - 50, summit + 260 * step)], fill="#ffffff")
    pen.rectangle((0, 1250, 2560, 1920), fill="#2f7f8f")
    for i in range(9):
        pen.line((200 + 190 * i, 1330 + 60 * i, 700 + 190 * i, 1330 + 60 * i), fill="#7fc0c9", width=9)
    for x in range(-40, 2600, 130):
        high = 250 + (x * 37) % 110
        pen.polygon([(x, 1290), (x + 65, 1290 - high), (x + 130, 1290)], fill="#1f5134")
    return picture


def red_bicycle() -> Image.Image:
    picture, pen = canvas_of("#f3efe6", "#f9f6ef")
    pen.rectangle((0, 0, 2560, 1500), fill="#e8d8b0")
    for y in range(0, 1500, 125):
        pen.line((0, y, 2560, y), fill="#d6c190", width=8)
    pen.rectangle((0, 1500, 2560, 1920), fill="#8a8f94")
    for x in (720, 1840):
        pen.ellipse((x - 370, 830, x + 370, 1570), outline="#222222", width=38)
        for i in range(12):
            dx, dy = 350 * np.cos(i * np.pi / 6), 350 * np.sin(i * np.pi / 6)
            pen.line((x, 1200, x + dx, 1200 + dy), fill="#777777", width=6)
    red = "#d00000"
    for line in (
        [(720, 1200), (1180, 1220), (1640, 760), (1020, 760), (720, 1200)],
        [(1180, 1220), (1000, 680)],
        [(1840, 1200), (1640, 760), (1590, 600)],
    ):
        pen.line(line, fill=red, width=46, joint="curve")
    pen.line([(1590, 600), (1780, 560), (1810, 640)], fill="#222222", width=36, joint="curve")
    pen.rounded_rectangle((860, 620, 1150, 690), 34, fill="#3b2414")
    pen.ellipse((1090, 1130, 1270, 1310), outline="#333333", width=30)
    pen.line((1180, 1220, 1290, 1380), fill="#333333", width=28)
    pen.rectangle((1230, 1370, 1370, 1404), fill="#111111")
    return picture


def lighthouse_at_night() -> Image.Image:
    picture, pen = canvas_of("#060b26", "#233a6b")
    rng = np.random.default_rng(SEED)
    for x, y in zip(rng.integers(0, 2560, 90), rng.integers(0, 1100, 90), strict=True):
        pen.ellipse((x, y, x + 9, y + 9), fill="#ffffff")
    pen.ellipse((260, 200, 520, 460), fill="#f6f1d1")
    pen.polygon([(1330, 520), (2560, 180), (2560, 700), (1330, 600)], fill="#8d8f6a")
    pen.polygon([(1230, 520), (0, 380), (0, 860), (1230, 600)], fill="#6c7066")
    pen.rectangle((0, 1480, 2560, 1920), fill="#0b1d3d")
    pen.polygon([(700, 1920), (960, 1400), (1620, 1400), (1950, 1920)], fill="#2b2b2b")
    for i in range(5):
        low, high = 1420 - 160 * i, 1260 - 160 * i
        w, v = 210 - 22 * i, 210 - 22 * (i + 1)
        corners = [(1280 - w, low), (1280 + w, low), (1280 + v, high), (1280 - v, high)]
        pen.polygon(corners, fill="#c1121f" if i % 2 == 0 else "#f8f9fa")
    pen.rectangle((1190, 490, 1370, 620), fill="#ffe66d")
    pen.polygon([(1170, 490), (1390, 490), (1280, 380)], fill="#c1121f")
    return picture


PICTURES = {
    "sailing-boat.png": sailing_boat,
    "mountain-lake.png": mountain_lake,
    "red-bicycle.jpg": red_bicycle,
    "lighthouse-night.png": lighthouse_at_night,
}


def main(folder: Path) -> None:
    rl_config.invariant = 1  # no time of making in the PDFs
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as scratch:
        for name, style in PDFS.items():
            make_pdf(folder / f"{name}.pdf", read(name), style, Path(scratch))
        for name, *rest in INVOICES:
            make_invoice(folder / f"{name}.pdf", *rest)
    for file, (font, direction, worn) in SCANS.items():
        make_scan(folder / file, read(Path(file).stem), font, direction, worn, rng)
    for file, draw in PICTURES.items():
        picture = draw().resize((640, 480), Image.Resampling.LANCZOS)
        if file.endswith(".jpg"):
            picture.save(folder / file, quality=80)
        else:
            picture.quantize(128).save(folder / file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
