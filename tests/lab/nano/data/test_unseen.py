"""What training never shows: queries of held-out words that stand in what they are taken from."""

from __future__ import annotations

import itertools
import random

import pytest

from polylens.errors import InputError
from polylens.lab.nano.data.examples import transcript, written
from polylens.lab.nano.data.grounding import bare
from polylens.lab.nano.data.unseen import CROP_SIDE, WORDS, crops, with_queries
from polylens.lab.synthetic.lexicon import is_held_out, sample_text
from polylens.lab.synthetic.rendered import Rendered


def draw(rng: random.Random, language: str) -> Rendered:
    return written(sample_text(rng, language, "held_out", 30), language)


def test_queries_are_neighbouring_held_out_words_of_what_they_are_taken_from() -> None:
    drawn = list(itertools.islice(with_queries(draw, ["en", "de"], seed=1), 8))
    assert [text.language for text, _ in drawn] == ["en", "de"] * 4
    for text, query in drawn:
        words = [bare(word.text).casefold() for word in text.words]
        asked = query.casefold().split(" ")
        assert WORDS[0] <= len(asked) <= WORDS[1]
        assert any(words[i : i + len(asked)] == asked for i in range(len(words)))
        assert all(is_held_out(word) for word in asked)


def test_a_stream_is_decided_by_its_seed() -> None:
    def first(seed: int) -> list[tuple[str, str]]:
        stream = itertools.islice(with_queries(draw, ["en"], seed), 3)
        return [(transcript(text), query) for text, query in stream]

    assert first(1) == first(1) != first(2)


def test_crops_are_squares_that_say_what_is_asked_for() -> None:
    try:
        found = list(itertools.islice(crops(["en", "el"], seed=2), 4))
    except InputError as error:
        pytest.skip(str(error))
    for crop in found:
        assert crop.image.shape == (CROP_SIDE, CROP_SIDE, 3)
        assert all(word.casefold() in crop.text.casefold() for word in crop.query.split())
