"""The places of a query's words on a page whose words stand where the test puts them; and the peaks of a map."""

from __future__ import annotations

import numpy as np
import pytest

from polylens.index.ranking.looks import Looks, heat, look_places, peaks
from polylens.index.ranking.places import MAX_PLACES, Place, word_places
from polylens.index.ranking.snippets import matches
from polylens.index.ranking.word_boxes import WordBoxes, pack, unpack
from polylens.types import Box, Word

LINE, LETTER = 0.02, 0.01  # shares of a side: every letter is as wide as the others, lines have a gap between them


def page(*lines: str) -> tuple[str, WordBoxes]:
    """A text of these lines, and its words; line n stands at 0.04 n from the top and 0.1 from the left."""
    words, text = [], "\n".join(lines)
    for number, line in enumerate(lines):
        at = 0
        for word in line.split():
            at = line.index(word, at)
            words.append(Word(word, Box(0.1 + LETTER * at, 0.04 * number, LETTER * len(word), LINE)))
            at += len(word)
    boxes = unpack(pack(text, words, (1_000, 1_000)))
    assert boxes is not None
    return text, boxes


def found(query: str, *lines: str) -> list[tuple[str | None, int, float, float]]:
    """Text, line, and the first and the last letter of each place, counted from the line's beginning."""
    places = word_places(*page(*lines), query)
    return [
        (
            place.text,
            round(place.box.top / 0.04),
            round((place.box.left - 0.1) / LETTER, 1),
            round((place.box.left + place.box.width - 0.1) / LETTER, 1),
        )
        for place in places
    ]


def test_words_are_where_they_stand() -> None:
    assert found("invoice", "dear harbour", "the Invoice, paid") == [("Invoice", 1, 4, 12)]
    assert found("zebra", "dear harbour") == [] and found("", "dear harbour") == []


def test_capitals_and_accents_do_not_count_and_other_words_do_not_match() -> None:
    assert found("strasse uberweisung", "eine Überweisung, Straße 9") == [("Überweisung, Straße", 0, 5, 24)]
    assert found("mast", "the masthead, a mast") == [("mast", 0, 16, 20)]
    assert found("invoice", "no invoices yet") == [("invoices", 0, 3, 11)]
    assert found("invoise", "no invoice yet") == [("invoice", 0, 3, 10)]
    assert [term for _, _, term in matches("no invoice yet", "invoise")[0]] == ["invoice"]


def test_words_next_to_each_other_on_a_line_are_one_place() -> None:
    lines = ("the invoice for the new mast", "stands here; and a mast far away from any invoice")
    assert found("invoice for the new mast", *lines)[0] == ("invoice for the new mast", 0, 4, 28)
    assert ("mast", 1, 19, 23) in found("invoice for the new mast", *lines)
    assert found("harbour master", "ask the harbour", "master today") == [("harbour", 0, 8, 15), ("master", 1, 0, 6)]


def test_the_best_passage_comes_first() -> None:
    filler = ["nothing of the kind is said on this line"] * 8
    lines = ("a winch", *filler, "the anchor and its", "chain on the winch", *filler, "anchor")
    places = found("anchor chain winch", *lines)
    assert {place[1] for place in places[:2]} == {9, 10}
    assert {place[1] for place in places[2:]} == {0, 19}


def test_slight_words_are_no_place() -> None:
    assert found("the invoice at night", "at the pier the dog", "an invoice") == [("invoice", 1, 3, 10)]
    assert found("lighthouse at night", "at noon at the pier") == []
    assert found("to be or not to be", "to be is to do")[0][0] == "to be is to"
    assert found("invoice 7", "row 7") == [("7", 0, 4, 5)]


def test_a_script_without_spaces_takes_its_share_of_the_line() -> None:
    assert found("发票", "这是水管工的发票在五月") == [("发票", 0, 6, 8)]


def test_a_line_that_ocr_read_as_one_word_and_one_that_runs_to_the_left() -> None:
    for text, query, left, right in (
        ("an old invoice", "invoice", 0.5, 1.0),
        ("חשבונית ישנה מאוד", "חשבונית", 10 / 17, 1.0),
    ):
        boxes = unpack(pack(text, [Word(text, Box(0.0, 0.5, 1.0, 0.1))], (100, 100)))
        assert boxes is not None
        [place] = word_places(text, boxes, query)
        assert place.text == query
        assert (place.box.left, place.box.left + place.box.width) == pytest.approx((left, right), abs=1e-3)


def test_a_word_broken_at_a_lines_end_is_two_places() -> None:
    parts = [Word("light", Box(0.8, 0.1, 0.1, 0.02)), Word("house,", Box(0.1, 0.14, 0.1, 0.02))]
    boxes = unpack(pack("old lighthouse, stood", parts, (100, 100)))
    assert boxes is not None
    places = word_places("old lighthouse, stood", boxes, "lighthouse")
    assert [place.text for place in places] == ["light", "house"]
    assert [place.box.top for place in places] == pytest.approx([0.1, 0.14], abs=1e-4)


def test_at_most_sixteen() -> None:
    assert len(found("invoice", *["an invoice"] * 40)) == MAX_PLACES


class TestPeaks:
    def test_the_highest_first_and_what_hangs_together_is_one(self) -> None:
        warmth = np.full((10, 20), 0.1, np.float32)
        warmth[2, 3:6] = 0.9
        warmth[7, 10] = 1.0
        warmth[9, 19] = 0.5
        assert peaks(warmth) == (
            Place(Box(10 / 20, 0.7, 1 / 20, 0.1), None),
            Place(Box(3 / 20, 0.2, 3 / 20, pytest.approx(0.1)), None),
        )

    def test_an_even_map_is_a_small_place_and_none_is_none(self) -> None:
        [place] = peaks(np.ones((9, 9), np.float32))
        assert place.box.width <= 3 / 9 and place.box.height <= 3 / 9
        assert peaks(np.zeros((3, 3), np.float32)) == ()

    def test_the_peak_is_the_square_most_like_the_query(self) -> None:
        """Against a slow loop over all squares and words."""
        rng = np.random.default_rng(0)
        vectors, query = rng.standard_normal((3 + 6 * 4 + 5, 16)), rng.standard_normal((3, 16))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        query /= np.linalg.norm(query, axis=1, keepdims=True)

        class Grid:
            rows, columns, tokens = 6, 4, np.arange(3, 27)

        looks = Looks(query.astype(np.float32), lambda *_: Grid())
        places = look_places(looks, (40, 60), vectors.astype(np.float16))
        best = max(range(24), key=lambda square: max(float(vectors[3 + square] @ word) for word in query))
        row, column = divmod(best, 4)
        box = places[0].box
        assert box.top <= row / 6 < box.top + box.height and box.left <= column / 4 < box.left + box.width
        assert look_places(looks, (40, 60), vectors[:20].astype(np.float16)) == ()  # pooled: no grid any more

    def test_heat(self) -> None:
        likeness = np.array([[0.5, -0.2, 0.1], [0.2, -0.1, 0.4]], np.float32)
        assert heat(likeness, 0.5).tolist() == pytest.approx([1.0, 0.0, 0.8])
