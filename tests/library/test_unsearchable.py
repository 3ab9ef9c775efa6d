"""Whatever is not searchable is named with its reason: by an update, by later updates, and by the doctor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from reportlab.pdfgen.canvas import Canvas
from tests.support import tiny
from tests.support.commands import polylens
from tests.support.fakes import FakeEmbedder

from polylens.index.table import store as store_module
from polylens.library.doctor import examine
from polylens.library.library import Library
from polylens.library.unsearchable import FILE, NO_SUFFIX, listed, read_listing
from polylens.types import Embedding


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store_module, "READER_GRACE", 0.02)
    monkeypatch.setattr("polylens.documents.scan.MAX_FILE_BYTES", 100_000)
    folder = tmp_path / "papers"
    folder.mkdir()
    canvas = Canvas(str(folder / "plan.pdf"))
    for size in ((300, 400), (300, 15_000), (300, 400)):
        canvas.setPageSize(size)
        canvas.drawString(10, 10, "a harbour")
        canvas.showPage()
    canvas.save()
    (folder / "note.txt").write_text("the tide")
    (folder / "empty.txt").write_text("")
    (folder / "cut.png").write_bytes(b"no picture")
    (folder / "large.txt").write_text("x" * 100_001)
    for name in ("a.mp3", "b.mp3", "c.bin", "nothing"):
        (folder / name).write_bytes(b"?")
    return folder


PASSED_OVER = {
    "empty.txt": "has no pages",
    "large.txt": "is larger than 0 MB",
    **dict.fromkeys(("a.mp3", "b.mp3", "c.bin", "nothing"), "is of a kind that is not read"),
}


class TestUpdates:
    def test_every_file_is_named(self, folder: Path) -> None:
        report = Library(folder, FakeEmbedder()).update()
        assert dict(report.passed_over) == PASSED_OVER and report.skipped == len(PASSED_OVER)
        assert [file for file, _ in report.failed] == ["cut.png"]
        [(file, part, reason)] = report.partly
        assert (file, part) == ("plan.pdf", "page 2") and reason.startswith("cannot be rendered")
        assert report.indexed == 2 and Library(folder, FakeEmbedder()).files()["plan.pdf"].num_pages == 2

    def test_later_ones_name_them_still(self, folder: Path) -> None:
        first = Library(folder, FakeEmbedder()).update()
        again = Library(folder, FakeEmbedder()).update()
        assert (again.passed_over, again.partly, again.indexed) == (first.passed_over, first.partly, 0)

    def test_it_moves_with_the_file_and_goes_with_it(self, folder: Path) -> None:
        Library(folder, FakeEmbedder()).update()
        (folder / "plan.pdf").rename(folder / "moved.pdf")
        report = Library(folder, FakeEmbedder()).update()
        assert report.moved == 1 and [file for file, *_ in report.partly] == ["moved.pdf"]
        (folder / "moved.pdf").unlink()
        assert Library(folder, FakeEmbedder()).update().partly == []

    def test_it_stays_with_what_an_interrupted_update_left(self, folder: Path) -> None:
        class Interrupted(FakeEmbedder):
            def embed(self, inputs: Any, **options: Any) -> list[Embedding]:
                if any("never" in str(each) for each in inputs):
                    raise KeyboardInterrupt
                return super().embed(inputs, **options)

        Library(folder, FakeEmbedder()).update()
        (folder / "new.txt").write_text("never finished")
        with pytest.raises(KeyboardInterrupt):
            Library(folder, Interrupted()).update()
        assert examine(Library(folder, FakeEmbedder()), model=False).is_well
        assert [file for file, *_ in Library(folder, FakeEmbedder()).update().partly] == ["plan.pdf"]

    def test_a_mended_file_is_no_longer_named(self, folder: Path) -> None:
        Library(folder, FakeEmbedder()).update()
        canvas = Canvas(str(folder / "plan.pdf"))
        canvas.drawString(10, 10, "whole")
        canvas.save()
        PIL.Image.new("RGB", (20, 20), "red").save(folder / "cut.png")
        report = Library(folder, FakeEmbedder()).update()
        assert (report.partly, report.failed, report.indexed) == ([], [], 2)


class TestDoctor:
    def told(self, folder: Path) -> list[str]:
        diagnosis = examine(Library(folder, FakeEmbedder()), model=False)
        assert diagnosis.is_well
        return [finding.message for finding in diagnosis.findings if finding.check == "files"]

    def test_every_file_is_named(self, folder: Path) -> None:
        Library(folder, FakeEmbedder()).update()
        said = self.told(folder)
        assert said[0] == "not searchable, as files of these kinds are not read: 2 .mp3, 1 .bin, 1 without a suffix"
        assert said[1] == "to search .mp3: keep a transcript beside it as .txt"
        assert [line.split(": ")[1] for line in said[2:5]] == ["cut.png", "empty.txt", "large.txt"]
        assert said[5].startswith("searchable in part: plan.pdf, without page 2: cannot be rendered")
        assert len(said) == 6

    def test_of_an_index_that_does_not_say(self, folder: Path) -> None:
        """An index of an earlier version, whose files were all read whole."""
        (folder / "plan.pdf").unlink()
        Library(folder, FakeEmbedder()).update()
        (folder / ".polylens" / FILE).unlink()
        assert any("2 not in the index (cut.png, empty.txt)" in line for line in self.told(folder))

    def test_a_changed_file_is_not_what_was_read(self, folder: Path) -> None:
        Library(folder, FakeEmbedder()).update()
        os.utime(folder / "cut.png", ns=(5, 5))
        assert any("1 not in the index (cut.png)" in line for line in self.told(folder))


class TestListing:
    FILES = ("cut.png", "empty.txt", "large.txt")

    def test_the_index_and_the_update_say_the_same(self, folder: Path) -> None:
        library = Library(folder, FakeEmbedder())
        report = library.update()
        listing = library.unsearchable()
        assert listing == listed(report.passed_over, report.failed, report.partly)
        assert [(each.file, each.part) for each in listing.files] == [
            *((file, None) for file in self.FILES),
            ("plan.pdf", "page 2"),
        ]
        assert all(each.reason for each in listing.files)
        assert [(each.kind, each.count) for each in listing.kinds] == [(".mp3", 2), (".bin", 1), (NO_SUFFIX, 1)]
        assert [each.advice for each in listing.kinds] == ["keep a transcript beside it as .txt", None, None]
        assert listing.counts() == {"files": 3, "partly": 1, "other_kinds": 4}

    def test_before_anything_is_indexed_the_kinds_are_known(self, folder: Path) -> None:
        listing = Library(folder, FakeEmbedder()).unsearchable()
        assert [each.file for each in listing.files] == ["large.txt"] and len(listing.kinds) == 3

    def test_what_changed_since_is_not_named(self, folder: Path) -> None:
        library = Library(folder, FakeEmbedder())
        library.update()
        (folder / "cut.png").unlink()
        os.utime(folder / "plan.pdf", ns=(5, 5))
        assert [each.file for each in library.unsearchable().files] == ["empty.txt", "large.txt"]

    def test_without_the_files_the_index_still_knows(self, folder: Path) -> None:
        library = Library(folder, FakeEmbedder())
        library.update()
        listing = read_listing(library.storage, None)
        assert [each.file for each in listing.files] == ["cut.png", "empty.txt", "plan.pdf"] and not listing.kinds


def test_the_command_names_them(folder: Path, tmp_path: Path) -> None:
    model = tiny.write(tmp_path / "tiny")
    (folder / "new\nline.mp3").write_bytes(b"?")
    done = polylens("index", folder, "--model", model)
    assert done.returncode == 0
    kinds = "3 .mp3, 1 .bin, 1 without a suffix"
    others = "1 empty, too large or no file; 1 read in part (--verbose names each)\n"
    assert f"\nnot searchable: kinds that are not read: {kinds}; {others}" in done.stdout
    assert [line for line in done.stderr.splitlines() if "could not read" not in line] == []
    named = polylens("index", folder, "--model", model, "--verbose").stderr
    assert "passed over a.mp3: is of a kind that is not read\n" in named
    assert "passed over empty.txt: has no pages\n" in named
    assert "passed over new\\nline.mp3: is of a kind" in named
    assert "read in part plan.pdf, without page 2: cannot be rendered" in named
