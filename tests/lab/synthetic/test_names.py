"""Names of CLDR: the same thing in every language, split by the words they are written with."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from babel import Locale

from polylens.lab.synthetic.lexicon import is_held_out
from polylens.lab.synthetic.names import LONGEST, Name, names, spell, spellings
from polylens.lab.synthetic.templates import TEMPLATE_LANGUAGES
from polylens.lab.synthetic.vocabulary import FIELDS, GOODS, MEASURES, ROLES, of_split


@pytest.mark.parametrize("language", ["en", "de", "el", "ar", "hi", "zh"])
def test_names_are_those_that_babel_gives(language: str) -> None:
    locale = Locale.parse(language)
    assert all(locale.territories[code] == text for code, text in spellings("territory", language).items())
    assert all(locale.languages[code] == text for code, text in spellings("language", language).items())
    assert all(len(text) <= LONGEST for text in spellings("city", language).values())


@pytest.mark.parametrize("language", TEMPLATE_LANGUAGES)
def test_splits_share_no_word_and_both_have_enough_to_fill_a_page(language: str) -> None:
    for kind in ("territory", "language", "city"):
        train, held_out = names(kind, language, "train"), names(kind, language, "held_out")
        assert not set(train) & set(held_out)
    assert max(len(names(kind, language, "held_out")) for kind in ("territory", "language")) >= 38
    spaced = [spell(name, language) or "" for name in names("territory", language, "held_out")]
    if language not in ("zh", "ja", "th", "hi"):  # the lexicon cuts the first three; words of Hindi hold signs
        assert all(is_held_out(word) for text in spaced for word in re.split("[ '’-]", text))


@pytest.mark.parametrize("language", ["de", "uk", "hi"])
def test_months_are_those_that_babel_gives_and_reading_them_changes_nothing(language: str) -> None:
    """Babel keeps what an alias led to; words must not depend on what was read before them."""
    code = (
        "from polylens.lab.synthetic.lexicon import words; from polylens.lab.synthetic.names import spellings;"
        "from babel import Locale;"
        f"before = words({language!r}, 'train'); words.cache_clear(); months = spellings('month', {language!r});"
        f"assert before == words({language!r}, 'train');"
        f"theirs = Locale.parse({language!r}).months['stand-alone']['wide'];"
        "assert all(theirs[int(number)] == text for number, text in months.items()), months"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_name_that_is_spelled_alike_is_no_translation() -> None:
    both = names("language", "en", "held_out", also="de")
    assert both and all(spell(name, "en") != spell(name, "de") for name in both)
    assert spell(Name("territory", "US"), "en") == "United States"
    assert spell(Name("territory", "nowhere"), "en") is None


def test_english_words_are_split_and_every_role_has_one_in_both() -> None:
    for words in (MEASURES, GOODS, FIELDS):
        assert len(set(words)) == len(words)
        assert not set(of_split(words, "train")) & set(of_split(words, "held_out"))
        assert len(of_split(words, "held_out")) > 20
    assert all(of_split(words, split) for words in ROLES.values() for split in ("train", "held_out"))
