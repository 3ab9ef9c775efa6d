"""Where words stand is kept in the index; one made before it was is searched as it is, and asks its files once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest
from tests.support import papers
from tests.support.fakes import FakeEmbedder

from polylens.documents import open_document
from polylens.index.export import export
from polylens.index.ranking.word_boxes import WordBoxes, pack, unpack
from polylens.index.table.store import Store
from polylens.library.doctor import examine
from polylens.library.library import Library
from polylens.types import Box, Word


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    papers.make_pdf(folder / "a.pdf", "the harbour at night", "an invoice")
    papers.make_pdf(folder / "sub" / "b.pdf", "birds")
    papers.make_image(folder / "red.png", "red", (40, 30))
    (folder / "note.txt").write_text("a harbour")
    Library(folder, FakeEmbedder()).update()
    return folder


def age(folder: Path) -> None:
    """Makes the index one of a version that did not store where words stand."""
    with Store.open(folder / ".polylens", write=True) as store:
        store._table.drop_columns(["words"])
    assert not Store.open(folder / ".polylens").snapshot().has_words


def stored(folder: Path) -> dict[tuple[str, int], WordBoxes | None]:
    library = Library(folder, FakeEmbedder())
    pages = [("a.pdf", 1), ("a.pdf", 2), ("sub/b.pdf", 1), ("red.png", 1), ("note.txt", 1)]
    return {page: unpack(library.stored(*page).words) for page in pages}


def rows(folder: Path) -> list[dict]:
    """Everything but the places of words."""
    batches = Store.open(folder / ".polylens").snapshot().batches()
    found = [{**row, "words": None} for batch in batches for row in batch.to_pylist()]
    return sorted(found, key=lambda row: (row["file"], row["page"]))


def check(folder: Path) -> None:
    found = stored(folder)
    for (file, number), boxes in found.items():
        with open_document(folder / file) as document:
            page = document.page(number)
        if page.image is None:
            assert boxes is None
            continue
        assert boxes is not None and boxes.size == page.image.size
        text = Library(folder, FakeEmbedder()).stored(file, number).text
        assert [text[start:end] for start, end in zip(boxes.starts, boxes.ends, strict=True)] == text.split()
        for index, word in enumerate(page.words):
            kept, box = boxes.box(index), word.box
            for one, other in ((kept.left, box.left), (kept.top, box.top), (kept.width, box.width)):
                assert one == pytest.approx(other, abs=1 / 65_535)  # what sixteen bits hold


def test_an_index_has_the_places(folder: Path) -> None:
    check(folder)
    assert Store.open(folder / ".polylens").snapshot().unplaced() == []
    assert [finding.check for finding in examine(Library(folder, FakeEmbedder()), model=False).findings] == []


def test_a_moved_file_keeps_them(folder: Path) -> None:
    (folder / "sub" / "b.pdf").rename(folder / "c.pdf")
    assert Library(folder, FakeEmbedder()).update().moved == 1
    boxes = unpack(Library(folder, FakeEmbedder()).stored("c.pdf", 1).words)
    assert boxes is not None and len(boxes.starts) == 1


def test_one_of_before_is_searched_and_the_next_update_asks_the_files_and_embeds_nothing(folder: Path) -> None:
    before = rows(folder)
    age(folder)
    hits = Library(folder, FakeEmbedder()).search("harbour night")
    assert {hit.file for hit in hits} == {"a.pdf", "sub/b.pdf", "red.png", "note.txt"}
    assert set(stored(folder).values()) == {None}
    [finding] = examine(Library(folder, FakeEmbedder()), model=False).findings
    assert (finding.level, finding.check) == ("note", "places") and "`polylens index`" in finding.message
    embedder = FakeEmbedder()
    report = Library(folder, embedder).update()
    assert (report.unchanged, report.indexed, report.placed, embedder.num_inputs) == (4, 0, 4, 0)
    check(folder)
    assert rows(folder) == before
    assert Library(folder, FakeEmbedder()).update().placed == 0
    assert [hit.file for hit in Library(folder, FakeEmbedder()).search("invoice", by="text")] == ["a.pdf"]
    names = Store.open(folder / ".polylens")._table.schema.names
    assert names == Store.create(folder / "new", "fake", 32)._table.schema.names


def test_a_file_that_cannot_be_read_any_more_costs_no_other(folder: Path) -> None:
    age(folder)
    status = (folder / "a.pdf").stat()
    (folder / "a.pdf").write_bytes(b"x" * status.st_size)
    import os

    os.utime(folder / "a.pdf", ns=(status.st_atime_ns, status.st_mtime_ns))  # looks unchanged
    assert Library(folder, FakeEmbedder()).update().placed == 2
    assert Store.open(folder / ".polylens").snapshot().unplaced() == ["a.pdf"]


class TestPacked:
    @pytest.mark.parametrize("num", [0, 1, 700])
    def test_unpacked_is_what_was_packed(self, num: int) -> None:
        rng = np.random.default_rng(num)
        texts = ["".join(rng.choice(list("aé文🚀"), size=rng.integers(1, 300))) for _ in range(num)]
        shares = rng.random((num, 4))
        words = [Word(text, Box(*box.tolist())) for text, box in zip(texts, shares, strict=True)]
        boxes = unpack(pack("\n ".join(texts), words, (2_000, 70_000)))
        assert boxes is not None and boxes.size == (2_000, 70_000)
        assert np.abs(boxes.shares - shares).max(initial=0) <= 0.5001 / 65_535
        joined = "\n ".join(texts)
        assert [joined[a:b] for a, b in zip(boxes.starts, boxes.ends, strict=True)] == texts

    def test_words_that_the_text_does_not_have_are_left_out(self) -> None:
        words = [Word(text, Box(0, 0, 1, 1)) for text in ("one", "nine", "e\u0301te\u0301", "", "two")]
        boxes = unpack(pack("one \u00e9t\u00e9 two", words, (1, 1)))
        assert boxes is not None and boxes.starts.tolist() == [0, 4, 8]

    def test_without_a_picture_there_is_nothing(self) -> None:
        assert pack("text", [], None) == b"" and unpack(b"") is None and unpack(None) is None
        assert unpack(b"\x09" + pack("a", [], (1, 1))[1:]) is None  # of a later version

    def test_a_page_takes_few_bytes(self, tmp_path: Path) -> None:
        papers.make_pdf(tmp_path / "a.pdf", *["the quick brown fox jumps"])
        with open_document(tmp_path / "a.pdf") as document:
            page = document.page(1)
        assert isinstance(page.image, PIL.Image.Image)
        assert len(pack(page.text, page.words, page.image.size)) < 100


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_an_export_has_every_word_with_its_box(folder: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"pages.{suffix}"
    export(folder / ".polylens", out)
    if suffix == "jsonl":
        pages = list(map(json.loads, out.read_text(encoding="utf-8").splitlines()))
    else:
        pages = pq.read_table(out).to_pylist()
    found = {(page["file"], page["page"]): page["words"] for page in pages}
    assert found["note.txt", 1] is None and found["red.png", 1] == []
    boxes = stored(folder)["a.pdf", 1]
    assert boxes is not None
    words = found["a.pdf", 1]
    assert [word["text"] for word in words] == ["the", "harbour", "at", "night"]
    sides = [[word[side] for side in ("left", "top", "width", "height")] for word in words]
    assert np.allclose(sides, boxes.shares, atol=1e-6)
    age(folder)
    export(folder / ".polylens", tmp_path / "old.parquet")
    assert {page["words"] for page in pq.read_table(tmp_path / "old.parquet").to_pylist()} == {None}
