"""The passage of a page that is shown for a query."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from polylens.index.ranking.full_text import UNSPACED, WORD, folded, may_be_misspelt, one_letter_apart

SNIPPET_CHARS = 200

_MOST_MISSPELT = 20  # words of a query that snippets are looked for with one letter off; a page is a query as well


def snippet(text: str, query_words: str) -> str:
    """The passage of a page that shares most with the query.

    Where the page shares no word with it, words one letter off count; where there are none either, its beginning.

    Args:
        text: The page's text.
        query_words: The query.

    Returns:
        At most 200 characters on one line, with an ellipsis where the text goes on; "" for no text.

    Example:
        >>> snippet("Dear Sir,\\n" + "we thank you. " * 30 + "The invoice is  due in May.", "May invoice")[-26:]
        'The invoice is due in May.'
    """
    text = " ".join(text.split())
    if len(text) <= SNIPPET_CHARS:
        return text
    first, last = densest(*matches(text, query_words))
    room = SNIPPET_CHARS - 2  # for the ellipses
    start = max(0, min(first - max(0, room - (last - first)) // 3, len(text) - room))
    if start > 0:  # begin with a word, or better with a sentence
        sentence = max(
            text.rfind(end, start, first) + 2 if end in text[start:first] else 0 for end in (". ", "! ", "? ")
        )
        word = text.find(" ", start, first) + 1
        start = sentence or word or start
    end = min(len(text), start + room)
    if end < len(text) and text.rfind(" ", last, end) > start:
        end = text.rfind(" ", last, end)
    return ("…" if start else "") + text[start:end].strip() + ("…" if end < len(text) else "")


Match = tuple[int, int, str]
"""First character and one past the last of what a text shares with a query, and the term of the query."""


def matches(text: str, query_words: str) -> tuple[list[Match], dict[str, int]]:
    """What a text shares with a query: words that begin with one of its words, else those one letter off.

    Capitals and Latin accents do not count, as in the full-text index.

    Returns:
        The matches in order, and how much each term weighs.

    Example:
        >>> matches("Die Straße, die STRASSEN", "strasse")
        ([(4, 10, 'strasse'), (16, 23, 'strasse')], {'strasse': 7})
    """
    terms = _terms(query_words)
    found = _found(text, terms)
    if not found:
        terms = _alike(text, terms)
        found = _found(text, terms)
    return found, terms


def densest(found: Sequence[Match], weights: Mapping[str, float]) -> tuple[int, int]:
    """Begin and end of the stretch, no longer than a snippet, whose distinct terms weigh most; the first of equals."""
    best, stretch, left = 0.0, (0, 0), 0
    for right, (_, end, _) in enumerate(found):
        while end - found[left][0] > SNIPPET_CHARS - 2:
            left += 1
            if left > right:
                break
        inside = found[left : right + 1]
        weight = sum(weights.get(term, 0) for term in {term for _, _, term in inside})
        if inside and weight > best:
            best, stretch = weight, (inside[0][0], end)
    return stretch


def _terms(query: str) -> dict[str, int]:
    """What to look for in a text, with the weight of finding it."""
    terms: dict[str, int] = {}
    for match in WORD.finditer(folded(query)):
        word = match.group()
        if UNSPACED.search(word):  # a whole clause: its pairs of letters are looked for instead
            terms.update((word[i : i + 2], 2) for i in range(max(1, len(word) - 1)))
        else:
            terms[word] = len(word)
    return terms


def _alike(text: str, terms: dict[str, int]) -> dict[str, int]:
    """The words of a text that are one letter off a term, with weights as those of `_terms`."""
    misspelt = [term for term in terms if may_be_misspelt(term)][:_MOST_MISSPELT]
    words = {word for word in WORD.findall(folded(text)) if may_be_misspelt(word)} if misspelt else set()
    return {word: len(word) for word in words if any(one_letter_apart(word, term) for term in misspelt)}


def _found(text: str, terms: Mapping[str, int]) -> list[Match]:
    if not terms:
        return []
    longest_first = sorted(terms, key=len, reverse=True)
    pattern = "|".join(re.escape(term) if UNSPACED.search(term) else rf"\b{re.escape(term)}" for term in longest_first)
    plain = folded(text)
    found = [(match.start(), match.end(), match.group()) for match in re.finditer(pattern, plain)]
    if len(plain) == len(text) or not found:
        return found
    origins = [at for at, letter in enumerate(text) for _ in folded(letter)]  # "ß" became two letters
    return [(origins[start], origins[end - 1] + 1, term) for start, end, term in found]
