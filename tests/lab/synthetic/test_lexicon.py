"""Words: which are held out, what is made up, and that a seed decides."""

from __future__ import annotations

import random

import pytest

from polylens.errors import InputError
from polylens.lab.synthetic.lexicon import LANGUAGES, PseudoWords, is_held_out, sample_text, words

SOME = ["en", "de", "ru", "el", "he", "ar", "hi", "th", "zh", "ja", "ko"]


def test_one_word_in_six_is_held_out_whatever_its_dress() -> None:
    every = words("en", "train") + words("en", "held_out")
    share = sum(map(is_held_out, every)) / len(every)
    assert 0.13 < share < 0.21
    assert all(is_held_out(w) == is_held_out(f"({w.upper()}),") for w in every[:500] if w.upper().lower() == w.lower())


def test_no_word_is_in_both_splits_of_any_language() -> None:
    train = {word.casefold() for language in LANGUAGES for word in words(language, "train")}
    held_out = {word.casefold() for language in LANGUAGES for word in words(language, "held_out")}
    assert not train & held_out


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_words(language: str) -> None:
    assert len(words(language, "train")) > 1000
    assert len(words(language, "held_out")) > 200


@pytest.mark.parametrize("language", SOME)
def test_made_up_words_are_many_and_never_held_out(language: str) -> None:
    pseudo, rng = PseudoWords(language), random.Random(1)
    drawn = [pseudo.draw(rng) for _ in range(300)]
    assert not any(map(is_held_out, drawn))
    assert len(set(drawn)) > 150


@pytest.mark.parametrize("language", SOME)
def test_a_seed_decides_the_text_and_the_split_its_words(language: str) -> None:
    train, again = (sample_text(random.Random(3), language, "train", 200) for _ in range(2))
    assert train == again
    held_out = sample_text(random.Random(3), language, "held_out", 200)

    def lettered(text: list[str]) -> list[str]:
        return [word for word in text if not any(c.isdigit() for c in word)]

    assert not any(is_held_out(word) for word in lettered(train))
    assert all(is_held_out(word) for word in lettered(held_out))
    assert len(lettered(train)) < len(train)


def test_an_unknown_language_is_named_in_the_error() -> None:
    with pytest.raises(InputError, match="'tlh'"):
        words("tlh", "train")
    with pytest.raises(InputError, match="held_out"):
        words("en", "test")  # type: ignore[arg-type]
