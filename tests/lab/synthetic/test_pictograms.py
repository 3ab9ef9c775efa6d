"""Pictograms: their names, their split, and where they stand on a picture."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from polylens.errors import InputError
from polylens.lab.corpora.split import Split
from polylens.lab.synthetic import fonts, pictograms
from polylens.lab.synthetic.lexicon import is_held_out
from polylens.lab.synthetic.names import Name, spell
from polylens.lab.synthetic.pictograms import Pictogram, flags, picture, things

GERMANY = "\N{REGIONAL INDICATOR SYMBOL LETTER D}\N{REGIONAL INDICATOR SYMBOL LETTER E}"


@pytest.fixture
def font() -> None:
    if not pictograms.can_be_drawn():
        pytest.skip(f"no font for pictograms: apt-get install {pictograms.PACKAGE}")


@pytest.mark.usefixtures("font")
class TestNames:
    def test_things_are_called_as_unicode_calls_them(self) -> None:
        every = {each.characters: each.names for split in ("train", "held_out") for each in of("things", split)}
        assert every["\N{RED APPLE}"] == {"en": "red apple"}
        assert every["\N{POLICE CAR}"] == {"en": "police car"}
        assert len(every) > 800
        assert not set("#*0123456789\u200d\N{BLACK SUN WITH RAYS}\N{SQUARED OK}") & every.keys()

    def test_flags_are_called_like_their_countries(self) -> None:
        told = [
            each.names for split in ("train", "held_out") for each in of("flags", split) if each.characters == GERMANY
        ]
        assert {language: name for names in told for language, name in names.items()}.items() >= {
            ("en", "Germany"),
            ("de", "Deutschland"),
            ("el", "Γερμανία"),
            ("ja", "ドイツ"),
        }
        for each in flags("train"):
            code = "".join(
                chr(ord("A") + ord(c) - ord("\N{REGIONAL INDICATOR SYMBOL LETTER A}")) for c in each.characters
            )
            assert all(spell(Name("territory", code), language) == name for language, name in each.names.items())

    def test_splits_share_no_word_of_a_thing(self) -> None:
        words = {word for each in things("train") for word in re.split("[ -]", each.names["en"])}
        assert words and not any(map(is_held_out, words))
        assert all(any(map(is_held_out, re.split("[ -]", each.names["en"]))) for each in things("held_out"))

    def test_splits_share_no_name_of_a_flag(self) -> None:
        train, held_out = (
            {(each.characters, language) for each in flags(split) for language in each.names}
            for split in ("train", "held_out")
        )
        assert len(train) > 1000 and len(held_out) > 100 and not train & held_out


@pytest.mark.usefixtures("font")
class TestPictures:
    def test_a_seed_decides(self) -> None:
        drawn = things("train")[:3]
        one, two, other = (picture(random.Random(seed), drawn, width=300, height=100) for seed in (1, 1, 2))
        assert one.shape == (100, 300, 3) and one.dtype == np.uint8
        assert np.array_equal(one, two) and not np.array_equal(one, other)

    @pytest.mark.parametrize("count", [1, 2, 3, 4])
    def test_each_stands_in_its_own_part(self, count: int) -> None:
        for seed in range(20):
            drawn = random.Random(seed).sample(things("train"), count)
            image = picture(random.Random(seed), drawn, width=336, height=168).astype(int)
            ink = (np.abs(image - image[0, 0]).max(axis=2) > 40).sum(axis=0)
            parts = np.array_split(ink, count)
            assert all(part.sum() > 100 for part in parts)  # pixels
            assert ink[:1].sum() + ink[-1:].sum() < 60  # whole: none runs out of the picture

    def test_a_flag_has_its_colours(self) -> None:
        flag = next(
            each for split in ("train", "held_out") for each in of("flags", split) if each.characters == GERMANY
        )
        image = picture(random.Random(0), [flag], width=200, height=200)
        rows = {}
        for name, near in {"black": (0, 0, 0), "red": (221, 0, 0), "gold": (255, 206, 0)}.items():
            found = np.abs(image.astype(int) - near).max(axis=2) < 60
            assert found.sum() > 500, name
            rows[name] = np.nonzero(found)[0].mean()
        assert rows["black"] < rows["red"] < rows["gold"]


def test_without_the_font_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_all_files", lambda: ())
    assert not pictograms.can_be_drawn()
    things.cache_clear()
    with pytest.raises(InputError, match="apt-get install fonts-noto-color-emoji"):
        things("train")


def of(kind: str, split: str) -> tuple[Pictogram, ...]:
    chosen: Split = "train" if split == "train" else "held_out"
    return things(chosen) if kind == "things" else flags(chosen)
