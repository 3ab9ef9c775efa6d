"""Where words stand on a PDF's page, against the places at which the test writes them.

The PDFs are written by hand in Courier, whose letters are all 0.6 of the font's size wide, so every edge is known.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reportlab.pdfgen.canvas import Canvas

from polylens.documents import open_document
from polylens.documents.formats import pdf_words
from polylens.types import Box, Page

SIZE = 20.0  # of the font, in points
ADVANCE = 0.6 * SIZE
CLOSE = 0.006  # of the page's side: about 2 points, less than an accent

Written = tuple[float, float, str]
"""Where a line's baseline begins, in points from the lower left, and the line."""


def write_pdf(path: Path, lines: list[Written], *, more: str = "", turned: bool = False) -> Path:
    """A PDF of one page, 400 x 300 points. `more` is put into its dictionary; `turned` writes upwards."""
    matrix = "0 1 -1 0" if turned else "1 0 0 1"
    drawn = "".join(f"BT /F {SIZE} Tf {matrix} {x} {y} Tm ({text}) Tj ET\n" for x, y, text in lines)
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 300]/Resources<</Font<</F 4 0 R>>>>/Contents 5 0 R{more}>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Courier/Encoding/WinAnsiEncoding>>",
        f"<</Length {len(drawn)}>>stream\n{drawn}endstream\n",
    ]
    body = "".join(f"{number} 0 obj{each}endobj\n" for number, each in enumerate(objects, start=1))
    path.write_bytes(f"%PDF-1.4\n{body}trailer<</Root 1 0 R/Size {len(objects) + 1}>>\n%%EOF\n".encode("cp1252"))
    return path


def page_of(path: Path) -> Page:
    with open_document(path) as document:
        return document.page(1)


def box_of(page: Page, text: str) -> Box:
    [box] = [word.box for word in page.words if word.text == text]
    return box


def check(page: Page, text: str, left: float, right: float, baseline: float, *, height: float) -> None:
    """A word on a page of 1 x 1: its edges are those of its letters, and its line stands on the baseline."""
    box = box_of(page, text)
    assert box.left == pytest.approx(left, abs=CLOSE) and box.left + box.width == pytest.approx(right, abs=CLOSE)
    assert box.top < baseline <= box.top + box.height < baseline + 0.4 * height
    assert 0.6 * height < box.height < 1.5 * height


def ink_in(page: Page, box: Box) -> float:
    """The share of a page's dark pixels that lies in a box."""
    assert page.image is not None
    dark = np.asarray(page.image.convert("L")) < 128
    height, width = dark.shape
    rows = slice(round(box.top * height), round((box.top + box.height) * height))
    columns = slice(round(box.left * width), round((box.left + box.width) * width))
    return float(dark[rows, columns].sum() / dark.sum())


def test_an_upright_page(tmp_path: Path) -> None:
    page = page_of(write_pdf(tmp_path / "a.pdf", [(40, 240, "Dear Harbour, master"), (40, 60, "invoice")]))
    assert [word.text for word in page.words] == page.text.split() == ["Dear", "Harbour,", "master", "invoice"]
    height = SIZE / 300
    check(page, "Dear", 40 / 400, (40 + 4 * ADVANCE) / 400, 60 / 300, height=height)
    check(page, "master", (40 + 14 * ADVANCE) / 400, (40 + 20 * ADVANCE) / 400, 60 / 300, height=height)
    check(page, "invoice", 40 / 400, (40 + 7 * ADVANCE) / 400, 240 / 300, height=height)


def test_only_what_the_crop_box_shows(tmp_path: Path) -> None:
    lines = [(40, 270, "harbour outside"), (120, 150, "harbour"), (40, 20, "harbour")]
    page = page_of(write_pdf(tmp_path / "a.pdf", lines, more="/CropBox[100 100 300 200]"))
    assert page.text == "harbour"
    check(page, "harbour", 20 / 200, (20 + 7 * ADVANCE) / 200, 50 / 100, height=SIZE / 100)
    assert ink_in(page, page.words[0].box) > 0.99


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_page_that_is_shown_rotated(tmp_path: Path, degrees: int) -> None:
    """The word is written upright near the lower left; rotation is clockwise (ISO 32000-1, table 30)."""
    page = page_of(write_pdf(tmp_path / "a.pdf", [(40, 60, "invoice")], more=f"/Rotate {degrees}"))
    left, right, bottom, top = 40 / 400, (40 + 7 * ADVANCE) / 400, 60 / 300, (60 + SIZE) / 300
    edges = {
        90: (bottom, left, top, right),
        180: (1 - right, bottom, 1 - left, top),
        270: (1 - top, 1 - right, 1 - bottom, 1 - left),
    }[degrees]
    box = box_of(page, "invoice")
    found = (box.left, box.top, box.left + box.width, box.top + box.height)
    assert found == pytest.approx(edges, abs=0.4 * SIZE / 300)  # the line's height is the font's affair
    assert ink_in(page, box) > 0.99


