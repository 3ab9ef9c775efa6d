"""Random texts and aligned pairs to teach with, out of all sources that are asked for.

A random generator decides each draw alone. Each of a source's languages is drawn as often as the others. What
evaluation asks is never drawn: the meanings, and what the held-out halves of catalogues, functions and help pages say,
compared without case, digits and punctuation.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from polylens.errors import InputError
from polylens.lab.corpora import catalogues, functions, glosses, help_pages, meanings
from polylens.lab.corpora.frequent_words import words as frequent_words
from polylens.lab.corpora.sources import SOURCES, require
from polylens.lab.corpora.text import SPACELESS, TextPair, joined, key

WORDS_A_RUN = (2, 8)  # fewest and most words of a run
_RUNS = 0.6  # of the draws of frequent words; the others are single words
_EXCHANGED = {"stories": 0.4, "catalogues": 0.3, "wordnet": 0.3}  # share of a source's sentences with other words in it
_EXCHANGED_WORDS = 0.3  # share of the words of such a sentence that give way to frequent ones
_FREQUENT = 6000  # words of a language that take their place
_TRIES = 50  # draws of one source and language, until one is not held out

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Taught:
    """A text to teach."""

    text: str
    language: str
    source: str


@dataclass(frozen=True, slots=True)
class Aligned:
    """An English text and one that says the same, or defines it."""

    english: str
    other: str
    language: str
    """Of the other."""
    source: str


@functools.cache
def held_out_keys() -> frozenset[str]:
    """The keys of everything that evaluation asks or finds."""
    parts = (meanings.held_out_keys, catalogues.held_out_keys, functions.held_out_keys, help_pages.held_out_keys)
    return frozenset().union(*(part() for part in parts))


class _Draws(Generic[Item]):
    """A source by its share, one of its languages, and one of its items.

    Args:
        shares: Source -> how often it is drawn, relative to the others.
        languages: The languages; None is all that a source has here.

    Raises:
        InputError: A source does not exist, is not installed, or has none of the languages.
    """

    def __init__(
        self,
        shares: Mapping[str, float],
        languages: Sequence[str] | None,
        read: Callable[[str, str], Sequence[Item]],
        is_taught: Callable[[Item], bool],
    ) -> None:
        require(list(shares))
        if any(share < 0 for share in shares.values()) or not any(shares.values()):
            raise InputError(f"shares must be at least 0 and not all 0, got {dict(shares)}")
        held_out_keys()
        self._shares = dict(shares)
        self._is_taught = is_taught
        self.items: dict[str, dict[str, Sequence[Item]]] = {}
        for name in self._shares:
            here = [each for each in SOURCES[name].languages() if languages is None or each in languages]
            read_here = {language: read(name, language) for language in here}
            self.items[name] = {language: items for language, items in read_here.items() if any(map(is_taught, items))}
            if not self.items[name]:
                raise InputError(f"the source {name} has nothing of this kind in the languages that are asked for")

    def draw(self, rng: random.Random) -> tuple[str, str, Item]:
        """A source, a language, and an item of them that is not held out."""
        name = rng.choices(list(self._shares), list(self._shares.values()))[0]
        language = rng.choice(list(self.items[name]))
        items = self.items[name][language]
        for _ in range(_TRIES):
            drawn = rng.choice(items)
            if self._is_taught(drawn):
                return name, language, drawn
        return name, language, next(filter(self._is_taught, items))


class TextDraws:
    """Draws texts; arguments and errors are those of `_Draws`.

    Frequent words come singly and in random runs, and some sentences have frequent words in the place of their own: a
    teacher has a vector for any run of words, and everyday words are rare in what programs say.
    """

    def __init__(self, shares: Mapping[str, float], languages: Sequence[str] | None = None) -> None:
        self._draws = _Draws(shares, languages, _texts_of, _is_taught)

    def __call__(self, rng: random.Random) -> Taught:
        for _ in range(_TRIES):
            name, language, text = self._draws.draw(rng)
            if name == "words" and rng.random() < _RUNS:
                count = rng.randint(*WORDS_A_RUN)
                text = joined([text, *rng.choices(self._draws.items[name][language], k=count - 1)], language)
            elif name == "glosses":
                text = glosses.gloss(rng, text, language)
            elif rng.random() < _EXCHANGED.get(name, 0.0):
                text = _exchanged(rng, text, language)
            if _is_taught(text):
                break
        return Taught(text, language, name)


class PairDraws:
    """Draws aligned pairs; arguments and errors are those of `_Draws`."""

    def __init__(self, shares: Mapping[str, float], languages: Sequence[str] | None = None) -> None:
        self._draws = _Draws(shares, languages, _pairs_of, _is_pair)

    def __call__(self, rng: random.Random) -> Aligned:
        name, language, pair = self._draws.draw(rng)
        return Aligned(pair.query, pair.document, language, name)


def _texts_of(name: str, language: str) -> Sequence[str]:
    read = SOURCES[name].texts
    return () if read is None else read(language)


def _pairs_of(name: str, language: str) -> Sequence[TextPair]:
    read = SOURCES[name].pairs
    return () if read is None else read(language)


def _exchanged(rng: random.Random, text: str, language: str) -> str:
    """A text with frequent words in the place of some of its own; as it is in languages without spaces."""
    others = () if language in SPACELESS else frequent_words(language)[:_FREQUENT]
    if not others:
        return text
    return " ".join(rng.choice(others) if rng.random() < _EXCHANGED_WORDS else word for word in text.split())


def _is_taught(text: str) -> bool:
    return bool(key(text)) and key(text) not in held_out_keys()


def _is_pair(pair: TextPair) -> bool:
    return _is_taught(pair.query) and _is_taught(pair.document) and key(pair.query) != key(pair.document)
