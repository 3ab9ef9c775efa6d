"""Pages that are pictures only, in a library: read, found by their words, and made anew when that changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from tests.support import scans
from tests.support.fakes import FakeEmbedder
from tests.support.indexing import tell
from tests.support.scans import need_rapid

from polylens.documents.ocr import page_reader
from polylens.documents.ocr.page_reader import Installed
from polylens.errors import InputError
from polylens.index.table.store import Store
from polylens.library import picture_pages, saving
from polylens.library.library import Library
from polylens.library.picture_pages import Record
from polylens.library.progress import UpdateProgress

NOTHING = Installed(False, frozenset())
RAPID = Installed(True, frozenset())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A report whose second page is a scan, a photograph of a page, a photograph, and a note."""
    folder = tmp_path / "folder"
    folder.mkdir()
    page, _ = scans.page("en")
    scans.save_pdf(folder / "report.pdf", "ships leave the harbour with cranes and with containers", page)
    scans.page("de")[0].save(folder / "seite.png")
    scans.photograph().save(folder / "garden.png")
    (folder / "notes.md").write_text("The plumber wrote an invoice in May.")
    return folder


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says what is installed from now on; by default RapidOCR alone."""

    def say(what: Installed) -> None:
        monkeypatch.setattr(Installed, "here", lambda: what)

    say(RAPID)
    return say


def texts(folder: Path) -> dict[tuple[str, int], str]:
    with Store.open(folder / ".polylens") as store:
        rows = store.snapshot().table(["file", "page", "text"]).to_pylist()
    return {(row["file"], row["page"]): row["text"] for row in rows}


def records(folder: Path) -> dict[str, Any]:
    [file] = (folder / ".polylens").glob("ocr-*.json")
    return json.loads(file.read_text())


def a_word(language: str) -> str:
    """A long word of a scanned page."""
    return max((word.text for word in scans.page(language)[1] if word.text.isalpha()), key=len)


@need_rapid
@pytest.mark.usefixtures("installed")
class TestUpdate:
    def test_what_a_picture_says_is_found_by_its_words(self, folder: Path) -> None:
        library = Library(folder, FakeEmbedder())
        report = library.update(ocr="auto")
        assert (report.indexed, report.pages, report.wordless) == (4, 5, 0)
        for language, file, page in (("en", "report.pdf", 2), ("de", "seite.png", 1)):
            [hit, *_] = library.search(a_word(language), by="text")
            assert (hit.file, hit.page) == (file, page)
            assert a_word(language) in hit.text
        assert texts(folder)["garden.png", 1] == ""
        assert texts(folder)["report.pdf", 1].startswith("ships leave")

    def test_another_setting_makes_the_pages_concerned_anew_and_no_others(self, folder: Path) -> None:
        embedder = FakeEmbedder()
        library = Library(folder, embedder)
        library.update(ocr="off")
        before = texts(folder)
        assert before["report.pdf", 2] == before["seite.png", 1] == ""
        report = library.update(ocr="en,de")
        assert (report.indexed, report.pages, report.unchanged) == (3, 3, 1)  # of the report, its second page alone
        read = texts(folder)
        assert read["report.pdf", 1] == before["report.pdf", 1]
        assert a_word("en") in read["report.pdf", 2]
        assert a_word("de") in read["seite.png", 1]
        assert library.update().pages == 0  # the index keeps its setting
        report = library.update(ocr="off")
        assert (report.indexed, report.pages) == (2, 2)  # what nothing was read on is as it was
        assert texts(folder) == before

    def test_an_index_of_an_earlier_version_is_read_too(self, folder: Path) -> None:
        library = Library(folder, FakeEmbedder())
        library.update(ocr="off")
        [kept] = (folder / ".polylens").glob("ocr-*.json")
        kept.unlink()
        assert library.update(ocr="auto").pages == 3
        assert a_word("en") in texts(folder)["report.pdf", 2]

    def test_what_was_moved_or_copied_is_not_read_again(self, folder: Path) -> None:
        library = Library(folder, FakeEmbedder())
        library.update(ocr="auto")
        (folder / "seite.png").rename(folder / "page.png")
        shutil.copy(folder / "report.pdf", folder / "copy.pdf")
        report = library.update()
        assert (report.moved, report.pages) == (2, 0)
        assert a_word("de") in texts(folder)["page.png", 1]
        assert library.update(ocr="off").pages == 3  # both copies of the report
        assert texts(folder)["copy.pdf", 2] == texts(folder)["report.pdf", 2] == ""

    def test_a_rebuild_has_records_of_its_own(self, folder: Path) -> None:
        library = Library(folder, FakeEmbedder())
        library.update(ocr="auto")
        assert library.update(rebuild=True, ocr="off").pages == 5
        assert texts(folder)["seite.png", 1] == ""
        assert records(folder)["setting"] == "off"

    def test_an_interrupted_update_goes_on_where_it_was(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(saving, "COMMIT_PAGES", 1)
        library = Library(folder, FakeEmbedder())
        library.update(ocr="off")

        def stop(progress: UpdateProgress) -> None:
            if progress.saved:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            library.update(stop, ocr="auto")
        assert not records(folder)["is_complete"]
        done = sum(record["setting"] == "auto" for record in records(folder)["files"].values())
        assert done == 1
        assert library.update().pages == 2  # by the setting that it was begun with
        assert a_word("en") in texts(folder)["report.pdf", 2]
        assert a_word("de") in texts(folder)["seite.png", 1]
        assert library.update().pages == 0

    def test_what_cannot_be_read_costs_its_words_alone(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(page_reader.rapid, "SECONDS", 0.01)
        monkeypatch.setattr(page_reader.rapid.RapidReader.__init__, "__kwdefaults__", {"seconds": 0.01})
        library = Library(folder, FakeEmbedder())
        report = library.update(ocr="auto")
        assert (report.indexed, report.pages, report.failed) == (4, 5, [])
        assert ("seite.png", "the words of page 1", "takes more than 0 s") in report.partly
        assert library.update().pages == 0

    def test_the_pages_are_read_larger_than_the_model_looks_at_them(self, folder: Path) -> None:
        embedder = FakeEmbedder()
        embedder.max_pixels = 40_000  # at which nobody could read it
        Library(folder, embedder).update(ocr="auto")
        assert a_word("en") in texts(folder)["report.pdf", 2]


class TestInstalled:
    def test_without_a_program_it_is_said_how_many_pages_lack_their_words(self, folder: Path, installed: Any) -> None:
        installed(NOTHING)
        library = Library(folder, FakeEmbedder())
        report = library.update(ocr="auto")
        assert (report.indexed, report.wordless) == (4, 3)
        assert library.update(ocr="auto").wordless == 0  # said once
        assert {each["setting"] for each in records(folder)["files"].values()} == {"auto"}

    @need_rapid
    def test_once_it_is_installed_they_are_read(self, folder: Path, installed: Any) -> None:
        installed(NOTHING)
        library = Library(folder, FakeEmbedder())
        library.update(ocr="auto")
        installed(RAPID)
        assert library.update().pages == 3
        assert a_word("de") in texts(folder)["seite.png", 1]

    @pytest.mark.usefixtures("installed")
    def test_a_language_that_nothing_reads_is_an_error_before_anything_is_done(self, folder: Path) -> None:
        library = Library(folder, FakeEmbedder())
        with pytest.raises(InputError, match="nothing installed here reads ru"):
            library.update(ocr="ru")
        with pytest.raises(InputError, match="ocr must be auto, off"):
            library.update(tell, ocr="klingon")
        assert not (folder / ".polylens").exists()


class TestWhichPages:
    """Which pages of a file are made anew."""

    RECORD = Record("auto", ("rapidocr", "tesseract rus"), {1: "rapidocr", 3: ""})

    @pytest.mark.parametrize(
        ("setting", "names", "pages"),
        [
            ("auto", ("rapidocr", "tesseract rus"), set()),
            ("auto", ("rapidocr",), set()),  # with less installed, what was read stays
            ("auto", ("rapidocr", "tesseract ara", "tesseract rus"), {3}),  # with more, what was not is tried
            ("de", ("rapidocr",), {1, 3}),
            ("auto", (), set()),
            ("off", (), {1}),
        ],
    )
    def test_by_setting_and_by_what_is_installed(self, setting: str, names: tuple[str, ...], pages: set[int]) -> None:
        assert self.RECORD.to_read(setting, names) == pages

    def test_an_unknown_setting_means_all(self) -> None:
        assert Record("", (), {2: ""}).to_read("auto", ("rapidocr",)) == {2}

    def test_damaged_records_are_made_anew(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        PIL.Image.new("RGB", (40, 30)).save(folder / "a.png")
        library = Library(folder, FakeEmbedder())
        library.update()
        [kept] = (folder / ".polylens").glob("ocr-*.json")
        for content in ("", "[]", '{"setting": "auto", "is_complete": true, "files": {"x": 1}}'):
            kept.write_text(content)
            library.update()
            assert records(folder)["is_complete"]
        monkeypatch.setenv(picture_pages.VARIABLE, "xx")
        assert library.update().pages == 0  # the index has a setting of its own
