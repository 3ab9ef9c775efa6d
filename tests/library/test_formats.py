"""Office files in a library: what is indexed of them, which kind it has, what is said of broken ones."""

from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

import pytest
from tests.support import papers
from tests.support.fakes import FakeEmbedder

from polylens.index.ranking.filters import Filters
from polylens.library.library import Library


@pytest.fixture
def library(tmp_path: Path) -> Library:
    folder = tmp_path / "folder"
    folder.mkdir()
    papers.make_docx(folder / "report.docx")
    papers.make_pptx(folder / "tides.pptx")
    papers.make_xlsx(folder / "fees.xlsx")
    papers.make_epub(folder / "book.epub", {"one": "<p>Chapter about lighthouses</p>"})
    (folder / "page.html").write_text("<title>Birds</title><p>Terns of the harbour<script>terns()</script>")
    (folder / "broken.docx").write_bytes(b"PK nothing")
    (folder / "~$report.docx").write_bytes(b"owner")
    return Library(folder, FakeEmbedder())


def test_every_page_of_every_format(library: Library) -> None:
    report = library.update()
    assert {file: record.num_pages for file, record in library.files().items()} == {
        "report.docx": 2, "tides.pptx": 5, "fees.xlsx": 2, "book.epub": 2, "page.html": 1,
    }  # fmt: skip
    assert report.failed == [
        ("broken.docx", "is damaged, or not of the format that its name says (it is not a zip archive)")
    ]
    assert (report.indexed, report.skipped) == (5, 1)
    again = library.update()
    assert (again.indexed, again.unchanged, len(again.failed)) == (0, 5, 1)


def test_kinds(library: Library) -> None:
    library.update()
    kinds = {(hit.file, hit.page): hit.kind for hit in library.search("anything", top=100)}
    assert kinds[("report.docx", 1)] == "document" and kinds[("report.docx", 2)] == "image"
    assert kinds[("tides.pptx", 1)] == kinds[("tides.pptx", 4)] == "slides" and kinds[("tides.pptx", 5)] == "image"
    assert kinds[("fees.xlsx", 1)] == "sheet"
    assert kinds[("book.epub", 1)] == "document" and kinds[("book.epub", 2)] == "image"
    assert kinds[("page.html", 1)] == "text"
    found = library.search("spring tide at new moon", top=3, filters=Filters.of(kinds=["slides"]))
    assert (found[0].file, found[0].page) == ("tides.pptx", 2)
    pictures = library.search("anything", top=9, filters=Filters.of(kinds=["image"]))
    assert {hit.file for hit in pictures} == {"report.docx", "tides.pptx", "book.epub"}


def test_a_page_as_it_lies_in_its_file(library: Library) -> None:
    library.update()
    page = library.page("tides.pptx", 5)
    assert page.image is not None and page.image.size == (160, 120) and page.text == "Slide 2: Spring tide"
    assert library.page("page.html", 1).text == "# Birds\nTerns of the harbour"


def test_files_in_files(tmp_path: Path) -> None:
    """Pages inside an archive or a message are found, filtered and shown as those of other files."""
    folder = tmp_path / "folder"
    folder.mkdir()
    mail = EmailMessage()
    mail["Subject"], mail["From"] = "New mast", "ase@example.org"
    mail.set_content("The spruce mast arrives.")
    mail.add_attachment(b"PK nothing", maintype="application", subtype="x", filename="broken.docx")
    (folder / "mail.eml").write_bytes(mail.as_bytes())
    papers.make_pdf(tmp_path / "a.pdf", "Lighthouse fees")
    parts = {"fees/a.pdf": (tmp_path / "a.pdf").read_bytes(), "see.png": papers.picture(1), "b.txt": "terns breed"}
    papers.pack(folder / "all.zip", parts)
    (folder / "plan.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 3"><title>Quay plan</title></svg>'
    )
    (folder / "old.zip").write_bytes(b"nothing")
    library = Library(folder, FakeEmbedder())
    report = library.update()
    assert {file: record.num_pages for file, record in library.files().items()} == {
        "mail.eml": 1, "all.zip": 4, "plan.svg": 1,
    }  # fmt: skip
    assert [file for file, _ in report.failed] == ["old.zip"]
    kinds = {(hit.file, hit.page): hit.kind for hit in library.search("anything", top=100)}
    assert [kinds["all.zip", page] for page in (1, 2, 3, 4)] == ["document", "pdf", "image", "text"]
    assert kinds["mail.eml", 1] == "document"
    [found] = library.search("lighthouse", top=1, filters=Filters.of(kinds=["pdf"]))
    assert (found.file, found.page) == ("all.zip", 2)
    page = library.page("all.zip", 2)
    assert page.image is not None and page.text == "all.zip/fees/a.pdf\nLighthouse fees"
    assert "broken.docx (is damaged" in library.page("mail.eml", 1).text
    again = library.update()
    assert (again.indexed, again.unchanged) == (0, 3)
