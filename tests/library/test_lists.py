"""Lists of results: a piece of them, good ones only, one per file; and queries of words and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.support.fakes import FakeEmbedder

from polylens.errors import InputError
from polylens.library.library import Library
from polylens.library.page_embedding import calibration_of, join, join_alike
from polylens.types import Embedding


@pytest.fixture
def library(tmp_path: Path) -> Library:
    for name in "abc":
        passages = [f"{name}{number} of the harbour " + "and so on " * 140 for number in range(5)]
        (tmp_path / f"{name}.txt").write_text("\n\n".join(passages))
    library = Library(tmp_path, FakeEmbedder())
    assert library.update().pages == 15
    return library


def places(hits: Any) -> list[tuple[str, int]]:
    return [(hit.file, hit.page) for hit in hits]


class TestPieces:
    @pytest.mark.parametrize("by", ["fused", "late", "dense", "text"])
    def test_they_make_up_the_whole(self, library: Library, by: Any) -> None:
        whole = library.search("b3 harbour", 99, by=by)
        assert whole.total == len(whole) == 15 and whole[0].file == "b.txt" and whole.next(0) is None
        pieces, offset = [], 0
        while offset is not None:
            piece = library.search("b3 harbour", 4, by=by, offset=offset)
            pieces, offset = [*pieces, *piece], piece.next(offset)
        assert places(pieces) == places(whole)
        assert [hit.match for hit in pieces] == [hit.match for hit in whole]

    def test_of_pages_like_another(self, library: Library) -> None:
        whole = library.like("a.txt", 2, 99)
        assert whole.total == len(whole) == 14 and ("a.txt", 2) not in places(whole)
        second = library.like("a.txt", 2, 5, offset=5)
        assert places(second) == places(whole)[5:10] and second.next(5) == 10

    def test_beyond_the_end(self, library: Library) -> None:
        beyond = library.search("harbour", offset=99)
        assert (
            beyond == [] and library.why_nothing(found=beyond) == "the list ends before this offset, after 15 results"
        )

    def test_what_cannot_be(self, library: Library) -> None:
        with pytest.raises(InputError, match="offset must be"):
            library.search("harbour", offset=-1)
        with pytest.raises(InputError, match="min_score must be between 0 and 1, got 2"):
            library.like("a.txt", 1, min_score=2)
        with pytest.raises(InputError, match="grouped by 'file'"):
            library.search("harbour", group="folder")  # type: ignore[arg-type]


class TestGood:
    def test_a_page_that_is_wanted_and_others(self, library: Library) -> None:
        hits = library.search("b3", 99)
        assert places(hits)[0] == ("b.txt", 4) and hits[0].match > 0.5 > hits[1].match
        good = library.search("b3", 99, min_score=0.5)
        assert places(good) == [("b.txt", 4)] and good.total == 1

    def test_nothing_fits_well(self, library: Library) -> None:
        hits = library.search("a zebra crossing", 99)
        best = max(hit.match for hit in hits)
        none = library.search("a zebra crossing", min_score=best + 0.01)
        assert none == [] and none.best == pytest.approx(best) and none.num_pages == 15
        said = f"nothing fits well: the best of 15 pages has a match of {best:.2f}"
        assert library.why_nothing(found=none) == said

    def test_a_model_may_have_curves_of_its_own(self, library: Library) -> None:
        class Calibrated(FakeEmbedder):
            calibration: Mapping[str, Any] = {
                "curves": {
                    "words": {"fused": {"bias": -2.0, "weights": {}}},
                    "picture": {"late": {"bias": 2.0, "weights": {}}},
                }
            }

        own = Library(library.folder, Calibrated())
        assert calibration_of(own.embedder) == Calibrated.calibration and calibration_of(library.embedder) is None
        assert {round(hit.match, 3) for hit in own.search("b3", 99)} == {0.119}
        assert {round(hit.match, 3) for hit in own.search(PIL.Image.new("RGB", (9, 9)), 99, by="late")} == {0.881}
        asked = [PIL.Image.new("RGB", (9, 9)), "b3"]
        assert [hit.match for hit in own.search(asked, 99)] == [hit.match for hit in library.search(asked, 99)]


class TestFiles:
    def test_each_has_the_place_of_its_best_page(self, library: Library) -> None:
        pages = library.search("b3 harbour", 99)
        files = library.search("b3 harbour", 99, group="file", min_score=0.0)
        assert [hit.file for hit in files] == list(dict.fromkeys(hit.file for hit in pages)) and files.total == 3
        for hit in files:
            assert hit.others is not None
            assert places([hit, *hit.others]) == [place for place in places(pages) if place[0] == hit.file]
        assert all(hit.others is None for hit in pages)

    def test_pieces(self, library: Library) -> None:
        whole = library.search("harbour", 99, group="file")
        second = library.search("harbour", 2, group="file", offset=2)
        assert places(second) == places(whole)[2:] and second.next(2) is None
        assert library.search("harbour", 2, group="file").next(0) == 2

    def test_of_pages_like_another(self, library: Library) -> None:
        hits = library.like("a.txt", 2, group="file", min_score=0.0)
        assert {hit.file: 1 + len(hit.others) for hit in hits} == {"a.txt": 4, "b.txt": 5, "c.txt": 5}
        assert all("harbour" in other.snippet for hit in hits for other in hit.others)


def quarters(*colours: str) -> PIL.Image.Image:
    picture = PIL.Image.new("RGB", (64, 64))
    for corner, colour in zip(((0, 0), (32, 0), (0, 32), (32, 32)), colours, strict=True):
        picture.paste(colour, (*corner, corner[0] + 32, corner[1] + 32))
    return picture


class TestParts:
    def test_words_and_a_picture_count_alike(self, tmp_path: Path) -> None:
        """Of three pages one has all of the words, one all of the picture, and one most of both, which neither the
        words nor the picture finds first."""
        from reportlab.lib.utils import ImageReader
        from reportlab.pdfgen.canvas import Canvas

        words, colours = "cranes harbour mast sail", ("#ff0000", "#0000ff", "#00ff00", "#ffff00")
        pages = {
            "words.pdf": (("#000000", "#ffffff", "#00ffff", "#ff00ff"), words),
            "picture.pdf": (colours, "nothing of this here"),
            "both.pdf": (("#000000", *colours[1:]), "cranes harbour mast here"),
        }
        for name, (own, text) in pages.items():
            canvas = Canvas(str(tmp_path / name), pagesize=(200, 200))
            canvas.drawImage(ImageReader(quarters(*own)), 0, 0, 200, 200)
            canvas.setFillAlpha(0)
            canvas.drawString(1, 20, text)
            canvas.save()
        library = Library(tmp_path, FakeEmbedder())
        library.update()
        picture = quarters(*colours)
        for by in ("late", "fused"):
            assert library.search(words, by=by)[0].file == "words.pdf"
            assert library.search(picture, by=by)[0].file == "picture.pdf"
            assert library.search([words, picture], by=by)[0].file == "both.pdf"
        apart = [{hit.file: hit.late_score for hit in library.search(part)} for part in (words, picture)]
        for hit in library.search([picture, words, " "]):
            assert hit.late_score == pytest.approx((apart[0][hit.file] + apart[1][hit.file]) / 2, abs=1e-6)

    def test_the_vectors_of_a_part_weigh_as_much_as_those_of_another(self) -> None:
        rng = np.random.default_rng(0)
        parts = [
            Embedding(each[0], each) for each in (np.float32(rng.standard_normal((num, 8))) for num in (2, 5, 300))
        ]
        joined = join_alike(parts)
        page = np.float32(rng.standard_normal((40, 8)))
        apart = [(part.multivector @ page.T).max(axis=1).mean() for part in parts]
        together = (joined.multivector @ page.T).max(axis=1).sum() / joined.num_tokens
        assert together == pytest.approx(np.mean(apart), abs=1e-5)  # float32 sums of 307 numbers near 1
        assert np.array_equal(joined.dense, join(parts).dense)
        assert join_alike(parts[:1]) is parts[0]