def test_a_line_that_is_written_upwards(tmp_path: Path) -> None:
    page = page_of(write_pdf(tmp_path / "a.pdf", [(60, 40, "old invoice")], turned=True))
    box = box_of(page, "invoice")
    assert box.top + box.height == pytest.approx(1 - (40 + 4 * ADVANCE) / 300, abs=CLOSE)
    assert box.top == pytest.approx(1 - (40 + 11 * ADVANCE) / 300, abs=CLOSE)
    assert box.width < 1.5 * SIZE / 400


def test_a_word_broken_at_a_lines_end_is_one_per_line(tmp_path: Path) -> None:
    page = page_of(write_pdf(tmp_path / "a.pdf", [(40, 240, "the old light-"), (40, 210, "house, stood")]))
    assert page.text == "the old lighthouse, stood"
    assert [word.text for word in page.words] == ["the", "old", "light", "house,", "stood"]
    check(page, "light", (40 + 8 * ADVANCE) / 400, (40 + 13 * ADVANCE) / 400, 60 / 300, height=SIZE / 300)
    check(page, "house,", 40 / 400, (40 + 5 * ADVANCE) / 400, 90 / 300, height=SIZE / 300)


def test_soft_hyphens_and_signs_move_nothing(tmp_path: Path) -> None:
    page = page_of(write_pdf(tmp_path / "a.pdf", [(40, 240, "* co\u00adop - \u00e9t\u00e9")]))
    words = [word.text for word in page.words]
    assert words == [word for word in page.text.split() if any(map(str.isalnum, word))] and words[-1] == "été"
    box = box_of(page, "été")
    assert box.left == pytest.approx((40 + 10 * ADVANCE) / 400, abs=CLOSE)


def test_the_value_of_a_form_field_is_where_the_field_is(tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "a.pdf"), pagesize=(400, 300))
    canvas.drawString(40, 240, "Name")
    canvas.acroForm.textfield(name="who", value="Ada Halvorsen", x=200, y=100, width=180, height=30)
    canvas.save()
    page = page_of(tmp_path / "a.pdf")
    assert page.text == "Name\n\nAda Halvorsen"
    for text in ("Ada", "Halvorsen"):
        box = box_of(page, text)
        assert (box.left, box.top, box.width, box.height) == pytest.approx((0.5, 170 / 300, 0.45, 0.1), abs=1e-4)


def test_text_that_is_not_drawn_where_it_is_seen_gives_no_box_outside(tmp_path: Path) -> None:
    page = page_of(write_pdf(tmp_path / "a.pdf", [(380, 150, "edge"), (40, 150, "word")]))
    for word in page.words:
        assert word.box.left >= 0 and word.box.left + word.box.width <= 1


def test_samples_have_a_place_for_every_word(tmp_path: Path) -> None:
    from tests.support.root import ROOT

    for path in sorted((ROOT / "samples").glob("*.pdf")):
        with open_document(path) as document:
            page = document.page(1)
        wanted = [word for word in page.text.split() if any(map(str.isalnum, word))]
        assert [word.text for word in page.words] == wanted, path.name


@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF])
def test_a_character_that_is_none_costs_the_page_nothing(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PDFium gives them for broken fonts; no font that could be written here made it do so."""
    real = pdf_words.pdfium.FPDFText_GetUnicode

    def broken(handle: object, index: int) -> int:
        return code if index == 6 else int(real(handle, index))

    monkeypatch.setattr(pdf_words.pdfium, "FPDFText_GetUnicode", broken)
    page = page_of(write_pdf(tmp_path / "broken.pdf", [(40, 200, "north (x) south")]))
    assert page.text == "north (x) south"
    assert page.words == () or {word.text for word in page.words} >= {"north", "south"}
