"""The places on a page where the words of a query stand."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from polylens.index.ranking.full_text import SHORTEST_MISSPELT, UNSPACED, WORD
from polylens.index.ranking.snippets import Match, densest, matches
from polylens.index.ranking.word_boxes import WordBoxes
from polylens.types import Box

MAX_PLACES = 16

PlacesFrom = Literal["words", "looks"]
"""What the places of a hit come from: the page's words, or the model's late interaction with its picture."""

_SLIGHT = 3 / 7  # of the letters of the query's longest word: one with so many or fewer is such as "the"
_LEAST_WEIGHT = 1 / 4  # of that of the page's best term; long words that stand everywhere fall below it
_GAP_WORDS = 3  # unmatched words that a mark may run over, on one line
_GAP_CHARS = 2  # and letters, within a word of a script without spaces
_QUERY_CHARS = 2_000  # of a query that are looked for; a page is a query as well
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")


@dataclass(frozen=True, slots=True)
class Place:
    """A place on a page's picture that fits a query."""

    box: Box
    text: str | None
    """The words there; None where the model found the place by its looks."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a query shares with one word, or with several on one line."""

    first: int  # word
    last: int
    start: int  # character
    end: int
    box: Box
    terms: frozenset[str]


def word_places(text: str, words: WordBoxes, query_words: str) -> tuple[Place, ...]:
    """The places of the words that a query shares with a page, best first.

    A word counts that equals one of the query's, or begins with it if that has five letters; where there is none, words
    one letter off. Terms much shorter than the query's longest are left out, and so are those that stand all over the
    page beside better ones. Those of the densest passage come first. Words on one line that stand next to each other
    are one place.

    Args:
        text: The page's text as it is stored.
        words: Where its words stand.
        query_words: The words of the query.

    Returns:
        At most 16 places.
    """
    found, weights = _weighed(*matches(text, query_words[:_QUERY_CHARS]), text)
    begin, end = densest(found, weights)
    merged = list(_merged([piece for match in found for piece in _pieces(text, words, match)], words))

    def rank(piece: _Piece) -> tuple[bool, float, int]:
        is_elsewhere = piece.start < begin or piece.end > end
        return is_elsewhere, -sum(weights[term] for term in piece.terms), piece.start

    best = sorted(merged, key=rank)[:MAX_PLACES]
    return tuple(Place(piece.box, " ".join(text[piece.start : piece.end].split())) for piece in best)


def _weighed(found: Sequence[Match], lengths: dict[str, int], text: str) -> tuple[list[Match], dict[str, float]]:
    """Whole words only, of terms that mean something here: long ones, and such as are rare on the page."""
    whole = [each for match in found if (each := _whole(text, match)) is not None]
    slight = _SLIGHT * max(lengths.values(), default=0)
    heavy = {term for term in lengths if lengths[term] > slight or not term.isalpha() or UNSPACED.search(term)}
    counts = Counter(term for _, _, term in whole if term in heavy)
    weights = {term: lengths[term] / math.sqrt(count) for term, count in counts.items()}
    least = _LEAST_WEIGHT * max(weights.values(), default=0.0)
    return [match for match in whole if weights.get(match[2], 0.0) >= least > 0], weights


def _whole(text: str, match: Match) -> Match | None:
    """The match with the rest of its word; None where the word merely begins with a short term."""
    start, end, term = match
    if UNSPACED.search(term):
        return match
    rest = WORD.match(text, end)
    if rest is None or UNSPACED.match(text, end):
        return match
    return (start, rest.end(), term) if len(term) >= SHORTEST_MISSPELT else None


def _pieces(text: str, words: WordBoxes, match: Match) -> Iterator[_Piece]:
    """The words that a match touches: one, or two where it was broken at a line's end."""
    start, end, term = match
    first = int(np.searchsorted(words.ends, start, side="right"))
    for word in range(first, int(np.searchsorted(words.starts, end, side="left"))):
        begin, stop = int(words.starts[word]), int(words.ends[word])
        inside = max(start, begin), min(end, stop)
        box = _part(text, begin, stop, *inside, words.box(word))
        yield _Piece(word, word, *inside, box, frozenset({term}))


def _part(text: str, begin: int, stop: int, start: int, end: int, box: Box) -> Box:
    """The box of some characters of a word: all of it, unless it has further words (a clause, a line that was read by
    OCR), of which those characters take their share."""
    if not (WORD.search(text, begin, start) or WORD.search(text, end, stop)):
        return box
    low, high = (start - begin) / (stop - begin), (end - begin) / (stop - begin)
    if stop - begin > 2 and box.height > 2 * box.width:  # written downwards
        return Box(box.left, box.top + low * box.height, box.width, (high - low) * box.height)
    if _RIGHT_TO_LEFT.search(text, begin, stop):
        low, high = 1 - high, 1 - low
    return Box(box.left + low * box.width, box.top, (high - low) * box.width, box.height)


def _merged(pieces: Sequence[_Piece], words: WordBoxes) -> Iterator[_Piece]:
    """Pieces that stand next to each other on one line, as one."""
    run: _Piece | None = None
    for piece in pieces:
        if run is not None and _continues(run, piece, words):
            between = [words.box(word) for word in range(run.last + 1, piece.first)]
            box = _union([run.box, *between, piece.box])
            end = max(run.end, piece.end)
            run = _Piece(run.first, piece.last, run.start, end, box, run.terms | piece.terms)
            continue
        if run is not None:
            yield run
        run = piece
    if run is not None:
        yield run


def _continues(run: _Piece, piece: _Piece, words: WordBoxes) -> bool:
    if piece.first == run.last:
        return piece.start - run.end <= _GAP_CHARS
    if piece.first - run.last - 1 > _GAP_WORDS:
        return False
    boxes = [run.box, *(words.box(word) for word in range(run.last + 1, piece.first)), piece.box]
    return all(_on_one_line(boxes[0], other) for other in boxes[1:])


def _on_one_line(one: Box, other: Box) -> bool:
    """Whether two words stand on the same line, be it upright or turned."""
    across = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    along = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    is_row = across > 0.5 * min(one.height, other.height) and along <= 0.5 * min(one.width, other.width)
    is_turned = one.height > one.width and other.height > other.width
    return is_row or (is_turned and along > 0.5 * min(one.width, other.width))


def _union(boxes: Sequence[Box]) -> Box:
    left, top = min(box.left for box in boxes), min(box.top for box in boxes)
    right, bottom = max(box.left + box.width for box in boxes), max(box.top + box.height for box in boxes)
    return Box(left, top, right - left, bottom - top)
