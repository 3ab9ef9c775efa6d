"""English sentences word for word in other languages: everyday words in context, where no translation is to be had.

Dictionaries translate each word by itself, so grammar and the choice of senses are wrong. A teacher has a vector for
such a text, too, and it shows which words of a language go together in what people say.
"""

from __future__ import annotations

import functools
import random
import re

from polylens.lab.corpora import dictionaries, stories, wordnet
from polylens.lab.corpora.text import joined

_WORD = re.compile(r"[^\W\d_]+(?:'[a-z]+)?")
_ENDINGS = (("ies", "y"), ("es", ""), ("s", ""), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"), ("ly", ""))
_PHRASE = 3  # most words of an entry that is used
_FEWEST_WORDS = 3
_LONGEST = 200  # letters of a sentence


@functools.cache
def sentences() -> tuple[str, ...]:
    """English sentences: WordNet's examples and what people say in stories, in a fixed order."""
    examples = [example for sense in wordnet.senses() for example in sense.examples]
    told = [pair.query for language in stories.installed()[:1] for pair in stories.pairs(language)]
    every = dict.fromkeys([*examples, *told])
    return tuple(text for text in every if len(text) <= _LONGEST and len(text.split()) >= _FEWEST_WORDS)


def installed() -> tuple[str, ...]:
    """The languages that have a dictionary here, if there are sentences."""
    return dictionaries.installed() if sentences() else ()


def gloss(rng: random.Random, sentence: str, language: str) -> str:
    """A sentence word for word in a language; words that the dictionary lacks are left out.

    Args:
        rng: Chooses among the translations of a word.
        sentence: In English.
        language: One of `installed()`.
    """
    known = translations(language)
    found = (_entry(word.lower(), known) for word in _WORD.findall(sentence))
    return joined((rng.choice(entry) for entry in found if entry), language)


@functools.cache
def translations(language: str) -> dict[str, tuple[str, ...]]:
    """English word, in small letters -> its translations."""
    found: dict[str, list[str]] = {}
    for pair in dictionaries.pairs(language):
        word = pair.query.lower().removeprefix("to ")
        if " " not in word and len(pair.document.split()) <= _PHRASE:
            found.setdefault(word, []).append(pair.document)
    return {word: tuple(said) for word, said in found.items()}


def _entry(word: str, known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The translations of a word or of what it is a form of; none where it is unknown."""
    forms = [word, *(word.removesuffix(end) + instead for end, instead in _ENDINGS if word.endswith(end))]
    return next((known[form] for form in forms if form in known), ())
