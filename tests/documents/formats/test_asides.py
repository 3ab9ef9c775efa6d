"""Words that stand beside the text of a document: form values, notes, comments, boxes, files inside a file.

Of this kind, and tried here: fields of text, choice and list; FreeText and sticky notes; comments of Word and slides;
files inside a Word file as web page, web archive, text and Word file. Not read: passwords, and notes that are hidden.
Workbooks have theirs in `test_workbooks.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas
from tests.support import papers

from polylens.documents import open_document


def read(path: Path) -> tuple[str, dict[str, str]]:
    with open_document(path) as document:
        return "\n".join(page.text for page in document), document.unread


PARAGRAPH = "<w:p><w:r><w:t>{}</w:t></w:r></w:p>"


class TestPdf:
    def test_values_of_form_fields(self, tmp_path: Path) -> None:
        canvas = Canvas(str(tmp_path / "a.pdf"))
        canvas.drawString(50, 700, "Application")
        form = canvas.acroForm
        form.textfield(name="name", value="Ottilie Brandwein", x=50, y=600)
        form.textfield(name="pass", value="very secret", x=50, y=550, fieldFlags="password")
        form.choice(name="port", value="Brest", options=["Aveiro", "Brest"], x=50, y=500)
        form.listbox(name="bay", value="Kiel", options=["Kiel", "Oulu"], x=50, y=400)
        form.checkbox(name="agreed", checked=True, x=50, y=350)
        canvas.showPage()
        canvas.drawString(50, 700, "Nothing to fill in")
        canvas.save()
        with open_document(tmp_path / "a.pdf") as document:
            first, second = (page.text for page in document)
        assert first == "Application\n\nOttilie Brandwein\n\nBrest\n\nKiel"
        assert second == "Nothing to fill in"

    def test_notes(self, tmp_path: Path) -> None:
        canvas = Canvas(str(tmp_path / "a.pdf"))
        canvas.drawString(50, 700, "Chart")
        canvas.textAnnotation("A sticky note", (50, 300, 100, 350))
        canvas.freeTextAnnotation("Wreck buoy moved\rto the north", (50, 200, 300, 250))
        canvas.textAnnotation("never shown", (50, 100, 100, 150), addtopage=1, F=2)
        canvas.save()
        assert read(tmp_path / "a.pdf")[0] == "Chart\n\nA sticky note\n\nWreck buoy moved\nto the north"


class TestWord:
    def altered(self, path: Path, name: str, data: str | bytes) -> Path:
        body = '{}<w:altChunk xmlns:r="r" r:id="c"/>{}'.format(*map(PARAGRAPH.format, ("before", "after")))
        rels = papers.relations(("c", "aFChunk", name))
        return papers.word_by_hand(path, body, **{"word___rels__document.xml.rels": rels, f"word__{name}": data})

    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("c.html", "<meta charset=utf-8><p>a clause – of <b>another</b> kind"),
            ("c.htm", "<meta charset=windows-1252><p>a clause – of another kind".encode("cp1252")),
            ("c.txt", "a clause – of another kind"),
            (
                "c.mht",
                "MIME-Version: 1.0\nContent-Type: multipart/related; boundary=x\n\n--x\nContent-Type: text/html; "
                "charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
                "<p>a clause =E2=80=93 of another kind\n--x--\n",
            ),
        ],
    )
    def test_a_file_inside(self, tmp_path: Path, name: str, data: str | bytes) -> None:
        text, unread = read(self.altered(tmp_path / "a.docx", name, data))
        assert text == "before\n\na clause – of another kind\n\nafter" and unread == {}

    def test_a_word_file_inside(self, tmp_path: Path) -> None:
        inner = papers.word_by_hand(tmp_path / "inner.docx", "<w:p><w:r><w:t>a clause</w:t></w:r></w:p>")
        assert read(self.altered(tmp_path / "a.docx", "c.docx", inner.read_bytes()))[0] == "before\n\na clause\n\nafter"

    @pytest.mark.parametrize(
        ("name", "data"), [("c.rtf", r"{\rtf1 a clause}"), ("c.docx", b"PK nothing"), ("c.html", b"")]
    )
    def test_one_that_cannot_be_read(self, tmp_path: Path, name: str, data: str | bytes) -> None:
        text, unread = read(self.altered(tmp_path / "a.docx", name, data))
        assert text == "before\n\nafter"
        assert list(unread) == ([f"word/{name}"] if data else [])

    def test_comments(self, tmp_path: Path) -> None:
        import docx

        document = docx.Document()
        run = document.add_paragraph("The mast").add_run(" is paid.")
        document.add_comment(run, "Ask the warden", author="Tom")
        document.save(str(tmp_path / "a.docx"))
        assert read(tmp_path / "a.docx")[0] == "The mast is paid.\n\nAsk the warden"


class TestSlides:
    @pytest.mark.parametrize(
        "comment",
        [
            '<p:cmLst xmlns:p="p"><p:cm><p:pos x="1"/><p:text>too loud</p:text></p:cm></p:cmLst>',
            '<p188:cmLst xmlns:p188="p" xmlns:a="a"><p188:cm><p188:txBody>'
            "<a:p><a:r><a:t>too </a:t></a:r><a:r><a:t>loud</a:t></a:r></a:p></p188:txBody></p188:cm></p188:cmLst>",
        ],
    )
    def test_comments_of_old_and_new_kinds(self, tmp_path: Path, comment: str) -> None:
        import zipfile

        with zipfile.ZipFile(papers.make_pptx(tmp_path / "a.pptx")) as whole:
            parts: dict[str, str | bytes] = {name: whole.read(name) for name in whole.namelist()}
        rels = parts["ppt/slides/_rels/slide1.xml.rels"]
        assert isinstance(rels, bytes)
        more = papers.relations(("c1", "comments", "../comments/c.xml")).partition(">")[2].encode()
        parts["ppt/slides/_rels/slide1.xml.rels"] = rels.replace(b"</Relationships>", more)
        text, unread = read(papers.pack(tmp_path / "b.pptx", {**parts, "ppt/comments/c.xml": comment}))
        assert "A talk for pilots\n\nComments:\ntoo loud" in text
        assert text.count("too loud") == 1 and unread == {}


def test_paragraphs_within_paragraphs(tmp_path: Path) -> None:
    inner = "<text:span><text:p>inner <text:span>words</text:span></text:p></text:span>"
    body = f"<office:text><text:p>outer {inner}</text:p></office:text>"
    assert read(papers.make_odf(tmp_path / "a.odt", body))[0] == "outer\n\ninner words"
