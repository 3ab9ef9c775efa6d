"""Word, PowerPoint, Excel and OpenDocument files, made by the libraries that others use and by hand, part for part."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import openpyxl
import PIL.Image
import pytest
from tests.support import papers

from polylens.documents import open_document
from polylens.documents.formats.sheets import MAX_HEADER_CHARS, table_pages
from polylens.documents.splitting import MAX_CHARS
from polylens.types import Page


def pages_of(path: Path) -> list[Page]:
    with open_document(path) as document:
        pages = list(document)
        assert document.num_pages == len(pages)
        assert [page.number for page in pages] == list(range(1, len(pages) + 1))
        assert all(page.text or page.image for page in pages)
        assert [document.page(page.number).text for page in pages] == [page.text for page in pages]
        return pages


def text_of(path: Path) -> str:
    return "\n".join(page.text for page in pages_of(path) if page.image is None)


def same_pixels(page: Page, seed: int) -> bool:
    return page.image is not None and np.array_equal(page.image, PIL.Image.open(io.BytesIO(papers.picture(seed))))


class TestWord:
    def test_by_the_library(self, tmp_path: Path) -> None:
        text, picture = pages_of(papers.make_docx(tmp_path / "a.docx"))
        assert text.text == (
            "# Winter report\nThe harbour froze over in January.\n\n# Ice\n- thick floes\n- thin ice\n\n"
            "Port | Ice in cm\nLuleå | 70\nOulu | 55\n\nAn icebreaker:\n\nThe end.\n\nHarbour Authority"
        )
        assert same_pixels(picture, 1) and picture.text == "a ship in the ice"  # the logo is none

    @pytest.mark.parametrize("namespace", [papers.W, "http://purl.oclc.org/ooxml/wordprocessingml/main"])
    def test_by_hand(self, tmp_path: Path, namespace: str) -> None:
        body = """
        <w:sdt><w:sdtContent><w:p><w:r><w:t>under </w:t></w:r><w:r><w:t>control</w:t></w:r></w:p></w:sdtContent></w:sdt>
        <w:p><w:hyperlink><w:r><w:t>a link</w:t></w:r></w:hyperlink><w:r><w:tab/><w:t>tab</w:t><w:br/>
        <w:t>break</w:t></w:r></w:p>
        <w:p><w:ins><w:r><w:t>put in</w:t></w:r></w:ins><w:del><w:r><w:delText>taken out</w:delText></w:r></w:del></w:p>
        <w:p><w:moveFrom><w:r><w:t>was here</w:t></w:r></w:moveFrom></w:p>
        <w:p><w:r><w:instrText>PAGE</w:instrText></w:r></w:p>
        <w:p><w:r><mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">
          <mc:Choice><w:txbxContent><w:p><w:r><w:t>in a box</w:t></w:r></w:p></w:txbxContent></mc:Choice>
          <mc:Fallback><w:txbxContent><w:p><w:r><w:t>in a box</w:t></w:r></w:p></w:txbxContent></mc:Fallback>
        </mc:AlternateContent><w:t>beside the box</w:t></w:r></w:p>
        <w:tbl><w:tr><w:tc><w:p><w:r><w:t>outer</w:t></w:r></w:p><w:tbl><w:tr><w:tc><w:p><w:r><w:t>inner</w:t></w:r></w:p>
        </w:tc></w:tr></w:tbl></w:tc><w:tc><w:p><w:r><w:t>beside</w:t></w:r></w:p></w:tc></w:tr></w:tbl>
        """
        assert text_of(papers.word_by_hand(tmp_path / "a.docx", body, namespace)) == (
            "under control\n\na link\ttab\nbreak\n\nput in\n\nbeside the box\n\nin a box\n\nouter inner | beside"
        )

    def test_styles_inherit_and_circles_end(self, tmp_path: Path) -> None:
        styles = f"""<w:styles xmlns:w="{papers.W}">
        <w:style w:styleId="berschrift2"><w:name w:val="heading 2"/><w:pPr><w:numPr/></w:pPr></w:style>
        <w:style w:styleId="Mine"><w:name w:val="My own"/><w:basedOn w:val="berschrift2"/></w:style>
        <w:style w:styleId="A"><w:name w:val="a"/><w:basedOn w:val="B"/></w:style>
        <w:style w:styleId="B"><w:name w:val="b"/><w:basedOn w:val="A"/></w:style></w:styles>"""
        paragraph = "<w:p><w:pPr>{}</w:pPr><w:r><w:t>{}</w:t></w:r></w:p>"
        body = "".join(
            paragraph.format(properties, text)
            for properties, text in [
                ('<w:pStyle w:val="Mine"/>', "heading"),
                ('<w:pStyle w:val="A"/>', "plain"),
                ('<w:outlineLvl w:val="0"/>', "outlined"),
                ('<w:numPr><w:ilvl w:val="1"/></w:numPr>', "item"),
                ('<w:pStyle w:val="unheard of"/>', "none"),
            ]
        )
        rels = papers.relations(("s", "styles", "styles.xml"))
        path = papers.word_by_hand(
            tmp_path / "a.docx", body, **{"word__styles.xml": styles, "word___rels__document.xml.rels": rels}
        )
        assert text_of(path) == "## heading\nplain\n\n# outlined\n  - item\n\nnone"

    def test_what_stands_in_the_margins(self, tmp_path: Path) -> None:
        inside = '<w:{0} xmlns:w="' + papers.W + '"><w:p><w:r><w:t>{1}</w:t></w:r></w:p></w:{0}>'
        rels = papers.relations(
            ("1", "header", "header1.xml"), ("2", "header", "h2.xml"), ("3", "footnotes", "f.xml"),
            ("4", "footer", "gone.xml"), ("5", "comments", "../word/c.xml"),
        )  # fmt: skip
        path = papers.word_by_hand(
            tmp_path / "a.docx",
            "<w:p><w:r><w:t>body</w:t></w:r></w:p>",
            **{
                "word___rels__document.xml.rels": rels,
                "word__header1.xml": inside.format("hdr", "letterhead"),
                "word__H2.xml": inside.format("hdr", "letterhead"),  # another case than the relation says
                "word__f.xml": inside.format("footnotes", "a note"),
                "word__c.xml": inside.format("comments", "really?"),
            },
        )
        assert text_of(path) == "body\n\nletterhead\n\na note\n\nreally?"

    def test_long_ones_are_many_passages_cut_before_headings(self, tmp_path: Path) -> None:
        import docx

        document = docx.Document()
        for number in range(30):
            document.add_heading(f"Chapter {number}", 1)
            document.add_paragraph(f"Sentence of chapter {number}. " * 25)
        document.save(str(tmp_path / "a.docx"))
        pages = pages_of(tmp_path / "a.docx")
        assert len(pages) > 10
        assert all(len(page.text) <= MAX_CHARS and page.text.startswith("# Chapter") for page in pages)
        assert [f"Chapter {n}\n" in "".join(page.text for page in pages) for n in range(30)] == [True] * 30

    def test_empty(self, tmp_path: Path) -> None:
        assert pages_of(papers.word_by_hand(tmp_path / "a.docx", "<w:p/>")) == []

    def test_a_picture_cut_off_does_not_cost_the_text(self, tmp_path: Path) -> None:
        drawing = '<w:p><w:r><w:t>text</w:t><a:blip xmlns:a="a" xmlns:r="r" r:embed="p"/></w:r></w:p>'
        rels = papers.relations(("p", "image", "media/p.png"))
        for name, data, pages in [("a", papers.picture()[:9000], 2), ("b", b"EMF or so", 1), ("c", b"", 1)]:
            path = papers.word_by_hand(
                tmp_path / f"{name}.docx",
                drawing,
                **{"word___rels__document.xml.rels": rels, "word__media__p.png": data},
            )
            assert len(pages_of(path)) == pages


class TestSlides:
    def test_by_the_library(self, tmp_path: Path) -> None:
        pages = pages_of(papers.make_pptx(tmp_path / "a.pptx"))
        assert [page.text for page in pages] == [
            "# Tides of the estuary\nA talk for pilots",
            "# Spring tide\n- At new moon\n  - and at full moon\n\nGauge | Metres\nPier 4 | 3.9\n\nin a group\n\n"
            "Notes:\nMention the flood of 1962.",
            "Slide 3",
            "Wave height | Winter | Summer",
            "Slide 2: Spring tide",
        ]
        assert same_pixels(pages[-1], 3) and all(page.image is None for page in pages[:-1])

    def test_slides_come_in_the_order_of_the_show(self, tmp_path: Path) -> None:
        import pptx

        deck = pptx.Presentation()
        for name in ("first", "second", "third"):
            deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = name
        order = deck.slides._sldIdLst
        order.insert(0, order[2])  # the third to the front: the names of the parts stay
        deck.save(str(tmp_path / "a.pptx"))
        assert [page.text for page in pages_of(tmp_path / "a.pptx")] == ["# third", "# first", "# second"]


class TestSheets:
    def test_by_the_library(self, tmp_path: Path) -> None:
        assert [page.text for page in pages_of(papers.make_xlsx(tmp_path / "a.xlsx"))] == [
            "# Moorings\nFees of 2025\nShip | Berth | Fee | Share | Paid on\nShip 1 | B1 | 10.5 | 25% | 2025-03-02\n"
            "Ship 2 | B2 | 21 | 25% | 2025-03-03\nShip 3 | B3 | 31.5 | 25% | 2025-03-04",
            "# Notes\nAsk the harbour master",
        ]

    def test_texts_in_a_table_of_their_own(self, tmp_path: Path) -> None:
        text = text_of(papers.make_shared_xlsx(tmp_path / "a.xlsx"))
        assert text == "# Gauges\nGauge | Metres\nPier 4 | 3.9\nPier 9 | 21\nPier twelve | 24.9"

    @pytest.mark.parametrize("rows", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
    def test_many_rows(self, tmp_path: Path, rows: int) -> None:
        pages = pages_of(papers.make_xlsx(tmp_path / "a.xlsx", rows))
        *moorings, _ = (page.text for page in pages)
        assert len(moorings) > 10
        assert all(len(text) <= MAX_CHARS for text in moorings)
        assert all(text.startswith("# Moorings\nShip | Berth | Fee") for text in moorings[1:])
        ships = [line.partition(" | ")[0] for text in moorings for line in text.split("\n") if "| B" in line]
        assert ships[0] == "Ship" and [ship for ship in ships if ship != "Ship"] == [
            f"Ship {n}" for n in range(1, rows + 1)
        ]

    def test_more_rows_than_are_read_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("polylens.documents.formats.sheets.MAX_ROWS", 40)
        pages = pages_of(papers.make_xlsx(tmp_path / "a.xlsx", 60))
        assert "Ship 38 " in pages[-2].text and not any("Ship 39 " in page.text for page in pages)
        assert all("the first 40 rows of a file" in page.text for page in pages[-2:])
        exact = pages_of(papers.make_xlsx(tmp_path / "b.xlsx", 37))  # with 'Notes' 40
        assert not any("of a file" in page.text for page in exact)

    def test_by_hand_with_a_wrong_size_gaps_and_formulas(self, tmp_path: Path) -> None:
        main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
        rels = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
        sheet = f"""<worksheet xmlns="{main}"><dimension ref="A1"/><sheetData>
        <row r="2"><c r="B2" t="inlineStr"><is><t>left</t></is></c>
        <c r="D2" t="inlineStr"><is><t>right</t></is></c></row>
        <row r="900000"><c r="B900000"><f>1+1</f><v>2</v></c><c r="C900000" t="b"><v>1</v></c>
        <c r="D900000" t="e"><v>#DIV/0!</v></c></row></sheetData></worksheet>"""
        types = "http://schemas.openxmlformats.org/package/2006/content-types"
        kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
        path = papers.pack(
            tmp_path / "a.xlsx",
            {
                "[Content_Types].xml": f'<Types xmlns="{types}"><Default Extension="rels" ContentType="application/'
                'vnd.openxmlformats-package.relationships+xml"/>'
                f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
                f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/></Types>',
                "_rels/.rels": papers.relations(("a", "officeDocument", "xl/workbook.xml")),
                "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{rels}"><sheets><sheet name="S" sheetId="1" '
                'r:id="r1"/></sheets></workbook>',
                "xl/_rels/workbook.xml.rels": papers.relations(("r1", "worksheet", "worksheets/sheet1.xml")),
                "xl/worksheets/sheet1.xml": sheet,
            },
        )
        assert text_of(path) == "# S\n | left |  | right\n | 2 | TRUE | #DIV/0!"

    def test_remarks_of_the_library_reach_nobody(self, tmp_path: Path) -> None:
        book = openpyxl.Workbook()
        book.active.append(["x"])
        book.save(tmp_path / "a.xlsx")
        import zipfile

        with zipfile.ZipFile(tmp_path / "a.xlsx") as archive:
            parts = {name: archive.read(name) for name in archive.namelist() if name != "xl/styles.xml"}
        papers.pack(tmp_path / "b.xlsx", parts)  # "Workbook contains no default style", which here would be an error
        assert text_of(tmp_path / "b.xlsx") == "# Sheet\nx"

    def test_wide_rows_and_long_headers(self) -> None:
        header, rows = ["h" * 300, "i" * 300], [["x" * 4000, "y"]] * 2
        pages = list(table_pages("T", [header, *rows]))
        assert all(len(page) <= MAX_CHARS for page in pages)
        assert sum(page.count("x") for page in pages) == 8000
        assert all(page.startswith("# T\n" + "h" * 300 + " | " + "i" * (MAX_HEADER_CHARS - 303)) for page in pages)

    def test_no_rows_no_pages(self) -> None:
        assert list(table_pages("T", [])) == []
        assert list(table_pages("T", [["only"]])) == ["# T\nonly"]


