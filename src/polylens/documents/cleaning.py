"""Marks that nobody sees are taken out of texts, so that words are found as they are read.

Every reader's text passes through `clean`: that of passages in `splitting.split`, that of office files in `Packed`,
that of a PDF's page in `Pdf`.
"""

from __future__ import annotations

import unicodedata

import regex

_UNSEEN = regex.compile(
    "[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\U000e0001\U000e0020-\U000e007f]"
)
"""Soft hyphen, joiners, spaces of no width, marks and overrides of direction, and tags."""
_AT_LINE_END = regex.compile(r"(?<=\p{L}\p{M}*)\xad[ \t]*\n[ \t]*(?=\p{L})")
_JOINERS = regex.compile(
    r"(?<=[\p{Latin}\p{Greek}\p{Cyrillic}\p{Armenian}]\p{M}*)[\u200c\u200d]+(?=[\p{Latin}\p{Greek}\p{Cyrillic}\p{Armenian}])"
)
"""Joiners mean something in Persian, in Indic scripts and in emoji; between letters of other scripts, nothing."""

_LOWER = r"[[\p{Latin}\p{Greek}\p{Cyrillic}\p{Armenian}]&&\p{Ll}]"
_BROKEN = regex.compile(rf"(?<!\p{{L}})(\p{{L}}*{_LOWER})[-\u2010]\n[ \t]*({_LOWER}{_LOWER}\p{{L}}*)", regex.V1)
"""A word broken at the end of a line, in scripts that hyphenate."""
_COMPOUND = regex.compile(r"(?<!\p{L})\p{L}++-\p{L}++")


def clean(text: str) -> str:
    r"""Takes out soft hyphens, spaces of no width, joiners where they mean nothing, and marks of direction.

    Example:
        >>> clean("co\u00adoperate, lamp\u200boil, hy\u00ad\nphen")
        'cooperate, lampoil, hyphen'
    """
    if text.isascii():
        return text
    return _JOINERS.sub("", _UNSEEN.sub("", _AT_LINE_END.sub("", text)))


def join_broken_words(text: str) -> str:
    r"""Joins words that were broken at the ends of lines, where the lines of a text are those of its paper.

    Only a lower-case letter, a hyphen, the line's end and two lower-case letters are a broken word. Its hyphen stays
    where the text has the word with a hyphen elsewhere, within a line.

    Example:
        >>> join_broken_words("The light-\nhouse is well-\nknown; a well-known one. Pre-\nWar")
        'The lighthouse is well-known; a well-known one. Pre-\nWar'
    """
    if "-\n" not in text and "\u2010\n" not in text:
        return text
    compounds = set(_COMPOUND.findall(text.casefold()))

    def whole(match: regex.Match[str]) -> str:
        compound = f"{match[1]}-{match[2]}"
        if len(match[1]) < 2:
            return match[0]  # "e-" and "x-" begin words that have a hyphen
        return compound if unicodedata.normalize("NFC", compound.casefold()) in compounds else match[1] + match[2]

    return _BROKEN.sub(whole, text)
