"""Marks that nobody sees are in no text, whichever reader it came from; words broken at line ends are whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas
from tests.support import papers

from polylens.documents import open_document
from polylens.documents.cleaning import clean, join_broken_words
from polylens.documents.formats.pdf import clean as clean_layer
from polylens.documents.splitting import split

MARKED = "Donau\u00addampf\u200bschiff\u2060kapi\u200etän\ufeffin"
PLAIN = "Donaudampfschiffkapitänin"


def text_of(path: Path) -> str:
    with open_document(path) as document:
        return "\n".join(page.text for page in document)


def sheet(path: Path) -> Path:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append([MARKED])
    book.save(path)
    return path


def slides(path: Path) -> Path:
    import pptx

    deck = pptx.Presentation()
    deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = MARKED
    deck.save(str(path))
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def odf(path: Path, body: str) -> Path:
    return papers.make_odf(path, body.format(f"<text:p>{MARKED}</text:p>"))


ROW = "<table:table-row><table:table-cell>{}</table:table-cell></table:table-row>"
CELL = f"<office:spreadsheet><table:table>{ROW}</table:table></office:spreadsheet>"
BOX = "<draw:frame><draw:text-box>{}</draw:text-box></draw:frame>"
FRAME = f"<office:presentation><draw:page>{BOX}</draw:page></office:presentation>"
MAKERS: dict[str, Callable[[Path], Path]] = {
    "txt": lambda path: written(path, MARKED),
    "md": lambda path: written(path, MARKED),
    "csv": lambda path: written(path, MARKED),
    "html": lambda path: written(path, f"<meta charset=utf-8><p>{MARKED}"),
    "docx": lambda path: papers.word_by_hand(path, f"<w:p><w:r><w:t>{MARKED}</w:t></w:r></w:p>"),
    "epub": lambda path: papers.make_epub(path, {"one": f"<p>{MARKED}</p>"}),
    "odt": lambda path: odf(path, "<office:text>{}</office:text>"),
    "ods": lambda path: odf(path, CELL),
    "odp": lambda path: odf(path, FRAME),
    "xlsx": sheet,
    "pptx": slides,
}


@pytest.mark.parametrize("suffix", MAKERS)
def test_unseen_marks(tmp_path: Path, suffix: str) -> None:
    assert PLAIN in text_of(MAKERS[suffix](tmp_path / f"a.{suffix}"))


def test_a_slide_of_nothing_seen_keeps_its_number(tmp_path: Path) -> None:
    body = FRAME.format("<text:p>\u200b</text:p>").replace("</draw:page>", "</draw:page><draw:page/>")
    assert text_of(papers.make_odf(tmp_path / "a.odp", body)) == "Slide 1\nSlide 2"


def test_what_means_something_stays() -> None:
    persian, emoji = "می\u200cخواهم", "👩\u200d🚀"
    assert clean(persian + emoji) == persian + emoji
    assert clean("Auf\u200clage") == "Auflage"
    assert clean("Harbour\u00ad\n  master") == "Harbourmaster"


class TestWordsBrokenAtLineEnds:
    """Of texts whose lines are those of paper: PDFs and plain texts. Not of tables, code, dashes and names."""

    def test_joined(self) -> None:
        assert (
            join_broken_words("the old light-\nhouse was extra-\n  ordinary\n")
            == "the old lighthouse was extraordinary\n"
        )
        assert join_broken_words("Überra-\nschung, мая-\nка, φά-\nρος") == "Überraschung, маяка, φάρος"

    @pytest.mark.parametrize(
        "text", ["3-\n4", "Jean-\nPierre", "a -\nb", "e-\nmail", "x--\ny", "UTF-\n8", "- one\n- two", "-\n-"]
    )
    def test_left_alone(self, text: str) -> None:
        assert join_broken_words(text) == text

    def test_a_hyphen_that_the_word_has_elsewhere_stays(self) -> None:
        assert join_broken_words("well-\nknown, a well-known one") == "well-known, a well-known one"

    def test_by_kind_of_file(self, tmp_path: Path) -> None:
        for name, joined in (("a.txt", True), ("a.md", True), ("a.py", False), ("a.csv", False)):
            assert ("lighthouse" in text_of(written(tmp_path / name, "light-\nhouse"))) == joined

    def test_in_a_pdf(self, tmp_path: Path) -> None:
        canvas = Canvas(str(tmp_path / "a.pdf"), pagesize=(300, 200))
        for line, text in enumerate(["the old light-", "house stood"]):
            canvas.drawString(20, 150 - 14 * line, text)
        canvas.save()
        assert "lighthouse" in text_of(tmp_path / "a.pdf")
        assert clean_layer("light\ufffe\r\nhouse, light\x02\r\nhouse") == "lighthouse, lighthouse"


class TestTime:
    """Each character is looked at a few times, in a run of marks, blanks or line ends too; else these would not end."""

    @pytest.mark.parametrize(
        "unit", [".", "。", ".'", "! ", "\n", "\n ", "\t", "…”", "a.", "\u00ad", "-\n", "x", "ä-", "\u200c"]
    )
    def test_a_megabyte_of_one_kind(self, unit: str) -> None:
        text = unit * (1_000_000 // len(unit))
        assert sum(map(len, split(text))) <= len(text)
        assert len(clean_layer(text + "-\nx")) <= len(text) + 3

    def test_any_mixture_adds_up(self) -> None:
        rng = random.Random(3)
        text = "".join(rng.choices([".", "?'", "。", " ", "\n", "word", ")"], k=50_000))
        assert "".join("".join(split(text)).split()) == "".join(text.split())