class TestOpenDocument:
    def test_text(self, tmp_path: Path) -> None:
        body = """<office:text><text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>
        <text:h text:outline-level="2">Ice</text:h><text:p>Thick<text:s text:c="2"/>floes<text:note>
        <text:note-citation>1</text:note-citation><text:note-body><text:p>A footnote.</text:p></text:note-body>
        </text:note>, they
        <text:span>say</text:span><text:line-break/>here.<office:annotation><text:p>no</text:p></office:annotation></text:p>
        <text:list><text:list-item><text:p>one</text:p><text:list><text:list-item><text:p>inner</text:p></text:list-item>
        </text:list></text:list-item></text:list>
        <table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell><table:table-cell>
        <text:p>b</text:p></table:table-cell></table:table-row></table:table>
        <text:p><draw:frame><draw:image xlink:href="Pictures/1.png"/><svg:desc>a ship</svg:desc></draw:frame></text:p>
        </office:text>"""
        text, picture = pages_of(papers.make_odf(tmp_path / "a.odt", body, **{"Pictures/1.png": papers.picture(5)}))
        assert "Thick  floes, they" in text.text and "deleted" not in text.text
        assert text.text.startswith("## Ice\nThick") and text.text.endswith(
            "say\nhere.\n\nA footnote.\n\nComment:\nno\n\n- one\n  - inner\n\na | b"
        )
        assert same_pixels(picture, 5) and picture.text == "a ship"

    def test_slides(self, tmp_path: Path) -> None:
        body = """<office:presentation><draw:page><draw:frame><draw:text-box><text:p>Tides</text:p></draw:text-box>
        </draw:frame><presentation:notes><draw:frame><draw:text-box><text:p>Say it.</text:p></draw:text-box>
        </draw:frame></presentation:notes></draw:page><draw:page/></office:presentation>"""
        pages = pages_of(papers.make_odf(tmp_path / "a.odp", body))
        assert [page.text for page in pages] == ["Tides\n\nNotes:\nSay it.", "Slide 2"]

    def test_sheets(self, tmp_path: Path) -> None:
        body = """<office:spreadsheet><table:table table:name="Fees"><table:table-row>
        <table:table-cell><text:p>Ship</text:p></table:table-cell><table:table-cell><text:p>Fee</text:p></table:table-cell>
        <table:table-cell table:number-columns-repeated="16000"/></table:table-row>
        <table:table-row table:number-rows-repeated="1000000"><table:table-cell table:number-columns-repeated="16384"/>
        </table:table-row><table:table-row><table:table-cell table:number-columns-repeated="2"><text:p>7</text:p>
        </table:table-cell></table:table-row></table:table></office:spreadsheet>"""
        assert text_of(papers.make_odf(tmp_path / "a.ods", body)) == "# Fees\nShip | Fee\n7 | 7"
