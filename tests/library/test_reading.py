"""Pages are read and prepared while the model is busy, and what goes wrong with one stays its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import PIL.Image
import pytest
from tests.support.fakes import FakeEmbedder
from tests.support.papers import make_image, make_pdf
from tests.support.waiting import HANG

from polylens.documents.ocr.page_reader import PageReader, Reading
from polylens.errors import InputError
from polylens.library import update as updating_module
from polylens.library.library import Library
from polylens.library.picture_words import PictureWords
from polylens.library.reading import Step, pages_ahead, with_words
from polylens.types import Box, Embedding, Page, Word


class PreparingFake(FakeEmbedder):
    """A fake whose `prepare` counts, and marks what it returns."""

    preparation_threads = 2

    def __init__(self) -> None:
        super().__init__()
        self.prepared: list[Any] = []
        self.is_ahead = threading.Event()

    def prepare(self, value: Any, *, task: str = "retrieval", prompt_name: str = "query") -> Any:
        assert (task, prompt_name) == ("retrieval", "passage")
        if value == "refused":
            raise InputError("no such words, please")
        self.prepared.append(value)
        if len(self.prepared) > 8:
            self.is_ahead.set()
        return ("prepared", value)

    def embed(self, inputs: Sequence[Any], **options: Any) -> list[Embedding]:
        values = [each[1] if isinstance(each, tuple) else each for each in inputs]
        return super().embed(values, **options)


def write_texts(folder: Path, count: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number:02}.txt").write_text(f"text {number}")


def test_the_next_pages_are_prepared_while_a_batch_is_in_the_model(tmp_path: Path) -> None:
    class Waiting(PreparingFake):
        def embed(self, inputs: Sequence[Any], **options: Any) -> list[Embedding]:
            if isinstance(inputs[0], tuple):  # the first call only asks how wide the vectors are
                assert self.is_ahead.wait(timeout=30), "nothing was prepared meanwhile"
            return super().embed(inputs, **options)

    write_texts(tmp_path, 20)
    embedder = Waiting()
    report = Library(tmp_path, embedder).update()
    assert (report.indexed, report.failed) == (20, [])
    assert sorted(embedder.prepared) == sorted(f"text {number}" for number in range(20))


def test_a_page_that_cannot_be_prepared_costs_its_file_only(tmp_path: Path) -> None:
    write_texts(tmp_path, 10)
    (tmp_path / "04.txt").write_text("refused")
    embedder = PreparingFake()
    report = Library(tmp_path, embedder).update()
    assert report.failed == [("04.txt", "page 1: no such words, please")]
    assert (report.indexed, report.pages) == (9, 9)
    assert embedder.num_inputs == 9 + 1  # no batch had to be tried again


def test_steps_come_in_order_and_each_file_ends(tmp_path: Path) -> None:
    make_pdf(tmp_path / "a.pdf", "one", "two")
    (tmp_path / "b.pdf").write_bytes(b"no PDF")
    make_image(tmp_path / "c.png", "red")
    files = [(name, tmp_path / name) for name in ("a.pdf", "b.pdf", "c.png", "gone.txt")]
    with pages_ahead(files, FakeEmbedder()) as steps:
        found = [(step.file, step.page.number if step.page else None, step.num_read, step.reason) for step in steps]
    assert [each[:3] for each in found] == [
        ("a.pdf", 1, 0),
        ("a.pdf", 2, 0),
        ("a.pdf", None, 2),
        ("b.pdf", None, 0),
        ("c.png", 1, 0),
        ("c.png", None, 1),
        ("gone.txt", None, 0),
    ]
    assert "is not a PDF" in found[3][3] and "does not exist" in found[6][3] and not found[2][3]


def test_few_pages_wait_where_they_are_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is with the model, one is prepared, one in each thread's hands, and one is read."""
    from polylens.library import reading

    monkeypatch.setattr(reading, "READ_BYTES", 1)
    monkeypatch.setattr(reading, "PREPARED_BYTES", 1)
    monkeypatch.setattr(updating_module, "BATCH_PAGES", 1)
    ahead: list[int] = []

    class Counting(PreparingFake):
        def embed(self, inputs: Sequence[Any], **options: Any) -> list[Embedding]:
            ahead.append(len(self.prepared) - self.num_inputs)
            return super().embed(inputs, **options)

    write_texts(tmp_path, 30)
    Library(tmp_path, Counting()).update()
    assert max(ahead) <= 2 + Counting.preparation_threads


class TestWords:
    """Pages that are pictures are read several at a time."""

    class Together:
        """Reads a picture once as many are being read as there are threads; says its brightness."""

        can_read = True

        def __init__(self, threads: int) -> None:
            self._barrier = threading.Barrier(threads)

        def read(self, image: PIL.Image.Image) -> Reading:
            self._barrier.wait(HANG)
            text = f"brightness {image.convert('L').getpixel((0, 0))}"
            return Reading(text, (Word(text, Box(0, 0, 1, 1)),), "eyes")

    def test_as_many_at_a_time_as_there_are_threads_and_in_order(self, tmp_path: Path) -> None:
        pages = [Page(1, PIL.Image.new("RGB", (20, 20), (i, i, i)), "") for i in range(6)]
        steps = [Step(i, tmp_path / f"{i}.png", page, read_by="") for i, page in enumerate(pages)]
        reader = cast("PageReader", self.Together(3))
        with with_words(iter(steps), 10_000, reader, threads=3) as worded:
            read = list(worded)
        assert [step.file for step in read] == list(range(6))
        assert [step.page.text for step in read if step.page] == [f"brightness {i}" for i in range(6)]
        assert {step.read_by for step in read} == {"eyes"}

    def test_no_thread_closes_what_another_one_draws_from(self) -> None:
        events: list[str] = []
        together = threading.Barrier(2)

        class File:
            def __init__(self, path: Path) -> None:
                self.path, self.is_closed = path, False

            def page(self, number: int) -> Page:
                together.wait(HANG)  # both are open
                assert not self.is_closed
                return Page(number, PIL.Image.new("RGB", (40, 40), "white"), "")

            def close(self) -> None:
                self.is_closed = True
                events.append(f"closed {self.path}")

        def opened(path: Path, _: int) -> Any:
            events.append(f"opened {path}")
            return File(path)

        sizes: list[tuple[int, int]] = []

        class Eyes:
            def read(self, image: PIL.Image.Image) -> Reading:
                sizes.append(image.size)
                return Reading()

        small = Page(1, PIL.Image.new("RGB", (20, 20)), "")
        with PictureWords(cast("PageReader", Eyes()), opened, 400) as words:

            def read(name: str) -> None:
                for path in (Path(f"{name}1"), Path(f"{name}1"), Path(f"{name}2")):
                    words.read(path, small)

            threads = [threading.Thread(target=read, args=(name,)) for name in "ab"]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(HANG)
        assert sizes == [(40, 40)] * 6
        files = ("a1", "a2", "b1", "b2")
        assert sorted(events) == sorted(f"{what} {file}" for what in ("opened", "closed") for file in files)
