"""A text pair, and the comparison of texts that all corpora share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SPACELESS = ("ja", "th", "zh", "km")
"""Languages without spaces between words."""

_SAYS_NOTHING = re.compile(r"[\W\d_]+")


@dataclass(frozen=True, slots=True)
class TextPair:
    """A query and the text that is right for it."""

    query: str
    document: str


def is_mostly_letters(text: str, tenths: int) -> bool:
    """Whether at least `tenths` tenths of a text's characters, spaces aside, are letters.

    Example:
        >>> is_mostly_letters("ab 12", 5), is_mostly_letters("ab 123", 5)
        (True, False)
    """
    visible = text.replace(" ", "")
    return 10 * sum(map(str.isalpha, visible)) >= tenths * len(visible)


def key(text: str) -> str:
    """A text without case, digits, punctuation and spaces; equal for texts that say the same.

    Example:
        >>> key("Page 3 of 7.") == key("page of")
        True
    """
    return _SAYS_NOTHING.sub("", text).casefold()


def joined(words: Iterable[str], language: str) -> str:
    """Words as a text of a language.

    Example:
        >>> joined(["old", "boat"], "en"), joined(["古い", "船"], "ja")
        ('old boat', '古い船')
    """
    return ("" if language in SPACELESS else " ").join(words)


def is_untranslated(english: str, translation: str) -> bool:
    """Whether more than half of an English text's words stand in its translation, too, whatever their case.

    Example:
        >>> is_untranslated("Open the file", "Open the FILE"), is_untranslated("Open the file", "Datei öffnen")
        (True, False)
    """
    words = english.split()
    shared = {word.casefold() for word in words} & {word.casefold() for word in translation.split()}
    return 2 * len(shared) > len(words)
