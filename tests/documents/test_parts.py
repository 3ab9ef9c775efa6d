"""One part that cannot be read costs itself alone, and `Document.unread` says which and why.

Of this kind, and tried here: a page, a frame, a slide, a chapter, a picture, a part beside the text; missing, cut, not
well-formed, too large; named in another case, with a backslash, by a wrong type, or by nothing at all. What is of this
kind in sheets is in `test_workbooks.py`.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import PIL.Image
import pytest
from reportlab.pdfgen.canvas import Canvas
from tests.support import papers

from polylens.documents import open_document
from polylens.documents.formats import archive
from polylens.errors import DocumentError


def read(path: Path) -> tuple[list[str], dict[str, str]]:
    with open_document(path) as document:
        return [page.text for page in document], document.unread


def changed(path: Path, parts: dict[str, bytes | None], name: str = "") -> Path:
    """The archive with parts replaced, or left out where they are None; of another name, perhaps."""
    with zipfile.ZipFile(path) as whole:
        content: dict[str, str | bytes] = {part: whole.read(part) for part in whole.namelist() if part not in parts}
    content |= {part: data for part, data in parts.items() if data is not None}
    return papers.pack(path.with_name(name or path.name), content)


class TestPdf:
    def sizes(self, path: Path, *sizes: tuple[float, float]) -> Path:
        canvas = Canvas(str(path))
        for number, size in enumerate(sizes, start=1):
            canvas.setPageSize(size)
            canvas.drawString(10, 10, f"page {number}")
            canvas.showPage()
        canvas.save()
        return path

    @pytest.mark.parametrize("bad", [(300, 15_000), (14_000, 2)])
    def test_a_page_that_cannot_be_drawn(self, tmp_path: Path, bad: tuple[float, float]) -> None:
        texts, unread = read(self.sizes(tmp_path / "a.pdf", (300, 400), bad, (300, 400)))
        assert texts == ["page 1", "page 3"]
        assert unread.keys() == {"page 2"} and unread["page 2"].startswith("cannot be rendered: its size is")

    def test_numbers_stay_those_of_the_file(self, tmp_path: Path) -> None:
        with open_document(self.sizes(tmp_path / "a.pdf", (14_000, 2), (300, 400))) as document:
            assert [page.number for page in document] == [2]
            assert document.num_pages == 2

    def test_without_a_header_or_with_a_late_one(self, tmp_path: Path) -> None:
        data = self.sizes(tmp_path / "whole.pdf", (300, 400)).read_bytes()
        (tmp_path / "a.pdf").write_bytes(re.sub(rb"^%PDF-\S+", b"", data))
        (tmp_path / "b.pdf").write_bytes(b"mail header\n" * 300 + data)
        assert read(tmp_path / "a.pdf")[0] == read(tmp_path / "b.pdf")[0] == ["page 1"]

    def test_a_broken_one_is_not_called_locked(self, tmp_path: Path) -> None:
        papers.make_pdf(tmp_path / "other.pdf", "x", password="secret")
        with pytest.raises(DocumentError, match="protected by a password"):
            read(tmp_path / "other.pdf")
        (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7\n1 0 obj << /Encrypt is a word >> endobj")
        with pytest.raises(DocumentError, match="is not a PDF, is broken"):
            read(tmp_path / "a.pdf")


class TestArchives:
    @pytest.mark.parametrize("bad", [None, b"<broken", b"", b"\x00\x01"])
    def test_a_slide(self, tmp_path: Path, bad: bytes | None) -> None:
        deck = changed(papers.make_pptx(tmp_path / "a.pptx"), {"ppt/slides/slide2.xml": bad})
        texts, unread = read(deck)
        assert texts[0].startswith("# Tides") and texts[1] == "Slide 2" and texts[3].startswith("Wave height")
        assert unread.keys() == {"slide 2"} and unread["slide 2"]

    def test_sections(self, tmp_path: Path) -> None:
        """PowerPoint's list of sections names slides by numbers in elements of the same name."""
        path = papers.make_pptx(tmp_path / "a.pptx")
        main = zipfile.ZipFile(path).read("ppt/presentation.xml").decode()
        inner = '<p14:section><p14:sldIdLst><p14:sldId id="256"/></p14:sldIdLst></p14:section>'
        section = f'<p14:sectionLst xmlns:p14="p14">{inner}</p14:sectionLst>'
        end = "</p:presentation>"
        texts, unread = read(changed(path, {"ppt/presentation.xml": main.replace(end, section + end).encode()}))
        assert len(texts) == 5 and unread == {}

    @pytest.mark.parametrize("bad", [None, b"", bytes(range(256))])
    def test_a_chapter(self, tmp_path: Path, bad: bytes | None) -> None:
        book = papers.make_epub(tmp_path / "a.epub", {"one": "<p>first</p>", "two": "<p>second</p>"})
        texts, unread = read(changed(book, {"OEBPS/two.xhtml": bad}))
        assert texts[0] == "first"
        assert unread.keys() == ({"OEBPS/two.xhtml"} if bad != b"" else set())

    def test_all_chapters(self, tmp_path: Path) -> None:
        book = papers.make_epub(tmp_path / "a.epub", {"one": "<p>first</p>"})
        with pytest.raises(DocumentError, match=r"nothing in it can be read; OEBPS/one\.xhtml: there is no"):
            read(changed(book, {"OEBPS/one.xhtml": None, "OEBPS/the pic.png": None}))

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ('href="one.xhtml"', 'href=".\\one.xhtml"'),
            ('media-type="application/xhtml+xml"', 'media-type="text/x-oeb1-document"'),
            ('media-type="application/xhtml+xml"', 'media-type="application/xml"'),
            ('idref="one"', 'idref="ONE"'),
            ('idref="one"', 'idref="gone"'),
            ("<spine>", "<spine><itemref/>"),
        ],
    )
    def test_chapters_named_loosely(self, tmp_path: Path, before: str, after: str) -> None:
        book = papers.make_epub(tmp_path / "a.epub", {"one": "<p>first</p>"})
        package = zipfile.ZipFile(book).read("OEBPS/book.opf").decode()
        assert before in package
        texts, unread = read(changed(book, {"OEBPS/book.opf": package.replace(before, after).encode()}))
        assert texts[0] == "first" and unread == {}

    def test_a_drawing_as_a_chapter(self, tmp_path: Path) -> None:
        book = papers.make_epub(tmp_path / "a.epub", {"one": ""})
        package = zipfile.ZipFile(book).read("OEBPS/book.opf").decode()
        svg = b'<svg xmlns="http://www.w3.org/2000/svg"><title>Chart</title><text>A <tspan>reef</tspan></text></svg>'
        package = package.replace(
            'href="one.xhtml" media-type="application/xhtml+xml"', 'href="one.svg" media-type="image/svg+xml"'
        )
        assert (
            read(changed(book, {"OEBPS/book.opf": package.encode(), "OEBPS/one.svg": svg}))[0][0] == "Chart\n\nA reef"
        )

    def test_a_picture_that_is_too_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive, "MAX_PICTURE", 1_000)
        texts, unread = read(papers.make_docx(tmp_path / "a.docx"))
        assert len(texts) == 1 and "too large when unpacked" in next(iter(unread.values()))

    def test_a_picture_that_is_missing(self, tmp_path: Path) -> None:
        texts, unread = read(changed(papers.make_docx(tmp_path / "a.docx"), {"word/media/image1.png": None}))
        assert len(texts) == 1 and unread.keys() == {"word/media/image1.png"}

    @pytest.mark.parametrize("part", ["word/styles.xml", "word/header1.xml"])
    def test_a_part_beside_the_text(self, tmp_path: Path, part: str) -> None:
        texts, unread = read(changed(papers.make_docx(tmp_path / "a.docx"), {part: b"<broken"}))
        assert "froze over in January" in texts[0] and len(unread) == 1

    @pytest.mark.parametrize("part", ["[Content_Types].xml", "_rels/.rels"])
    @pytest.mark.parametrize("suffix", ["docx", "pptx", "xlsx"])
    def test_the_directories_of_an_office_file(self, tmp_path: Path, suffix: str, part: str) -> None:
        make = {"docx": papers.make_docx, "pptx": papers.make_pptx, "xlsx": papers.make_xlsx}[suffix]
        path = make(tmp_path / f"a.{suffix}")
        assert read(changed(path, {part: None}, f"b.{suffix}"))[0] == read(path)[0]

    def test_text_before_the_place_where_xml_breaks(self, tmp_path: Path) -> None:
        body = "<w:p><w:r><w:t>before</w:t></w:r></w:p><w:p><w:r><w:t>after \x01 & </w:t></w:r></w:p>"
        texts, unread = read(papers.word_by_hand(tmp_path / "a.docx", body))
        assert texts[0].startswith("before") and "is read only in part" in unread["word/document.xml"]

    @pytest.mark.parametrize("identifier", ["list1", "1list", ""])
    def test_identifiers_do_not_matter(self, tmp_path: Path, identifier: str) -> None:
        item = f'<text:list xml:id="{identifier}"><text:list-item><text:p>anchors</text:p></text:list-item></text:list>'
        texts, unread = read(papers.make_odf(tmp_path / "a.odt", f"<office:text>{item * 2}</office:text>"))
        assert texts == ["- anchors\n- anchors"] and unread == {}


def test_a_frame_of_a_tiff(tmp_path: Path) -> None:
    frames = [PIL.Image.new("L", (64, 64), grey) for grey in (10, 20, 30)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with PIL.Image.open(tmp_path / "a.tif") as image:
        image.seek(1)
        place = image.tag_v2[273][0]  # where the second frame's pixels begin
    data = data.replace(place.to_bytes(4, "little"), (10**8).to_bytes(4, "little"), 1)
    (tmp_path / "a.tif").write_bytes(data)
    with open_document(tmp_path / "a.tif") as document:
        assert [page.number for page in document] == [1, 3]
        assert document.unread.keys() == {"page 2"}
