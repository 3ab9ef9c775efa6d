"""The rerank stage of a search, with a real index of nano and a reranker of another opinion: random weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.support import tiny, tiny_m0
from tests.support.papers import make_image, make_pdf

import polylens
from polylens.errors import InputError
from polylens.library.library import Library
from polylens.library.reranking import Found, Reranking
from polylens.runtime.embedder import Embedder
from polylens.runtime.reranker import VectorReranker
from polylens.types import RankedDocument

QUERY = "ships leave the harbour"
LINES = {"harbour.pdf": "ships leave the harbour", "cranes.pdf": "cranes and containers"}


class Noting(VectorReranker):
    """Notes the documents that it scores; each takes a second of its own clock."""

    def __init__(self, embedder: Embedder) -> None:
        super().__init__(embedder)
        self.documents: list[Any] = []
        self.now = 0.0

    def rerank(self, query: Any, documents: Sequence[Any], **options: Any) -> list[RankedDocument]:
        ranked = super().rerank(query, documents, **options)
        self.documents += documents
        self.now += len(documents)
        return ranked


@pytest.fixture(scope="module")
def nano() -> Embedder:
    return polylens.load("nano")


@pytest.fixture(scope="module")
def indexed(nano: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexed") / "folder"
    for name, line in LINES.items():
        make_pdf(folder / name, line)
    make_image(folder / "red.png", "red")
    make_image(folder / "blue.png", "blue")
    (folder / "notes.md").write_text("The plumber wrote an invoice in May.")
    Library(folder, nano).update()
    return folder


@pytest.fixture
def library(indexed: Path, nano: Embedder, tmp_path: Path) -> Library:
    """A copy, whose files a test may break."""
    return Library(shutil.copytree(indexed, tmp_path / "folder"), nano)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    folder = tiny.write(tmp_path_factory.mktemp("models") / "other")
    return polylens.load(folder, dtype="float32", device="cpu")


@pytest.fixture
def reranker(other: Embedder) -> Noting:
    return Noting(other)


def names(found: Found) -> list[str]:
    return [hit.file for hit in found]


def test_the_first_pages_are_ordered_by_the_reranker(library: Library, reranker: Noting) -> None:
    plain = library.search(QUERY)
    found = library.search(QUERY, rerank=Reranking(reranker, pages=4))
    ranked = reranker.rerank(QUERY, reranker.documents[:4])
    expected = [plain[each.index].file for each in ranked]
    assert names(found) == [*expected, plain[4].file] and expected != names(plain)[:4]
    assert [hit.rerank_score for hit in found[:4]] == pytest.approx([each.score for each in ranked], abs=1e-5)
    assert [hit.score for hit in found[:4]] == [hit.rerank_score for hit in found[:4]]
    assert found[4] == plain[4] and plain[4].rerank_score is None
    by_name = {hit.file: hit for hit in plain}
    assert all(hit.fused_score == by_name[hit.file].fused_score for hit in found)
    assert plain.reranked is None and found.reranked is not None
    assert (found.reranked.model_id, found.reranked.pages, found.reranked.scored) == (reranker.model_id, 4, 4)


def test_a_page_behind_the_top_may_come_in(library: Library, reranker: Noting) -> None:
    [best, *_] = library.search(QUERY, rerank=reranker)
    [alone] = found = library.search(QUERY, 1, rerank=reranker)
    assert alone == best and names(library.search(QUERY, 1)) != [best.file]
    assert found.reranked is not None and found.reranked.scored == 5


def test_pages_are_given_as_images_and_texts(library: Library, reranker: Noting) -> None:
    order = names(library.search(QUERY))
    reranker.max_pixels = 150_000
    library.search(QUERY, rerank=reranker)
    given = dict(zip(order, reranker.documents, strict=True))
    assert given["notes.md"] == "The plumber wrote an invoice in May."
    assert np.array_equal(given["red.png"], library.page("red.png", 1).image)
    sheet = given["harbour.pdf"]
    assert isinstance(sheet, PIL.Image.Image)
    assert 0.75 < sheet.width * sheet.height / reranker.max_pixels <= 1  # drawn for the reranker, not for nano


def test_a_reranker_of_texts_is_given_texts(library: Library, reranker: Noting) -> None:
    reranker.modalities = ("text",)
    found = library.search(QUERY, rerank=reranker)
    assert set(reranker.documents) == {*LINES.values(), "The plumber wrote an invoice in May."}
    assert set(names(found[3:])) == {"red.png", "blue.png"}
    assert [hit.rerank_score is None for hit in found] == [False, False, False, True, True]
    with pytest.raises(InputError, match="the query has an image, and this reranker takes text only"):
        library.search([QUERY, PIL.Image.new("RGB", (9, 9))], rerank=reranker)


def test_pages_whose_files_are_elsewhere_are_scored_by_their_texts(library: Library, reranker: Noting) -> None:
    view = library.view()
    view._folder = None
    found = view.search(QUERY, rerank=reranker)
    assert {hit.file for hit in found if hit.rerank_score is None} == {"red.png", "blue.png"}


@pytest.mark.parametrize(("seconds", "scored"), [(0.5, 1), (1.0, 1), (1.5, 2), (3.0, 3), (100.0, 5), (None, 5)])
def test_no_further_page_is_scored_once_the_time_is_spent(
    library: Library, reranker: Noting, monkeypatch: pytest.MonkeyPatch, seconds: float | None, scored: int
) -> None:
    monkeypatch.setattr("polylens.library.reranking.monotonic", lambda: reranker.now)
    order = names(library.search(QUERY))
    found = library.search(QUERY, rerank=Reranking(reranker, seconds=seconds))
    assert found.reranked is not None
    assert (found.reranked.pages, found.reranked.scored, found.reranked.seconds) == (5, scored, scored)
    assert set(names(found)[:scored]) == set(order[:scored]) and names(found)[scored:] == order[scored:]
    assert [hit.rerank_score is not None for hit in found] == [True] * scored + [False] * (5 - scored)


def test_pages_that_cannot_be_read_stay_behind(library: Library, reranker: Noting) -> None:
    before = {hit.file: hit.rerank_score for hit in library.search(QUERY, rerank=reranker)}
    order = names(library.search(QUERY))
    (library.folder / "red.png").unlink()
    (library.folder / "notes.md").unlink()
    (library.folder / "harbour.pdf").write_bytes(b"%PDF-1.4 nothing")
    lost = {"red.png", "notes.md", "harbour.pdf"}
    found = library.search(QUERY, rerank=reranker)
    assert names(found)[2:] == [file for file in order if file in lost]
    assert {hit.file: hit.rerank_score for hit in found} == {
        file: None if file in lost else pytest.approx(score, abs=1e-5) for file, score in before.items()
    }
    assert found.reranked is not None and (found.reranked.pages, found.reranked.scored) == (5, 2)


def test_a_page_that_the_model_refuses_costs_the_others_nothing(library: Library, reranker: Noting) -> None:
    before = {hit.file: hit.rerank_score for hit in library.search(QUERY, rerank=reranker)}
    make_image(library.folder / "red.png", "red", size=(1500, 3))  # wider than any the model takes
    found = library.search(QUERY, rerank=reranker)
    assert (found[-1].file, found[-1].rerank_score) == ("red.png", None)
    for hit in found[:-1]:
        assert hit.rerank_score == pytest.approx(before[hit.file], abs=1e-5)


def test_by_an_image_and_by_both(library: Library, reranker: Noting) -> None:
    image = PIL.Image.new("RGB", (64, 64), "blue")
    scores = []
    for query in (image, QUERY, [QUERY, polylens.Image(image), " "]):
        found = library.search(query, rerank=reranker)
        scores.append({hit.file: hit.rerank_score for hit in found})
    assert scores[2] == {file: pytest.approx((scores[0][file] + scores[1][file]) / 2, abs=1e-5) for file in scores[0]}
    assert scores[0] != scores[1]


def test_a_model_that_is_trained_to_score(library: Library, tmp_path: Path) -> None:
    scorer = polylens.load_reranker(tiny_m0.write(tmp_path / "m0"), dtype="float32", device="cpu")
    for query in (QUERY, PIL.Image.new("RGB", (64, 64), "blue")):
        found = library.search(query, rerank=scorer)
        scores = [hit.rerank_score for hit in found]
        assert scores == sorted(scores, reverse=True) and len(set(scores)) == 5
        pages = [library.page(hit.file, 1) for hit in found]
        expected = scorer.rerank(query, [page.text if page.image is None else page.image for page in pages])
        assert [each.index for each in expected] == list(range(5))
        assert scores == pytest.approx([each.score for each in expected], abs=1e-5)


def test_nano_after_nano_says_what_late_interaction_said(library: Library, nano: Embedder) -> None:
    """MaxSim of the page's own picture or text, which the index has of both together."""
    found = library.search("plumber invoice", by="late", rerank=VectorReranker(nano))
    [note] = [hit for hit in found if hit.file == "notes.md"]
    assert note.rerank_score == pytest.approx(note.late_score, abs=2e-2)  # half precision in the index


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"pages": 0}, "pages to rerank must be a whole number above 0, got 0"),
        ({"pages": 2.5}, "got 2.5"),
        ({"seconds": 0}, "seconds to rerank must be above 0, got 0"),
        ({"seconds": float("nan")}, "got nan"),
    ],
)
def test_limits_that_make_no_sense(reranker: Noting, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Reranking(reranker, **fields)
