"""Archives and comics: which files of them are read, under which names, and what a hostile one can do."""

from __future__ import annotations

import io
import random
import struct
import tempfile
import zipfile
from pathlib import Path

import pytest
from tests.support import papers
from tests.support.pages import pages_of, reason

from polylens.documents import open_document
from polylens.documents.formats import bundle, zipped
from polylens.errors import DocumentError


def heads(path: Path) -> list[str]:
    return [page.text.partition("\n")[0] for page in pages_of(path)]


class TestArchives:
    def test_each_file_under_its_name(self, tmp_path: Path) -> None:
        papers.make_pdf(tmp_path / "a.pdf", "one", "two")
        parts = {
            "reports/a.pdf": (tmp_path / "a.pdf").read_bytes(),
            "photo.png": papers.picture(1, 30, 20),
            "README": "Read this.",
            "tides.pptx": papers.make_pptx(tmp_path / "t.pptx").read_bytes(),
            "__MACOSX/._a.pdf": "x",
            ".hidden/b.txt": "x",
        }
        first, one, two, photo, readme, *slides = pages_of(papers.pack(tmp_path / "all.zip", parts))
        assert first.text == "# all.zip\n- reports/a.pdf\n- photo.png\n- README\n- tides.pptx"
        assert one.text == "all.zip/reports/a.pdf\none" and two.text == "all.zip/reports/a.pdf\ntwo"
        assert one.image is not None and one.kind == "pdf"
        assert photo.text == "all.zip/photo.png" and photo.kind == "image" and photo.image is not None
        assert (readme.text, readme.kind) == ("all.zip/README\nRead this.", "text")
        assert [page.kind for page in slides] == ["slides"] * 4 + ["image"]

    def test_a_bad_one_costs_itself_alone_and_is_named(self, tmp_path: Path) -> None:
        parts = {"broken.docx": "PK nothing", "song.mp3": "ID3", "inner.zip": b"PK", "good.txt": "words"}
        contents, good = pages_of(papers.pack(tmp_path / "a.zip", parts))
        assert contents.text.splitlines() == [
            "# a.zip",
            "- broken.docx (is damaged, or not of the format that its name says (it is not a zip archive))",
            "- song.mp3 (is of a kind that has no pages)",
            "- inner.zip (is an archive inside another; unpack it to have it searched)",
            "- good.txt",
        ]
        assert good.text == "a.zip/good.txt\nwords"

    def test_a_page_that_breaks_later(self, tmp_path: Path) -> None:
        """It could be opened and counted, and one of its pages cannot be drawn: that page says so."""
        papers.make_pdf(tmp_path / "a.pdf", "one", "two")
        data = (tmp_path / "a.pdf").read_bytes().replace(b"/MediaBox [ 0 0 200 300 ]", b"/MediaBox [ 0 0 20099 3 ]", 1)
        texts = [page.text for page in pages_of(papers.pack(tmp_path / "a.zip", {"a.pdf": data, "b.txt": "words"}))]
        assert "a.zip/a.pdf page 1 cannot be rendered" in texts[1] and texts[-1] == "a.zip/b.txt\nwords"

    def test_a_message_in_it(self, tmp_path: Path) -> None:
        mail = b"Subject: Hello\nContent-Disposition: inline\n\nwords"
        assert heads(papers.pack(tmp_path / "a.zip", {"m.eml": mail})) == ["# a.zip", "a.zip/m.eml"]

    def test_comics_are_in_the_order_of_their_numbers_without_a_list(self, tmp_path: Path) -> None:
        names = ["p10.png", "p9.png", "p1.png"]
        assert heads(papers.pack(tmp_path / "a.cbz", {name: papers.picture(1, 9, 9) for name in names})) == [
            "a.cbz/p1.png",
            "a.cbz/p9.png",
            "a.cbz/p10.png",
        ]

    def test_names_are_shown_and_never_used(self, tmp_path: Path) -> None:
        names = ["../../evil.txt", "/etc/x.txt", "C:\\x.txt", "new\nline.txt", "\u202etxt.txt", "Größe.txt"]
        archive = papers.pack(tmp_path / "a.zip", dict.fromkeys(names, "words"))
        assert heads(archive)[1:] == [
            "a.zip/../../evil.txt",
            "a.zip//etc/x.txt",
            "a.zip/C:\\x.txt",
            "a.zip/new\\nline.txt",
            "a.zip/\\u202etxt.txt",
            "a.zip/Größe.txt",
        ]
        assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]

    def test_names_in_utf8_that_do_not_say_so(self, tmp_path: Path) -> None:
        archive = papers.pack(tmp_path / "a.zip", {"Größe.txt": "words"})
        data = archive.read_bytes()
        for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            place = data.find(mark) + offset
            data = data[:place] + b"\0\0" + data[place + 2 :]
        archive.write_bytes(data)
        assert heads(archive)[1] == "a.zip/Größe.txt"

    def test_nothing_is_left_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "tmp").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        pages_of(papers.pack(tmp_path / "a.zip", {"a.txt": "words", "b.docx": "PK nothing"}))
        assert list((tmp_path / "tmp").iterdir()) == []

    def test_a_file_of_the_same_state_is_not_counted_again(self, tmp_path: Path) -> None:
        archive = papers.pack(tmp_path / "a.zip", {f"{n}.txt": "words" for n in range(5)})
        pages_of(archive)
        key = bundle.state_of(archive, False)
        assert bundle._layouts[key].counts == [1] * 5
        papers.pack(archive, {"a.txt": "other words"})
        assert heads(archive) == ["# a.zip", "a.zip/a.txt"]


