"""A text without pages is split into passages, each of which is a page of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator

from polylens.documents.cleaning import clean

MAX_CHARS = 1_500  # characters per passage

# Where a passage may end, best first: at a blank line, after a line, after a sentence, after a word.
_ENDS = (
    re.compile(r"\n[ \t]*\n"),
    re.compile(r"\n"),
    # A run of marks is looked at from its beginning only: from each of its places, it would take quadratic time.
    re.compile(r"(?<![.!?…。！？])[.!?…。！？]++[\"'”’)\]]*+\s|[。！？]"),
    re.compile(r"\s"),
)


def split(text: str, max_chars: int = MAX_CHARS) -> Iterator[str]:
    """Splits a text into passages, at the best places that leave each at least half full.

    Args:
        text: Any text.
        max_chars: Largest number of characters per passage.

    Yields:
        The passages in order, none of them blank. Together they are the text, but for the white space between them and
        for marks that nobody sees; see `clean`.

    Example:
        >>> list(split("One line.\\nAnother.\\n\\nA new paragraph.", max_chars=24))
        ['One line.\\nAnother.', 'A new paragraph.']
    """
    text = clean(text)
    start = 0
    while start < len(text):
        end = len(text) if len(text) - start <= max_chars else start + _cut(text[start : start + max_chars])
        passage = text[start:end].strip("\n").rstrip()
        if passage.strip():
            yield passage
        start = end


def _cut(window: str) -> int:
    """Returns the length of the passage at the beginning of a window of `max_chars` characters."""
    for pattern in _ENDS:
        ends = [match.end() for match in pattern.finditer(window) if match.end() >= len(window) // 2]
        if ends:
            return ends[-1]
    return len(window)
