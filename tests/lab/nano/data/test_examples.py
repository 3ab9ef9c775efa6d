"""What a batch says about its pictures, against the fonts and against a loop over points."""

from __future__ import annotations

import cmath
import math
import random
import unicodedata

import numpy as np
import pytest
from tests.support.drawing import need_fonts

import polylens
from polylens.lab.nano.data.examples import pick_query
from polylens.lab.nano.data.grounding import READING_POINTS, letter_grid, letters
from polylens.lab.nano.kits.table import kit_of
from polylens.lab.nano.nano_recipe import nano
from polylens.lab.synthetic import fonts
from polylens.lab.synthetic.crops import render_crop
from polylens.lab.synthetic.lexicon import sample_text
from polylens.lab.synthetic.rendered import Rendered
from polylens.models.jina_v4.processing import JinaV4Processor


def crop(language: str, seed: int = 3, *, dense: bool = True, scan: bool = False) -> Rendered:
    need_fonts(language)
    return render_crop(
        random.Random(seed),
        width=224,
        height=168,
        split="train",
        language=language,
        font_size=20,
        dense=dense,
        scan=scan,
    )


@pytest.mark.parametrize("language", ["en", "ru", "he", "ar", "hi", "th"])
@pytest.mark.parametrize("dense", [True, False])
def test_letters_stand_between_the_edges_of_their_word(language: str, dense: bool) -> None:
    drawn = crop(language, dense=dense)
    assert drawn.words
    for word in drawn.words:
        assert len(word.edges) == len(word.text) + 1
        steps = [(a - b if word.rtl else b - a) for a, b in zip(word.edges, word.edges[1:], strict=False)]
        assert min(steps) >= 0
        if language not in ("hi", "th"):  # whose letters may share their room
            signs = [unicodedata.category(letter) == "Mn" for letter in word.text]  # which take none
            assert all(step > 0 or sign for step, sign in zip(steps, signs, strict=True))
        near, far = (word.right, word.left) if word.rtl else (word.left, word.right)
        inside = min(word.edges) >= 0 and max(word.edges) <= 224
        if inside:  # the others are clipped, their letters are not
            assert word.edges[0] == pytest.approx(near) and word.edges[-1] == pytest.approx(far)


def test_edges_are_where_the_font_puts_the_letters() -> None:
    """Against the length of each beginning of a word as FreeType lays it out, kerning included."""
    crop("en")
    for face in fonts.faces("en", "train")[::5]:
        font = fonts.sized(face, 20.0)
        text = "Willimantic"
        laid_out = [font.font.getlength(text[:count]) for count in range(len(text) + 1)]
        assert np.abs(np.array(font.edges(text)) - laid_out).max() < 1.0
        if "Mono" not in face.family:
            assert font.edges("Wi")[1] > 2 * (font.edges("Wi")[2] - font.edges("Wi")[1])  # no two letters alike


@pytest.mark.parametrize("language", ["th", "hi"])
def test_a_sign_above_or_below_a_letter_takes_no_room_of_its_own(language: str) -> None:
    """Against Unicode, which says what stands on other letters (Mn), and in Thai what stands alone (Lo)."""
    crop(language)
    signs, alone = [], []
    for face in fonts.faces(language, "train"):
        font = fonts.sized(face, 20.0)
        for word in sample_text(random.Random(1), language, "train", 60):
            edges = font.edges(word)
            assert edges[-1] == pytest.approx(font.font.getlength(word))
            for letter, near, far in zip(word, edges, edges[1:], strict=False):
                (signs if unicodedata.category(letter) == "Mn" else alone).append(far - near)
    assert len(signs) > 50 and np.mean(np.array(signs) < 2) > 0.9
    if language == "th":
        assert np.mean(np.array(alone) > 5) > 0.95


def test_joined_letters_have_the_width_that_they_have_within_a_word() -> None:
    """Arabic: were each measured as the last of a word, where it ends in a flourish, others would be left no room."""
    crop("ar")
    widths = []
    for face in fonts.faces("ar", "train"):
        font = fonts.sized(face, 20.0)
        for word in sample_text(random.Random(1), "ar", "train", 60):
            edges = font.edges(word)
            pairs = zip(word, edges, edges[1:], strict=False)
            widths += [far - near for letter, near, far in pairs if unicodedata.category(letter) == "Lo"]
    assert len(widths) > 500 and np.mean(np.array(widths) > 2) > 0.99


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("language", ["en", "el", "he"])
def test_letter_grid_equals_a_loop_over_points(language: str, scan: bool) -> None:
    drawn = crop(language, scan=scan)
    assert bool(drawn.tilt) == scan
    turn = cmath.exp(1j * math.radians(drawn.tilt))
    patch, merge = 14, 2
    rows, columns = 168 // patch, 224 // patch
    slow = np.zeros((rows, columns, READING_POINTS), dtype=int)
    for row in range(rows):
        for column in range(columns):
            for point in range(READING_POINTS):
                x, y = (column + (point + 0.5) / READING_POINTS) * patch, (row + 0.5) * patch
                upright = (x - 112 + 1j * (y - 84)) * turn  # the vertical axis points down, so this is clockwise
                x, y = upright.real + 112, upright.imag + 84
                for word in drawn.words:
                    for letter, one, other in zip(word.text, word.edges, word.edges[1:], strict=False):
                        low, high = min(one, other), max(one, other)
                        if low <= x < high and word.top <= y < word.bottom:
                            slow[row, column, point] = letters().get(letter.lower(), -1) + 1
    order = [
        (row + down, column + right)
        for row in range(0, rows, merge)
        for column in range(0, columns, merge)
        for down in range(merge)
        for right in range(merge)
    ]
    fast = letter_grid(drawn, patch, merge)
    assert (fast > 0).mean() > 0.2
    assert fast.tolist() == [slow[place].tolist() for place in order]


@pytest.mark.parametrize("language", ["en", "ru", "hi", "he", "ar"])
def test_a_token_is_grounded_where_its_letters_are_and_from_right_to_left_in_its_word(language: str) -> None:
    processor = polylens.load("nano").processor
    assert isinstance(processor, JinaV4Processor)
    side = processor.image_config.factor
    drawn = crop(language, dense=False)
    query = pick_query(random.Random(1), drawn, words=(3, 3))
    assert query is not None
    item = processor.text(query.text, task=None, prompt_name="query", max_length=None)
    here, same = kit_of(nano()).ground([query], [drawn], [0], processor, "query")
    assert len(here) == len(same) == item.num_tokens
    columns = drawn.image.shape[1] // side
    prefix = "Query: "
    spans = processor.tokenizer.encode(prefix + query.text).offsets
    seen = 0
    for row, (start, stop) in enumerate((start - len(prefix), stop - len(prefix)) for start, stop in spans):
        wanted: set[int] = set()
        for begin, end, index in query.spans:
            word = drawn.words[index]
            skipped = word.text.casefold().index(query.text[begin:end].casefold())
            for letter in range(max(start, begin), min(stop, end)):
                edges = word.edges[letter - begin + skipped : letter - begin + skipped + 2]
                left, right = (word.left, word.right) if word.rtl else edges
                for y in np.arange(word.top, word.bottom, 0.25):
                    for x in np.arange(left, right - 0.01, 0.25):
                        wanted.add(int(y // side) * columns + min(max(0, int(x // side)), columns - 1))
        found = set(here[row].nonzero().flatten().tolist())
        assert found <= wanted and bool(found) == bool(wanted)
        assert {cell % columns for cell in found} == {cell % columns for cell in wanted}
        assert bool((same[row] | ~here[row]).all())
        seen += bool(found)
    assert seen >= 3
