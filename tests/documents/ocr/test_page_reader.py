"""Pages are read by the real programs, where they are installed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL.Image
import pytest
from tests.support import scans
from tests.support.scans import HERE, need_pack, need_rapid
from tests.support.waiting import HANG

from polylens.documents.ocr import rapid, tesseract
from polylens.documents.ocr.languages import languages_of, parse
from polylens.documents.ocr.lines import Line
from polylens.documents.ocr.page_reader import (
    Installed,
    PageReader,
    Reading,
    needs_reading,
    require_readable,
    with_reading,
)
from polylens.errors import DocumentError, InputError
from polylens.types import Box, Page, Word

NOTHING = Installed(False, frozenset())
RAPID = Installed(True, frozenset())
WORST = 0.25  # of the letters; of these pages, most are read without any error


@pytest.fixture(scope="module")
def reader() -> Iterator[PageReader]:
    with PageReader("auto", HERE) as reader:
        yield reader


def overlap(one: Box, other: Box) -> float:
    """The share of the smaller box that lies in the other."""
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    smaller = min(one.width * one.height, other.width * other.height)
    return max(0.0, width) * max(0.0, height) / smaller if smaller else 0.0


def placed_right(reading: Reading, words: tuple[Word, ...]) -> float:
    """The share of the words of a page that stand where one of the same letters was read."""
    found = [
        any(word.text.strip(".,:;!?") in each.text and overlap(word.box, each.box) > 0.5 for each in reading.words)
        for word in words
    ]
    return sum(found) / len(found)


class TestRapid:
    @need_rapid
    @pytest.mark.parametrize(("language", "scan"), [("de", False), ("en", True), ("zh", False), ("ja", False)])
    def test_a_page_is_read_and_its_words_are_placed(self, reader: PageReader, language: str, scan: bool) -> None:
        image, words = scans.page(language, scan=scan)
        reading = reader.read(image)
        assert reading.by == "rapidocr"
        assert scans.error_rate(words, reading.text) < WORST
        if language in ("de", "en"):
            assert placed_right(reading, words) > 0.8

    @need_rapid
    @pytest.mark.parametrize("language", ["th", "ru", "ko"])
    def test_letters_that_it_does_not_know_are_not_made_up(self, language: str) -> None:
        image, _ = scans.page(language)
        with PageReader("auto", RAPID) as reader:
            assert reader.read(image) == Reading()

    @need_rapid
    def test_what_takes_too_long_is_given_up_and_the_next_page_is_read(self) -> None:
        image, _ = scans.page("en")
        with rapid.RapidReader(seconds=0.01) as slow, pytest.raises(DocumentError, match="takes more than"):
            slow.read(image)
        with rapid.RapidReader() as engine:
            process = engine._started()
            process.kill()
            with pytest.raises(DocumentError, match="crashes"):
                engine.read(image)
            assert len(engine.read(image)) > 3


def test_rapid_reads_as_many_pictures_at_a_time_as_it_has_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, both = PIL.Image.new("RGB", (9, 9)), threading.Barrier(2)
    used: list[rapid.RapidReader] = []

    def read(self: rapid.RapidReader, image: PIL.Image.Image) -> list[Line]:
        used.append(self)
        if len(used) > 2:
            both.wait(HANG)
        return []

    monkeypatch.setattr(rapid.RapidReader, "read", read)
    readers = rapid.RapidReaders(2)
    assert readers.read(picture) == readers.read(picture) == []
    assert used[0] is used[1]  # no second process where one is free
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(readers.read, [picture] * 2))
    assert len(set(used[2:])) == 2


class TestTesseract:
    @pytest.mark.parametrize(
        ("language", "pack"),
        [
            pytest.param(language, pack, marks=need_pack(pack))
            for language, pack in (("ru", "rus"), ("ar", "ara"), ("hi", "hin"), ("el", "ell"), ("ko", "kor"))
        ],
    )
    def test_the_script_of_a_page_chooses_the_pack(self, reader: PageReader, language: str, pack: str) -> None:
        image, words = scans.page(language)
        reading = reader.read(image)
        assert reading.by == f"tesseract {pack}"
        assert scans.error_rate(words, reading.text) < WORST
        assert placed_right(reading, words) > (0.3 if language in ("ko", "hi") else 0.6)  # whose words it may split

    @need_pack("eng")
    @pytest.mark.parametrize("degrees", [90, 180, 270])
    def test_a_page_that_lies_on_its_side_is_turned(self, degrees: int) -> None:
        image, words = scans.page("en")
        lying = image.rotate(degrees, expand=True)
        with PageReader("auto", Installed(False, frozenset({"eng"}))) as reader:
            reading = reader.read(lying)
        assert scans.error_rate(words, reading.text) < WORST
        turned = [tesseract.turned_back(word.box, degrees) for word in words]
        back = tuple(Word(word.text, box) for word, box in zip(words, turned, strict=True))
        assert placed_right(reading, back) > 0.8

    @need_pack("rus")
    @need_pack("ara")
    def test_several_threads_get_what_one_gets(self) -> None:
        """In two scripts: whoever reads the one changes which is tried first for the other."""
        pages = [scans.page(language)[0] for language in ("ru", "ar") * 2]
        with PageReader("auto", Installed(False, frozenset({"rus", "ara"}))) as reader:
            expected = [reader.read(page) for page in pages]
        with PageReader("auto", Installed(False, frozenset({"rus", "ara"}))) as reader, ThreadPoolExecutor(4) as pool:
            assert list(pool.map(reader.read, pages)) == expected

    @need_pack("eng")
    def test_what_fails_names_no_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(DocumentError, match="cannot be read"):
            tesseract.read(scans.photograph((64, 64)), ["no-such-pack"])
        monkeypatch.setenv("PATH", "")
        assert tesseract.packs() == frozenset()
        assert tesseract.look(scans.photograph((64, 64))) == tesseract.Look()


class TestPictures:
    @pytest.mark.parametrize("seed", [1, 2])
    def test_a_photograph_has_no_words(self, reader: PageReader, seed: int) -> None:
        if not reader.can_read:
            pytest.skip("needs RapidOCR or Tesseract")
        assert reader.read(scans.photograph(seed=seed)) == Reading()

    @need_pack("eng")
    def test_nor_does_tesseract_alone_find_any(self) -> None:
        with PageReader("auto", Installed(False, HERE.packs & {"eng", "rus", "ara"})) as reader:
            assert reader.read(scans.photograph()) == Reading()
            assert reader.read(PIL.Image.new("RGB", (300, 200), "white")) == Reading()

    def test_without_a_program_nothing_is_read(self) -> None:
        with PageReader("auto", NOTHING) as reader:
            assert not reader.can_read
            assert reader.read(scans.photograph()) == Reading()


class TestLanguages:
    def test_a_setting_has_one_form(self) -> None:
        assert parse(" AUTO ") == "auto"
        assert parse("off") == "off"
        assert parse("rus, de,deu,chi_sim,zho") == "de,ru,zh"
        assert [each.packs[0] for each in languages_of("de,ru")] == ["deu", "rus"]

    @pytest.mark.parametrize("wrong", ["", "xx", "de,xx", "auto,de", "de;ru", "german"])
    def test_another_is_refused(self, wrong: str) -> None:
        with pytest.raises(InputError, match="ocr must be auto, off, or ISO 639 codes"):
            parse(wrong)

    def test_a_language_that_nothing_reads_is_refused_with_what_to_install(self) -> None:
        with pytest.raises(InputError, match=r"nothing installed here reads ru; install .*tesseract-ocr-rus"):
            PageReader("de,ru", RAPID)
        with pytest.raises(
            InputError, match=r"reads de; install pip install 'polylens\[ocr\]', or .*tesseract-ocr-deu"
        ):
            PageReader("de", Installed(False, frozenset({"rus"})))
        require_readable("de,ru,vi", Installed(True, frozenset({"rus", "vie"})))

    def test_a_language_narrows_what_reads(self) -> None:
        both = Installed(True, frozenset({"deu", "eng", "rus", "vie"}))
        assert PageReader("ru", both)._packs == {"Cyrillic": ("rus",)}
        assert not PageReader("ru", both)._has_rapid
        assert PageReader("de", both)._packs == {}
        assert PageReader("de,ru", both)._packs == {"Cyrillic": ("rus",)}
        assert PageReader("vi", both)._packs == {"Latin": ("vie",)}
        assert PageReader("auto", both)._packs == {"Cyrillic": ("rus",)}


class TestWhichPages:
    PICTURE = PIL.Image.new("RGB", (200, 100))

    @pytest.mark.parametrize(
        ("text", "kind", "own", "is_needed"),
        [
            ("", "pdf", None, True),
            ("- 12 -", "pdf", None, True),
            ("A whole sentence of the text layer, long enough.", "pdf", None, False),
            ("", "image", None, True),
            ("The words of a drawing, which are in its file as text.", "image", None, False),
            ("A description that somebody wrote of the picture.", "slides", None, True),
            ("holiday/a-long-name-of-a-scanned-document-2024.pdf\n", "document", "pdf", True),
            ("scan.pdf\nA whole sentence of the text layer, long enough.", "document", "pdf", False),
            ("the-very-long-name-of-a-photograph-of-paper.jpg", "document", "image", True),
        ],
    )
    def test_pages_whose_text_says_next_to_nothing(self, text: str, kind, own, is_needed: bool) -> None:
        assert needs_reading(Page(1, self.PICTURE, text, own), kind) is is_needed
        assert not needs_reading(Page(1, None, text, own), kind)

    def test_what_was_read_is_added_to_what_there_was(self) -> None:
        reading = Reading("Page 12\nof the log", (Word("Page", Box(0, 0, 1, 1)),), "rapidocr")
        assert with_reading(Page(1, self.PICTURE, ""), reading).text == "Page 12\nof the log"
        assert with_reading(Page(1, self.PICTURE, "PAGE 12"), reading).text == "Page 12\nof the log"
        assert with_reading(Page(1, self.PICTURE, "a title"), reading).text == "a title\n\nPage 12\nof the log"
        page = Page(1, self.PICTURE, "a title")
        assert with_reading(page, Reading()) is page


def test_the_picture_itself_is_left_as_it_is(reader: PageReader) -> None:
    image = scans.photograph((80, 60))
    before = np.asarray(image).copy()
    reader.read(image)
    assert np.array_equal(before, np.asarray(image))
