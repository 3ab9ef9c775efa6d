"""Web pages and files as Markdown, each a real file made here."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from textwrap import dedent

import docx
import openpyxl
import PIL.Image
import pptx
import pytest
from reportlab.pdfgen.canvas import Canvas
from tests.support.commands import polylens

from polylens.documents.markdown import process
from polylens.documents.markdown.files import as_markdown, read_file
from polylens.documents.markdown.kinds import found_at, name_of
from polylens.documents.markdown.process import read_apart
from polylens.documents.markdown.reading import Reading, Wish
from polylens.documents.markdown.webpage import NOT_CLEANED, read_webpage
from polylens.errors import DocumentError, InputError

PAGE = dedent("""
    <!doctype html><html lang="en"><head><title>Tides – The Harbour</title><base href="/guide/">
    <meta name="description" content="How tides  rise."><meta property="article:published_time" content="2026-03-01T10:00Z">
    </head><body><nav><ul><li><a href="/">Home</a></li><li><a href="/shop">Shop now</a></li></ul></nav>
    <div class="banner">We use cookies. Accept all</div>
    <article><h1>Tides</h1>
    <p>The tide <strong>rises</strong> and <em>falls</em> twice a day in most harbours, as described in the
    <a href="tables.html?year=2026#june">tide tables</a>, which every skipper should read before the first voyage.</p>
    <h2>Why tides rise</h2><p>The moon pulls the water of the oceans towards it, and the sun does the same with about half
    the strength; together they make the spring tides, which are the highest of the month.</p>
    <ul><li>spring tide<ul><li>at full moon</li><li>at new moon</li></ul></li><li>neap tide</li></ul>
    <ol><li>Read the table.</li><li>Add an hour in summer.</li></ol>
    <table><caption>Heights</caption><tr><th>Port</th><th>High water</th></tr><tr><td>Brest</td><td>7.5 m</td></tr></table>
    <pre><code class="language-python">def tide(hour):
        return 2 * cos(hour)
    </code></pre><blockquote><p>Time and tide wait for no man.</p></blockquote>
    <p><img src="img/tide.png" alt="A tide gauge"> The gauge uses <code>tide()</code> every hour.</p></article>
    <footer>Copyright 2026. All rights reserved. <a href="/imprint">Imprint</a></footer></body></html>