class TestHostile:
    def test_no_archive(self, tmp_path: Path) -> None:
        (tmp_path / "a.zip").write_bytes(b"")
        assert reason(tmp_path / "a.zip") == "a.zip is empty (0 bytes)"
        (tmp_path / "a.zip").write_bytes(b"just bytes")
        assert "is damaged, or no zip archive" in reason(tmp_path / "a.zip")
        assert pages_of(papers.pack(tmp_path / "b.zip", {})) == []

    def test_locked(self, tmp_path: Path) -> None:
        archive = papers.pack(tmp_path / "a.zip", {"a.txt": "words"})
        data = bytearray(archive.read_bytes())
        for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            data[data.find(mark) + offset] |= 1
        archive.write_bytes(data)
        assert reason(archive) == "a.zip is protected by a password"

    def test_a_file_that_unpacks_to_too_much(self, tmp_path: Path) -> None:
        contents, good = pages_of(papers.pack(tmp_path / "a.zip", {"bomb.txt": b"a" * 3_000_000, "good.txt": "words"}))
        assert "- bomb.txt (is too large when unpacked: 3 MB, from 0.00 MB)" in contents.text
        assert good.text.endswith("words")

    def test_a_directory_that_lies_about_it(self, tmp_path: Path) -> None:
        archive = papers.pack(tmp_path / "a.zip", {"bomb.txt": b"ab" * 500_000})
        archive.write_bytes(
            archive.read_bytes().replace((1_000_000).to_bytes(4, "little"), (500).to_bytes(4, "little"))
        )
        [contents] = pages_of(archive)
        assert "bomb.txt (is damaged (BadZipFile))" in contents.text

    def test_together(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zipped, "MAX_UNPACKED", 250)
        contents, *others = pages_of(papers.pack(tmp_path / "a.zip", {f"{n}.txt": "word " * 20 for n in range(5)}))
        assert len(others) == 2 and contents.text.count("is left out, because the archive unpacks to more") == 3

    def test_many_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zipped, "MAX_ENTRIES", 20)
        monkeypatch.setattr(zipped, "MAX_LISTED", 10)
        contents, *others = pages_of(papers.pack(tmp_path / "a.zip", {f"{n}.txt": "words" for n in range(50)}))
        assert len(others) == 20 and contents.text.endswith(
            "(Only 10 of 50 names are listed; 20 files at most are read.)"
        )

    def test_many_pages(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bundle, "MAX_PAGES", 3)
        parts = {"a.txt": "x" * 3_000, "b.txt": "x" * 3_000, "c.txt": "words"}
        contents, *others = pages_of(papers.pack(tmp_path / "a.zip", parts))
        assert len(others) == 3
        assert "- b.txt (is cut, because the file has more than 3 pages)" in contents.text
        assert "- c.txt (is left out, because the file has more than 3 pages)" in contents.text

    def test_a_list_of_files_without_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zipped, "MAX_DIRECTORY", 1_000)
        archive = papers.pack(tmp_path / "a.zip", {f"{n}.txt": "" for n in range(50)})
        assert "lists more files than" in reason(archive)
        data = archive.read_bytes()  # the same by zip64, whose record of the end is another
        place = data.rfind(b"PK\5\6")
        size, start = struct.unpack_from("<LL", data, place + 12)
        end64 = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 50, 50, size, start)
        locator = struct.pack("<4sLQL", b"PK\6\7", 0, place, 1)
        end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        archive.write_bytes(data[:place] + end64 + locator + end)
        assert len(zipfile.ZipFile(archive).infolist()) == 50
        assert "lists more files than" in reason(archive)

    def test_names_that_occur_twice(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("a.txt", "one")
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr("a.txt", "two")
        assert [page.text for page in pages_of(tmp_path / "a.zip")][1:] == ["a.zip/a.txt\none", "a.zip/a.txt’\ntwo"]

    @pytest.mark.parametrize("seed", range(30))
    def test_bytes_changed_and_cut(self, tmp_path: Path, seed: int) -> None:
        rng = random.Random(seed)
        parts = {"a.txt": "words " * 99, "b/c.md": "# more", "d.png": papers.picture(1, 20, 20)}
        data = bytearray(papers.pack(tmp_path / "a.zip", parts).read_bytes())
        for _ in range(rng.randint(1, 30)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if seed % 3 == 0:
            del data[rng.randrange(len(data)) :]
        (tmp_path / "a.zip").write_bytes(data)
        try:
            pages_of(tmp_path / "a.zip")
        except DocumentError as error:
            assert str(error).startswith("a.zip") and "\n" not in str(error)


def test_the_old_reader_of_office_files_is_not_asked(tmp_path: Path) -> None:
    """A zip archive is opened as what its name says, whatever lies in it."""
    buffer = io.BytesIO(papers.make_docx(tmp_path / "a.docx").read_bytes())
    (tmp_path / "a.zip").write_bytes(buffer.getvalue())
    with open_document(tmp_path / "a.zip") as document:
        assert document.page(1).text.startswith("# a.zip\n- [Content_Types].xml")
