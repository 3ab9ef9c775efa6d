"""Office files and books that are damaged, locked, or made to do harm: one clear line, and nothing else happens."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import papers

from polylens.documents import open_document
from polylens.documents.formats import archive
from polylens.documents.formats.archive import parse_xml
from polylens.errors import DocumentError

ODT = "<office:text><text:p>text</text:p></office:text>"
MAKERS: dict[str, Callable[[Path], Path]] = {
    "docx": papers.make_docx,
    "pptx": papers.make_pptx,
    "xlsx": papers.make_xlsx,
    "epub": lambda path: papers.make_epub(path, {"one": "<h1>One</h1><p>text</p>", "two": "<p>more</p>"}),
    "odt": lambda path: papers.make_odf(path, ODT),
    "ods": lambda path: papers.make_odf(path, "<office:spreadsheet/>"),
}


def reason(path: Path) -> str:
    with pytest.raises(DocumentError) as caught, open_document(path) as document:
        list(document)
    said = str(caught.value)
    assert said.startswith(path.name) and "\n" not in said and len(said) < 300
    return said


@pytest.mark.parametrize("suffix", MAKERS)
class TestEveryFormat:
    def test_what_is_no_archive(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(b"")
        assert reason(path) == f"{path.name} is empty (0 bytes)"
        path.write_bytes(b"\x00\x01\x02" * 99)
        assert "is damaged, or not of the format that its name says" in reason(path)
        path.write_bytes(archive._OLE + bytes(600) + "EncryptedPackage".encode("utf-16-le") + bytes(99))
        assert reason(path) == f"{path.name} is protected by a password"
        path.write_bytes(archive._OLE + bytes(600))
        assert "older office format" in reason(path)

    def test_another_archive(self, tmp_path: Path, suffix: str) -> None:
        assert "is damaged, or not of the format that its name says" in reason(
            papers.pack(tmp_path / f"a.{suffix}", {"a": "b"})
        )
        assert "is damaged, or not of the format that its name says" in reason(
            papers.pack(tmp_path / f"b.{suffix}", {})
        )

    @pytest.mark.parametrize("seed", range(40))
    def test_bytes_changed_and_cut(self, tmp_path: Path, suffix: str, seed: int) -> None:
        """Whatever is done to a file, it gives pages or a DocumentError."""
        rng = random.Random(seed)
        stored = zipfile.ZIP_STORED if seed % 2 else zipfile.ZIP_DEFLATED  # stored, so that the XML is what is hit
        with zipfile.ZipFile(MAKERS[suffix](tmp_path / f"whole.{suffix}")) as whole:
            parts = {name: whole.read(name) for name in whole.namelist()}
        if seed % 4 == 1:  # inside the parts, so that no checksum catches it
            for name in rng.sample(sorted(parts), min(3, len(parts))):
                data = bytearray(parts[name])
                for _ in range(rng.randint(1, 8)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
                parts[name] = bytes(data)
        if seed % 4 == 2:
            del parts[rng.choice(sorted(parts))]
        data = bytearray(papers.pack(tmp_path / "b", parts, stored).read_bytes())
        if seed % 4 == 3:
            for _ in range(rng.randint(1, 30)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        if seed % 4 == 0:
            del data[rng.randrange(len(data)) :]
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(data)
        try:
            with open_document(path) as document:
                assert all(page.text or page.image for page in document)
        except DocumentError as error:
            assert str(error).startswith(path.name) and "\n" not in str(error)

    def test_encrypted_members(self, tmp_path: Path, suffix: str) -> None:
        data = bytearray(MAKERS[suffix](tmp_path / f"a.{suffix}").read_bytes())
        for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            start = data.find(mark)
            while start >= 0:
                data[start + offset] |= 1
                start = data.find(mark, start + 4)
        (tmp_path / f"a.{suffix}").write_bytes(data)
        assert "password" in reason(tmp_path / f"a.{suffix}")


class TestBombs:
    def test_a_part_that_unpacks_to_too_much(self, tmp_path: Path) -> None:
        text = "<w:p><w:r><w:t>" + "a" * (archive.MAX_PART + 1) + "</w:t></w:r></w:p>"
        path = papers.word_by_hand(tmp_path / "a.docx", text)
        assert path.stat().st_size < 100_000
        assert reason(path) == "a.docx is too large when unpacked: word/document.xml has 32 MB"

    def test_a_directory_that_lies_about_it(self, tmp_path: Path) -> None:
        path = papers.word_by_hand(tmp_path / "a.docx", "<w:p/>" * 1_000_000)
        data = path.read_bytes()
        size = zipfile.ZipFile(path).getinfo("word/document.xml").file_size
        path.write_bytes(data.replace(size.to_bytes(4, "little"), (500).to_bytes(4, "little")))
        assert "is damaged" in reason(path)

    def test_many_parts_together(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive, "MAX_UNPACKED", 200_000)
        book = papers.make_epub(tmp_path / "a.epub", {f"c{n}": "<p>" + "x" * 50_000 for n in range(9)})
        assert "is too large when unpacked" in reason(book)

    def test_a_workbook_that_does(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("polylens.documents.formats.sheets.MAX_UNPACKED", 10_000)
        assert "is too large when unpacked" in reason(papers.make_xlsx(tmp_path / "a.xlsx", 500))

    def test_a_pixel_bomb_is_no_page(self, tmp_path: Path) -> None:
        import struct
        import zlib

        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
        bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
        book = papers.make_epub(tmp_path / "a.epub", {"one": "<p>text</p>"}, **{"OEBPS/the pic.png": bomb})
        with open_document(book) as document:
            assert [page.text for page in document] == ["text"]


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
DOCTYPES = {
    "laughs": f'<!DOCTYPE w [<!ENTITY l0 "secret">{LAUGHS}]>',
    "file": '<!DOCTYPE w [<!ENTITY l11 SYSTEM "file:///SECRET">]>',
    "network": '<!DOCTYPE w [<!ENTITY l11 SYSTEM "http://192.0.2.1/secret">]>',
    "parameter": '<!DOCTYPE w [<!ENTITY % p SYSTEM "http://192.0.2.1/secret"> %p; <!ENTITY l11 "x">]>',
    "external": '<!DOCTYPE w SYSTEM "http://192.0.2.1/secret">',
}


@pytest.mark.parametrize("kind", DOCTYPES)
class TestEntities:
    """192.0.2.1 leads nowhere: a parser that went there would hang, and the guard of the tests would see it."""

    def doctype(self, tmp_path: Path, kind: str) -> str:
        (tmp_path / "secret.txt").write_text("secret")
        return DOCTYPES[kind].replace("/SECRET", str(tmp_path / "secret.txt"))

    def texts(self, path: Path) -> str:
        try:
            with open_document(path) as document:
                return "".join(page.text for page in document)
        except DocumentError as error:
            return str(error)

    def test_in_a_word_file(self, tmp_path: Path, kind: str) -> None:
        document = f'<w:d xmlns:w="{papers.W}"><w:p><w:r><w:t>a&l11;b</w:t></w:r></w:p></w:d>'
        data = self.doctype(tmp_path, kind) + document
        path = papers.word_by_hand(tmp_path / "a.docx", "", **{"word/document.xml": data})
        assert "secret" not in self.texts(path).replace("/secret", "")

    def test_in_a_workbook(self, tmp_path: Path, kind: str) -> None:
        with zipfile.ZipFile(papers.make_shared_xlsx(tmp_path / "whole.xlsx")) as whole:
            parts = {name: whole.read(name).decode("latin-1") for name in whole.namelist()}
        for name in ("xl/sharedStrings.xml", "xl/worksheets/sheet1.xml", "xl/workbook.xml"):
            changed = parts[name].replace("Metres", "a&l11;b").replace("Gauges", "a&l11;b").replace(">21<", ">&l11;<")
            assert changed != parts[name]
            doctype = self.doctype(tmp_path, kind)
            data = changed.replace("?>", f"?>{doctype}", 1) if changed.startswith("<?xml") else doctype + changed
            path = papers.pack(tmp_path / "a.xlsx", {**parts, name: data})
            assert "secret" not in self.texts(path).replace("/secret", "")

    def test_in_a_book(self, tmp_path: Path, kind: str) -> None:
        data = self.doctype(tmp_path, kind) + f'<html xmlns="{papers.XHTML}"><p>a&l11;b</p></html>'
        path = papers.make_epub(tmp_path / "a.epub", {"one": ""}, **{"OEBPS/one.xhtml": data})
        assert "secret" not in self.texts(path).replace("/secret", "")
        (tmp_path / "a.html").write_text(data)
        assert "secret" not in self.texts(tmp_path / "a.html").replace("/secret", "")


def test_absurd_depth_is_refused_not_followed() -> None:
    with pytest.raises(Exception, match=r"(?i)depth"):
        parse_xml(b"<a>" * 10_000 + b"</a>" * 10_000)
