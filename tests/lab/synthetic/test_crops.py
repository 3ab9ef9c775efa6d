"""Pictures of text: a seed decides, boxes lie on ink, splits share no family of fonts."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image
from tests.support.drawing import need_fonts

from polylens.errors import InputError
from polylens.lab.synthetic import crops as render
from polylens.lab.synthetic import fonts
from polylens.lab.synthetic.lexicon import LANGUAGES, is_held_out
from polylens.lab.synthetic.rendered import Rendered

SCRIPTS = {script: language for language, script in reversed(LANGUAGES.items())}


@pytest.mark.parametrize("language", LANGUAGES)
def test_splits_share_no_family(language: str) -> None:
    need_fonts(language, "train")
    need_fonts(language, "held_out")
    train = {face.family for face in fonts.faces(language, "train")}
    held_out = {face.family for face in fonts.faces(language, "held_out")}
    assert train and held_out and not train & held_out


def test_the_families_of_the_splits_are_all_families() -> None:
    assert fonts.families("train") | fonts.families("held_out") == fonts.FAMILIES.keys()
    assert not fonts.families("train") & fonts.families("held_out")
    assert fonts.FAMILIES.keys() >= fonts.HELD_OUT_FAMILIES


@pytest.mark.parametrize("language", SCRIPTS.values())
def test_a_seed_decides_the_picture(language: str) -> None:
    need_fonts(language)
    one, two = (
        render.render_crop(random.Random(5), width=120, height=90, split="train", language=language) for _ in range(2)
    )
    assert one.image.shape == (90, 120, 3) and one.image.dtype == np.uint8
    assert np.array_equal(one.image, two.image) and one.words == two.words
    other = render.render_crop(random.Random(6), width=120, height=90, split="train", language=language)
    assert not np.array_equal(one.image, other.image)


@pytest.mark.parametrize("language", SCRIPTS.values())
def test_boxes_lie_on_ink(language: str) -> None:
    """Within a box the picture varies; where the page is empty it varies far less."""
    need_fonts(language)
    inside, margins = [], []
    for seed in range(6):
        page = render.render_page(random.Random(seed), width=480, height=600, split="train", language=language)
        grey = page.image.mean(axis=2)
        assert page.words
        for word in page.words:
            assert 0 <= word.left < word.right <= 480 and 0 <= word.top < word.bottom <= 600
            box = grey[round(word.top) : round(word.bottom), round(word.left) : round(word.right) or 1]
            inside.append(box.std())
        margins.append(grey[:, :18].std(axis=0).mean())
    assert np.percentile(inside, 2) > 1.5 * np.mean(margins)
    assert np.median(inside) > 20


def test_a_scan_lies_askew_as_it_says() -> None:
    """Against Pillow: a dot that is turned with the picture comes out where `tilted` says, and `upright` leads back."""
    for degrees in (-2.2, 0.0, 1.7):
        sheet = np.zeros((120, 200), dtype=np.uint8)
        sheet[24:27, 159:162] = 255
        turned = np.asarray(Image.fromarray(sheet).rotate(degrees, Image.Resampling.BICUBIC), dtype=float)
        down, across = np.indices(turned.shape) + 0.5
        found = (turned * across).sum() / turned.sum(), (turned * down).sum() / turned.sum()
        drawn = Rendered(np.zeros((120, 200, 3), dtype=np.uint8), [], "en", degrees)
        assert drawn.tilted(160.5, 25.5) == pytest.approx(found, abs=0.1)
        assert drawn.upright(*drawn.tilted(160.5, 25.5)) == pytest.approx((160.5, 25.5))


def test_words_of_a_scan_lie_on_ink() -> None:
    """Each word that moved by a third of a line has more ink where it went than where it was."""
    need_fonts("en")
    more = []
    for seed in range(12):
        rng = random.Random(seed)
        page = render.render_page(rng, width=700, height=900, split="train", language="en", font_size=20, scan=True)
        assert 0.3 <= abs(page.tilt) <= 2.2
        grey = page.image.mean(axis=2)
        for word in page.words:
            before = (word.left + word.right) / 2, (word.top + word.bottom) / 2
            there = page.tilted(*before)
            if abs(there[1] - before[1]) > 7:
                ink = [
                    grey[round(y) - 5 : round(y) + 5, round(x) - 12 : round(x) + 12].std() for x, y in (there, before)
                ]
                more.append(ink[0] > ink[1])
    assert len(more) > 50 and np.mean(more) > 0.9


@pytest.mark.parametrize("language", ["he", "ar", "en"])
def test_words_follow_one_another_in_the_direction_of_the_script(language: str) -> None:
    need_fonts(language)
    page = render.render_page(random.Random(2), width=480, height=600, split="train", language=language)
    steps = [
        b.left - a.left
        for a, b in zip(page.words, page.words[1:], strict=False)
        if a.top == b.top and a.bottom == b.bottom
    ]
    rtl = language != "en"
    assert all(word.rtl is rtl for word in page.words)
    assert sum((step < 0) is rtl for step in steps) > 0.95 * len(steps)


@pytest.mark.parametrize("language", ["en", "zh", "ar"])
def test_held_out_pictures_hold_held_out_words(language: str) -> None:
    need_fonts(language, "held_out")
    page = render.render_page(random.Random(4), width=480, height=600, split="held_out", language=language)
    lettered = [word.text for word in page.words if not any(c.isdigit() for c in word.text)]
    assert len(lettered) > 30 and all(map(is_held_out, lettered))


def test_words_cut_by_the_edge_are_not_told() -> None:
    need_fonts("en")
    for seed in range(40):
        crop = render.render_crop(random.Random(seed), width=100, height=60, split="train", language="en", font_size=20)
        assert all(word.bottom - word.top > 8 for word in crop.words)


def test_a_size_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1 pixel"):
        render.render_crop(random.Random(0), width=0, height=5, split="train")
    with pytest.raises(InputError, match="font_size"):
        render.render_crop(random.Random(0), width=9, height=9, split="train", font_size=1)


def test_missing_fonts_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_all_files", lambda: ())
    fonts.faces.cache_clear()
    with pytest.raises(InputError, match="apt-get install fonts-noto-core"):
        fonts.faces("fi", "train")
    fonts.faces.cache_clear()
