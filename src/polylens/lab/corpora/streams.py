"""Endless streams of texts and of aligned pairs to teach with, out of all sources that are asked for.

A seed decides a stream. Each of a source's languages is drawn as often as the others, and of each all texts are drawn
before one comes again. What evaluation asks is never drawn: the meanings, and what the held-out halves of catalogues,
functions and help pages say, compared without case, digits and punctuation.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from polylens.errors import InputError
from polylens.lab.corpora import catalogues, functions, help_pages, meanings
from polylens.lab.corpora.sources import SOURCES, require
from polylens.lab.corpora.text import TextPair, key

WORDS_A_RUN = (2, 4)  # fewest and most words of a run
_SPACELESS = ("ja", "th", "zh", "km")  # languages without spaces between words

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


def texts(seed: int, shares: Mapping[str, float], languages: Sequence[str] | None = None) -> Iterator[Taught]:
    """An endless stream of texts. Frequent words come singly, and as often in random runs of two to four.

    Args:
        seed: Decides the stream.
        shares: Source -> how often it is drawn, relative to the others.
        languages: The languages; None is all that a source has here.

    Raises:
        InputError: A source does not exist, is not installed, or has none of the languages.
    """
    rng = random.Random(f"texts/{seed}")
    pools = {name: _Pools(seed, name, languages, SOURCES[name].texts, _is_taught) for name in _checked(shares)}
    while True:
        name = _draw(rng, shares)
        language, drawn = pools[name].draw(rng)
        if name == "words" and rng.random() < 0.5:
            count = rng.randint(*WORDS_A_RUN)
            drawn = ("" if language in _SPACELESS else " ").join([drawn, *pools[name].more(language, count - 1)])
        yield Taught(drawn, language, name)


def aligned(seed: int, shares: Mapping[str, float], languages: Sequence[str] | None = None) -> Iterator[Aligned]:
    """An endless stream of aligned pairs; the arguments and errors are those of `texts`."""
    rng = random.Random(f"aligned/{seed}")
    pools = {name: _Pools(seed, name, languages, SOURCES[name].pairs, _is_pair) for name in _checked(shares)}
    while True:
        name = _draw(rng, shares)
        language, pair = pools[name].draw(rng)
        yield Aligned(pair.query, pair.document, language, name)


def _checked(shares: Mapping[str, float]) -> list[str]:
    require(list(shares))
    if any(share < 0 for share in shares.values()) or not any(shares.values()):
        raise InputError(f"shares must be at least 0 and not all 0, got {dict(shares)}")
    return list(shares)


def _draw(rng: random.Random, shares: Mapping[str, float]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


class _Pools(Generic[Item]):
    """An endless stream per language of what a source has, read when the language is first drawn."""

    def __init__(
        self,
        seed: int,
        name: str,
        languages: Sequence[str] | None,
        read: Callable[[str], Sequence[Item]] | None,
        is_taught: Callable[[Item], bool],
    ) -> None:
        here = SOURCES[name].languages() if read is not None else ()
        self._languages = [language for language in here if languages is None or language in languages]
        self._name, self._seed, self._read, self._is_taught = name, seed, read, is_taught
        self._pools: dict[str, Iterator[Item]] = {}

    def draw(self, rng: random.Random) -> tuple[str, Item]:
        """A language that has something, and its next item."""
        while self._languages:
            language = rng.choice(self._languages)
            if language in self._pools or self._load(language):
                return language, next(self._pools[language])
            self._languages.remove(language)
        raise InputError(f"the source {self._name} has nothing of this kind in the languages that are asked for")

    def more(self, language: str, count: int) -> list[Item]:
        """The next items of a language that was drawn before."""
        return [next(self._pools[language]) for _ in range(count)]

    def _load(self, language: str) -> bool:
        assert self._read is not None
        items = self._read(language)
        pool = _again_and_again(items, f"{self._name}/{language}/{self._seed}")
        # what is held out is passed over when it is drawn: looking at all of a large source takes minutes
        self._pools[language] = filter(self._is_taught, pool)
        return any(map(self._is_taught, items))


def _again_and_again(items: Sequence[Item], seed: str) -> Iterator[Item]:
    rng = random.Random(seed)
    while True:
        yield from rng.sample(items, len(items))


def _is_taught(text: str) -> bool:
    return bool(key(text)) and key(text) not in held_out_keys()


def _is_pair(pair: TextPair) -> bool:
    return _is_taught(pair.query) and _is_taught(pair.document) and key(pair.query) != key(pair.document)