""").encode()  # noqa: E501

MAIN = dedent("""\
    # Tides

    The tide **rises** and *falls* twice a day in most harbours, as described in the [tide tables](https://harbour.example/guide/tables.html?year=2026#june), which every skipper should read before the first voyage.

    ## Why tides rise

    The moon pulls the water of the oceans towards it, and the sun does the same with about half the strength; together they make the spring tides, which are the highest of the month.

    - spring tide
      - at full moon
      - at new moon
    - neap tide

    1. Read the table.
    2. Add an hour in summer.

    Heights

    | Port | High water |
    | --- | --- |
    | Brest | 7.5 m |

    ```python
    def tide(hour):
        return 2 * cos(hour)
    ```

    > Time and tide wait for no man.

    ![A tide gauge](https://harbour.example/guide/img/tide.png) The gauge uses `tide()` every hour.""")  # noqa: E501

URL = "https://harbour.example/start"


def page(data: bytes = PAGE, **wish: object) -> Reading:
    return read_webpage(data, Wish(**{"name": "page.html", "url": URL, **wish}))  # type: ignore[arg-type]


class TestWebPages:
    def test_the_main_content_alone_with_its_structure(self) -> None:
        pytest.importorskip("trafilatura", reason="needs the extra read: pip install 'polylens[read]'")
        reading = page()
        assert reading.content == MAIN
        assert (reading.title, reading.description) == ("Tides – The Harbour", "How tides rise.")
        assert (reading.published, reading.url, reading.warning) == ("2026-03-01T10:00Z", URL, "")
        assert reading.links == [("tide tables", "https://harbour.example/guide/tables.html?year=2026#june")]
        assert reading.images == [("A tide gauge", "https://harbour.example/guide/img/tide.png")]

    def test_the_whole_page_has_its_menus(self) -> None:
        content = page(whole=True).content
        assert content.startswith("- [Home](https://harbour.example/)\n- [Shop now](https://harbour.example/shop)\n\n")
        assert "Accept all" in content and content.endswith("[Imprint](https://harbour.example/imprint)")
        assert MAIN.removeprefix("# Tides") in content

    def test_without_the_extra_all_of_it_is_given_and_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "trafilatura", None)
        reading = page()
        assert (reading.warning, reading.content) == (NOT_CLEANED, page(whole=True).content)

    def test_a_selector_chooses_and_another_removes(self) -> None:
        pytest.importorskip("cssselect", reason="needs the extra read: pip install 'polylens[read]'")
        assert (
            page(target="ol li, blockquote").content
            == "Read the table.\n\nAdd an hour in summer.\n\n> Time and tide wait for no man."
        )
        without = page(whole=True, remove="nav, .banner, footer").content
        assert without.startswith("# Tides") and "Imprint" not in without
        with pytest.raises(InputError, match="nothing on the page is selected by '#none'"):
            page(target="#none")
        with pytest.raises(InputError, match="is not CSS"):
            page(target="[[")

    def test_a_page_without_text_is_an_error(self) -> None:
        with pytest.raises(DocumentError, match="has no text; a page that a script fills in is not run here"):
            page(b"<html><body><div id='root'></div><script>render()</script></body></html>")
        with pytest.raises(DocumentError, match="is empty"):
            page(b"")

    def test_encodings_and_xhtml(self) -> None:
        assert page("<p>Käse und Brot</p>".encode("latin-1"), charset="iso-8859-1").content == "Käse und Brot"
        xhtml = b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'><head><title/></head><body><h1>A</h1><p>b</p></body></html>"
        assert page(xhtml, whole=True).content == "# A\n\nb"

    def test_deep_nesting_does_not_break_it(self) -> None:
        """Beyond some depth the parser drops what is inside."""

        def nested(depth: int) -> Reading:
            return page(b"<div>" * depth + b"deep" + b"</div>" * depth, whole=True)

        assert nested(200).content == "deep"
        with pytest.raises(DocumentError):
            nested(5_000)

    def test_without_an_address_relative_links_are_words(self) -> None:
        assert page(b"<p>see <a href='/a'>here</a></p>", url="", whole=True).content == "see here"


class TestFiles:
    def test_a_word_file(self, tmp_path: Path) -> None:
        file = docx.Document()
        file.add_heading("Harbour report", 0)
        file.add_heading("Berths", 1)
        file.add_paragraph("Yes | no is no table.")
        for text in ("First", "Second"):
            file.add_paragraph(text, style="List Bullet")
        cells = file.add_table(2, 2)
        for row, texts in enumerate([("Port", "Berths"), ("Aveiro", "12")]):
            for column, text in enumerate(texts):
                cells.cell(row, column).text = text
        for number in range(100):
            file.add_paragraph(f"Paragraph {number} says something and is long enough to need several passages.")
        file.save(str(tmp_path / "report.docx"))
        reading = read_file(tmp_path / "report.docx", Wish(name="report.docx"))
        assert reading.content.startswith(
            "# Harbour report\n\n# Berths\n\nYes | no is no table.\n\n- First\n- Second\n\n"
            "| Port | Berths |\n| --- | --- |\n| Aveiro | 12 |\n\nParagraph 0 says"
        )
        assert reading.content.count("passages.\n\nParagraph") == 99
        assert (reading.title, reading.pages) == ("Harbour report", [])

    def test_sheets_and_slides_have_pages(self, tmp_path: Path) -> None:
        book = openpyxl.Workbook()
        for name in ("Ports", "Lights"):
            sheet = book.active if name == "Ports" else book.create_sheet()
            sheet.title = name
            for row in (["Name", "Number"], ["Aveiro", 12]):
                sheet.append(row)
        book.save(tmp_path / "book.xlsx")
        reading = read_file(tmp_path / "book.xlsx", Wish(name="book.xlsx"))
        expected = "\n\n| Name | Number |\n| --- | --- |\n| Aveiro | 12 |"
        assert reading.pages == [(1, f"# Ports{expected}"), (2, f"# Lights{expected}")]
        deck = pptx.Presentation()
        for title in ("Tides", "Winds"):
            slide = deck.slides.add_slide(deck.slide_layouts[1])
            slide.shapes.title.text, slide.placeholders[1].text = title, "high\nlow"
        deck.save(str(tmp_path / "deck.pptx"))
        reading = read_file(tmp_path / "deck.pptx", Wish(name="deck.pptx"))
        assert reading.content == "# Tides\n\n- high\n- low\n\n# Winds\n\n- high\n- low"

    def test_a_pdf_is_read_page_by_page(self, tmp_path: Path) -> None:
        canvas = Canvas(str(tmp_path / "two.pdf"))
        for text in ("The first page, see https://a.example/x.", "The second page"):
            canvas.drawString(72, 720, text)
            canvas.showPage()
        canvas.save()
        reading = read_file(tmp_path / "two.pdf", Wish(name="two.pdf"))
        assert reading.pages == [(1, "The first page, see https://a.example/x."), (2, "The second page")]
        assert reading.links == [("https://a.example/x", "https://a.example/x")]
        assert reading.title == "two"

    @pytest.mark.parametrize(
        ("name", "source", "expected"),
        [
            ("a.md", "# A\n\n| b | c |\n", "# A\n\n| b | c |"),
            ("a.csv", 'Port,Berths\n"Aveiro, north",12\n', "| Port | Berths |\n| --- | --- |\n| Aveiro, north | 12 |"),
            ("a.py", "print(1)\n", "```py\nprint(1)\n```"),
        ],
    )
    def test_texts(self, name: str, source: str, expected: str, tmp_path: Path) -> None:
        (tmp_path / name).write_text(source)
        assert read_file(tmp_path / name, Wish(name=name)).content == expected

    def test_what_cannot_be_read(self, tmp_path: Path) -> None:
        PIL.Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
        with pytest.raises(DocumentError, match=r"a\.png is a picture"):
            read_file(tmp_path / "a.png", Wish(name="a.png"))
        (tmp_path / "a.exe").write_bytes(b"MZ")
        with pytest.raises(DocumentError, match="judging by its name"):
            read_file(tmp_path / "a.exe", Wish(name="a.exe"))
        (tmp_path / "a.txt").write_text(" \n")
        with pytest.raises(DocumentError, match="has no text"):
            read_file(tmp_path / "a.txt", Wish(name="a.txt"))

    def test_a_row_alone_is_a_table_on_a_sheet_only(self) -> None:
        assert as_markdown("a | b", "document") == "a | b"
        assert as_markdown("a | b", "sheet") == "| a | b |\n| --- | --- |"


class TestKinds:
    @pytest.mark.parametrize(
        ("data", "url", "media_type", "expected"),
        [
            (b"<p>", "https://a.example/", "text/html", "page.html"),
            (b"<p>", "https://a.example/a.php?x=1", "text/html", "a.php.html"),
            (b"x", "https://a.example/read%20me.md", "text/plain", "read me.md"),
            (b"%PDF-1.4", "https://a.example/get?id=7", "application/octet-stream", "get.pdf"),
            (b"  <!DOCTYPE html><p>", "https://a.example/x", "", "x.html"),
            (b"{\\rtf1", "", "", "page.rtf"),
            (b"words", "", "", "page.txt"),
            (b"%PDF-1.4", "https://a.example/..%2f..%2fetc%2fpasswd", "", "passwd.pdf"),
        ],
    )
    def test_the_name_says_the_kind(self, data: bytes, url: str, media_type: str, expected: str) -> None:
        assert name_of(data, url, media_type) == expected

    def test_an_office_file_is_known_by_its_parts(self) -> None:
        file = io.BytesIO()
        docx.Document().save(file)
        assert name_of(file.getvalue()) == "page.docx"

    def test_the_encoding_of_the_response(self) -> None:
        wish = found_at(Wish(name=""), b"<p>", "https://a.example", 'text/html; charset="utf-8"')
        assert (wish.name, wish.url, wish.charset) == ("page.html", "https://a.example", "utf-8")


class TestApart:
    def test_it_reads_the_same(self) -> None:
        wish = Wish(name="page.html", url=URL)
        assert read_apart(PAGE, wish, seconds=60) == read_webpage(PAGE, wish)

    def test_errors_come_back(self) -> None:
        with pytest.raises(InputError, match=r"broken\.pdf is not a PDF"):
            read_apart(b"no pdf", Wish(name="broken.pdf"), seconds=60)

    def test_a_crash_costs_one_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process, "COMMAND", (sys.executable, "-c", "import os; os.abort()"))
        with pytest.raises(DocumentError, match=r"a\.pdf cannot be read"):
            read_apart(b"", Wish(name="a.pdf"), seconds=60)


class TestCommand:
    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "page.html").write_bytes(PAGE)
        printed = polylens("read", tmp_path / "page.html", "--format", "markdown")
        assert (printed.returncode, printed.stderr) == (0, "")
        assert "| Brest | 7.5 m |" in printed.stdout and "Shop now" in printed.stdout
        printed = polylens("read", tmp_path / "page.html", "--json", "--target", "h2")
        assert '"content": "## Why tides rise"' in printed.stdout

    def test_what_cannot_be_read(self, tmp_path: Path) -> None:
        printed = polylens("read", tmp_path / "none.pdf")
        assert (printed.returncode, "does not exist" in printed.stderr) == (2, True)
        printed = polylens("read", "http://127.0.0.1/")
        assert (printed.returncode, "not on the public internet" in printed.stderr) == (2, True)
