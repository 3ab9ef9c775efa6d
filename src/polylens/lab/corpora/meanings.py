"""Everyday meanings in twelve languages, and near misses: what a person might say at home, at work or on the way.

They were written for this project, each language by hand, and are for evaluation only: training leaves out everything
that says the same (`held_out_keys`). Each file of `everyday/` has groups of four meanings about one thing:

    = trains                                                      a group
    ? The railway service was delayed.                            a meaning begins: an English paraphrase, a query
    ~ We stood on the platform for sixty minutes.                 a description: it says so without saying it
    en The train came late.                                       the meaning itself, one line per language
    de Der Zug kam zu spät.
    - en I have sixty minutes to get another platform built.      a near miss: some of its words, or its topic

The right answer to a query is its meaning in a language. All else is wrong: the other meanings, of which three are
about the same thing, and the near misses in all languages.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from polylens.lab.corpora.text import key

FOLDER = Path(__file__).parent / "everyday"

LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "ru", "zh", "ja", "ar", "hi", "tr")


@dataclass(frozen=True, slots=True)
class Meaning:
    """A meaning, said in every language."""

    group: str
    paraphrase: str
    """The meaning in English once more, in other words."""
    description: str
    """What somebody might say in English who means this, but speaks of what led to it or follows from it."""
    said: Mapping[str, str]
    """Language -> sentence."""


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A sentence that shares words or the topic with meanings of its group, and means something else."""

    group: str
    language: str
    text: str


@functools.cache
def meanings() -> tuple[Meaning, ...]:
    """All meanings, in a fixed order."""
    return _read()[0]


@functools.cache
def near_misses() -> tuple[NearMiss, ...]:
    """All near misses, in a fixed order."""
    return _read()[1]


@functools.cache
def held_out_keys() -> frozenset[str]:
    """The keys of all paraphrases, descriptions, meanings and near misses."""
    texts = [text for each in meanings() for text in (each.paraphrase, each.description, *each.said.values())]
    return frozenset(map(key, [*texts, *(each.text for each in near_misses())]))


def _read() -> tuple[tuple[Meaning, ...], tuple[NearMiss, ...]]:
    found: list[Meaning] = []
    near: list[NearMiss] = []
    for path in sorted(FOLDER.glob("*.txt")):
        group, paraphrase, said = "", "", dict[str, str]()
        for line in path.read_text(encoding="utf-8").splitlines():
            mark, _, text = line.partition(" ")
            if mark == "=":
                group = text
            elif mark == "?":
                paraphrase = text
            elif mark == "~":
                said = {}
                found.append(Meaning(group, paraphrase, text, MappingProxyType(said)))
            elif mark == "-":
                language, _, words = text.partition(" ")
                near.append(NearMiss(group, language, words))
            else:
                said[mark] = text
    return tuple(found), tuple(near)
