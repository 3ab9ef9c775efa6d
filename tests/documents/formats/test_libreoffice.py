"""Older office files, by way of LibreOffice: where it is installed, and where it is not."""

from __future__ import annotations

import http.server
import os
import shutil
import threading
from pathlib import Path

import pytest
from tests.support import papers
from tests.support.pages import pages_of, reason, text_of

from polylens.documents import open_document
from polylens.documents.formats import libreoffice
from polylens.documents.formats.process import run

OLE = bytes.fromhex("d0cf11e0a1b11ae1")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("POLYLENS_CACHE", str(folder))
    return folder / "converted"


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def office() -> str:
    found = libreoffice.program()
    if found is None:
        pytest.skip("LibreOffice is not installed: apt install libreoffice")
    return found


def older(office: str, path: Path, suffix: str) -> Path:
    """Saves an office file in an older format."""
    profile = (path.parent / "profile").as_uri()
    command = [office, f"-env:UserInstallation={profile}", "--headless", "--convert-to", suffix, "--outdir"]
    run([*command, str(path.parent / "old"), str(path)], seconds=120, memory=libreoffice.MEMORY)
    return path.parent / "old" / f"{path.stem}.{suffix}"


def linking(path: Path, address: str) -> Path:
    """A newer Word file whose picture lies elsewhere."""
    names = "http://schemas.openxmlformats.org/drawingml/2006"
    picture = (
        f'<w:p><w:r><w:drawing><wp:inline xmlns:wp="{names}/wordprocessingDrawing"><wp:extent cx="900000" cy="900000"/>'
        f'<wp:docPr id="1" name="x"/><a:graphic xmlns:a="{names}/main"><a:graphicData uri="{names}/picture"><pic:pic '
        f'xmlns:pic="{names}/picture"><pic:nvPicPr><pic:cNvPr id="0" name="x"/><pic:cNvPicPr/></pic:nvPicPr>'
        "<pic:blipFill>"
        f'<a:blip xmlns:r="{papers.OFFICE}" r:link="p"/><a:stretch><a:fillRect/></a:stretch></pic:blipFill><pic:spPr>'
        '<a:xfrm><a:off x="0" y="0"/><a:ext cx="900000" cy="900000"/></a:xfrm><a:prstGeom prst="rect"/></pic:spPr>'
        "</pic:pic></a:graphicData></a:graphic></wp:inline></w:drawing></w:r></w:p>"
    )
    types = "application/vnd.openxmlformats"
    relation = f'<Relationship Id="p" Type="{papers.OFFICE}/image" Target="{address}" TargetMode="External"/>'
    parts = {
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{papers.RELATIONS}">{relation}</Relationships>',
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        f'<Default Extension="rels" ContentType="{types}-package.relationships+xml"/><Override '
        f'PartName="/word/document.xml" ContentType="{types}-officedocument.wordprocessingml.document.main+xml"/>'
        "</Types>",
    }
    return papers.word_by_hand(path, f"<w:p><w:r><w:t>Quay 4</w:t></w:r></w:p>{picture}", **parts)


