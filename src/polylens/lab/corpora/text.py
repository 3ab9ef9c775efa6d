"""What the kinds of pairs have in common: the pair itself, its two halves, and when two texts are the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SAYS_NOTHING = re.compile(r"[\W\d_]+")


@dataclass(frozen=True, slots=True)
class TextPair:
    """What is asked, and the text that is right for it."""

    query: str
    document: str


def is_mostly_letters(text: str, tenths: int) -> bool:
    """Whether at least so many tenths of what is not space are letters.

    Example:
        >>> is_mostly_letters("ab 12", 5), is_mostly_letters("ab 123", 5)
        (True, False)
    """
    visible = text.replace(" ", "")
    return 10 * sum(map(str.isalpha, visible)) >= tenths * len(visible)


def key(text: str) -> str:
    """What is left of a text without case, digits, punctuation and spaces: equal where two texts say the same.

    Example:
        >>> key("Page 3 of 7.") == key("page of")
        True
    """
    return _SAYS_NOTHING.sub("", text).casefold()
