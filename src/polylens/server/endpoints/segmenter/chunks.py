"""Cutting a text into chunks at the best places for a reader.

The work is linear in the length of the text: each pattern passes over it once, a chunk looks back over no more
characters than a chunk may have, and three neighbouring chunks are together longer than that.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import regex

_NEWLINES = "\n\r\v\f\x85\u2028\u2029"
_NEWLINE = rf"(?>\r\n|[{_NEWLINES}])"
_BLANK = rf"[^\S{_NEWLINES}]"  # white space within a line
_CLOSERS = r"[\"'”’»›)\]}」』）】》〉］]"
_STOPS = ".!?…‽؟۔։"  # these end a sentence only before a blank: not in 3.14 or polylens.errors
_WIDE_STOPS = "。！？｡．।॥।፧፨។៕\u104b"  # Chinese, Japanese, Devanagari, Ethiopic, Khmer, Burmese: no blank is needed
# Each pattern's matches end where a chunk may begin. What a pattern repeats it never gives back (`++`), and a run of
# stops is looked at from its start only: that keeps a search linear in a text of nothing but stops or line ends.
_HASHES = rf"\#{{1,6}}{_BLANK}"
_UNDERLINED = rf"{_BLANK}*+\S[^\n\r]*+(?:\r\n|[\n\r])(?:={{3,}}+|-{{3,}}+){_BLANK}*+(?:[\n\r]|\Z)"
_HEADINGS = re.compile(rf"(?:\A|{_NEWLINE})(?={_HASHES}|{_UNDERLINED})")
_PARAGRAPHS = re.compile(rf"{_NEWLINE}(?>{_BLANK}*+{_NEWLINE})++")
_ITEMS = re.compile(rf"{_NEWLINE}(?={_BLANK}*+(?:(?:[-*+•‣◦·–]|\(?\d{{1,3}}[.)]){_BLANK}|\d{{1,3}}、))")
_LINES = re.compile(_NEWLINE)
_SENTENCES = re.compile(
    rf"(?<![{_STOPS}])[{_STOPS}]++{_CLOSERS}*+\s++|(?<![{_WIDE_STOPS}])[{_WIDE_STOPS}]++{_CLOSERS}*+\s*+"
)
_CLAUSES = re.compile(r"[,;:،؛—]\s++|[、，；：፣፤\u104a]\s*+")
_WORDS = re.compile(r"[^\S\xa0\u202f]++|[\u200b་፡]")  # the last three divide words in Khmer, Tibetan and Ethiopic
_LEVELS = (_HEADINGS, _PARAGRAPHS, _ITEMS, _LINES, _SENTENCES, _CLAUSES, _WORDS)  # best first
_GRAPHEME = regex.compile(r"\X")


def chunk_bounds(text: str, max_length: int) -> list[int]:
    """The places where the chunks of a text begin and end: 0, every cut, and the length of the text.

    A chunk is as long as the best kind of cut in its second half allows: a heading, a blank line, the item of a list,
    a line, a sentence, a clause, a word. Without any of these it is cut between two characters as a reader sees them
    (extended grapheme clusters, Unicode Standard Annex 29), and within such a cluster only where the cluster alone is
    longer than a chunk may be.

    Args:
        text: Any text.
        max_length: The most characters of a chunk, at least 1.

    Returns:
        Rising offsets; [0] for an empty text.

    Example:
        >>> chunk_bounds("One line.\\n\\nAnother one. A third.", 20)
        [0, 11, 24, 32]
    """
    bounds = [0]
    if len(text) <= max_length:
        return [0, len(text)] if text else bounds
    levels = [list(_ends(pattern, text)) for pattern in _LEVELS]
    while len(text) - bounds[-1] > max_length:
        bounds.append(_cut(text, bounds[-1], max_length, levels))
    return [*bounds, len(text)]


def _ends(pattern: re.Pattern[str], text: str) -> Iterator[int]:
    for match in pattern.finditer(text):
        end = match.end()
        # "e.g. this": a sentence does not begin with a small letter
        if pattern is not _SENTENCES or not text[end : end + 1].islower():
            yield end


def _cut(text: str, start: int, max_length: int, levels: Sequence[Sequence[int]]) -> int:
    """The end of the chunk that begins at `start`."""
    limit = start + max_length
    graphemes = _grapheme_ends(text, start, limit)
    for ends in levels:
        for end in _downwards(ends, limit):
            if end <= start + max_length // 2:
                break
            if end in graphemes:
                return end
    return max(graphemes, default=limit)


def _downwards(ends: Sequence[int], limit: int) -> Iterator[int]:
    for index in range(bisect_right(ends, limit) - 1, -1, -1):
        yield ends[index]


def _grapheme_ends(text: str, start: int, limit: int) -> frozenset[int]:
    """The places after `start`, up to `limit`, between two grapheme clusters. The text goes on beyond `limit`."""
    part = text[start : limit + 1]  # whether a cluster ends at the limit shows in the character behind it
    if part.isascii() and "\r\n" not in part:
        return frozenset(range(start + 1, limit + 1))
    return frozenset(end for match in _GRAPHEME.finditer(part) if (end := start + match.end()) <= limit)