@pytest.mark.usefixtures("without")
class TestWithout:
    @pytest.mark.parametrize(("suffix", "newer"), [("doc", "docx"), ("ppt", "pptx"), ("numbers", "xlsx")])
    def test_the_advice(self, tmp_path: Path, suffix: str, newer: str) -> None:
        (tmp_path / f"a.{suffix}").write_bytes(OLE if suffix != "numbers" else b"PK\3\4")
        said = reason(tmp_path / f"a.{suffix}")
        assert "LibreOffice" in said and "is not installed" in said and said.endswith(f"or save the file as .{newer}")

    def test_rich_text_under_an_old_name(self, tmp_path: Path) -> None:
        (tmp_path / "a.doc").write_bytes(rb"{\rtf1 Quay 4}")
        assert text_of(tmp_path / "a.doc") == "Quay 4"

    def test_web_page_under_an_old_name(self, tmp_path: Path) -> None:
        (tmp_path / "a.xls").write_text("\n<html><table><tr><td>Quay<td>4</table>")
        assert text_of(tmp_path / "a.xls") == "Quay | 4"

    def test_a_launcher_without_the_program(self, tmp_path: Path) -> None:
        launcher = tmp_path / "soffice"
        launcher.write_text("#!/bin/sh\nexec /no/such/oosplash\n")
        launcher.chmod(0o755)
        (tmp_path / "a.doc").write_bytes(OLE)
        assert shutil.which("soffice") and "is not installed" in reason(tmp_path / "a.doc")

    def test_the_preview_of_apples_files(self, tmp_path: Path) -> None:
        papers.pack(tmp_path / "a.key", {"Index/Document.iwa": b"x", "preview.jpg": papers.picture(1)})
        with open_document(tmp_path / "a.key") as document:
            assert document.num_pages == 1 and document.page(1).image is not None
            assert "is not installed" in document.unread["all but the preview"]

    def test_no_office_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.doc").write_bytes(b"")
        assert reason(tmp_path / "a.doc") == "a.doc is empty (0 bytes)"
        (tmp_path / "a.doc").write_bytes(b"\x00\x01\x02" * 99)
        assert "is damaged, or not of the format that its name says" in reason(tmp_path / "a.doc")


class TestWith:
    def test_texts_become_pages_as_printed(
        self, tmp_path: Path, office: str, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = older(office, papers.make_docx(tmp_path / "a.docx"), "doc")
        [page] = pages_of(old)
        assert "The harbour froze over in January." in page.text
        assert page.image is not None and page.kind == "document"
        assert [file.suffix for file in cache.iterdir()] == [".pdf"] and cache.stat().st_mode & 0o77 == 0
        monkeypatch.setenv("PATH", str(tmp_path))  # converted once: LibreOffice is not asked again
        copy = tmp_path / "other name.doc"
        shutil.copyfile(old, copy)
        assert pages_of(copy)[0].text == page.text

    def test_workbooks_become_rows(self, tmp_path: Path, office: str) -> None:
        first, notes = pages_of(older(office, papers.make_xlsx(tmp_path / "a.xlsx"), "xls"))
        assert "Ship 1 | B1 | 10.5 | 25% | 2025-03-02" in first.text and first.image is None
        assert notes.text == "# Notes\nAsk the harbour master"

    @pytest.mark.slow
    def test_slides_become_pages_as_shown(self, tmp_path: Path, office: str) -> None:
        pages = pages_of(older(office, papers.make_pptx(tmp_path / "a.pptx"), "ppt"))
        assert len(pages) == 4 and all(page.image is not None and page.kind == "slides" for page in pages)
        assert pages[0].text.startswith("Tides of the estuary")

    @pytest.mark.usefixtures("office")
    def test_nothing_is_fetched(self, tmp_path: Path) -> None:
        asked: list[str] = []

        class Asked(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_error(404)

            do_HEAD = do_OPTIONS = do_PROPFIND = do_GET

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_port}"
            assert "Quay 4" in text_of(linking(tmp_path / "a.doc", f"{address}/a.png"))
            server.shutdown()
        assert asked == []

    @pytest.mark.usefixtures("office")
    def test_limits(self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        papers.make_docx(tmp_path / "a.doc")
        monkeypatch.setattr(libreoffice, "SECONDS", 0.01)
        assert reason(tmp_path / "a.doc") == "a.doc cannot be converted by LibreOffice: it is given up after 0 s"
        monkeypatch.undo()
        monkeypatch.setenv("POLYLENS_CACHE", str(cache.parent))
        monkeypatch.setattr(libreoffice, "MEMORY", 50 * 1024**2)
        assert "cannot be converted by LibreOffice" in reason(tmp_path / "a.doc")
        assert list(cache.iterdir()) == []


def test_the_oldest_conversions_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, name in enumerate(["new", "middle", "old"]):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1_000 - age, 1_000 - age))
    monkeypatch.setattr(libreoffice, "MAX_CACHE", 250)
    libreoffice._make_room(tmp_path, 100)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
