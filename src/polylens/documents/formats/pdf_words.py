"""Where the words of a PDF's page stand on its picture.

A page's text is PDFium's text layer after cleaning, then what was filled in and noted. Cleaning takes out marks,
hyphens and blanks, and never a letter or a digit: so the letters of the text and those of its sources are the same
sequence, by which each word finds the boxes of its characters.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pypdfium2
import pypdfium2.raw as pdfium

from polylens.types import Box, Word

MAX_CHARS = 200_000  # of a page's text layer; the words of a longer one have no places

_UNITS = 1 << 24  # to which PDFium maps a page's sides, since it answers in whole numbers
_TALL = 3.0  # times the letters' own height that a line's box may have: fonts lie about it
_WORD = re.compile(r"\S+")

Rect = tuple[float, float, float, float]
"""Left, bottom, right and top, in PDF units."""


@dataclass(frozen=True, slots=True)
class Noted:
    """What is written on a page beside its text layer, and where."""

    text: str
    rect: Rect


@dataclass(frozen=True, slots=True)
class _Letter:
    """A letter or digit of a source of the text."""

    line: int
    """Letters of different lines do not share a box."""
    index: int = -1
    """Its place among the characters of the text layer; -1 for a note's."""
    rect: Rect = (0.0, 0.0, 0.0, 0.0)
    """Where a note is."""


def placed_words(
    page: pypdfium2.PdfPage, layer: pypdfium2.PdfTextPage | None, raw: str, notes: Sequence[Noted], text: str
) -> tuple[Word, ...]:
    """Returns the words of a page's text in order, with their places.

    Args:
        page: The page, which may be rotated and cropped.
        layer: Its text layer; None where it has none.
        raw: The text of that layer before cleaning.
        notes: What follows the layer in the text.
        text: The page's text. A word of it that was broken at a line's end gives one word per line; one without any
            letter or digit, and one outside of the picture, is left out.
    """
    letters = _letters(layer, raw) if layer is not None else []
    if len(letters) != sum(map(str.isalnum, raw)):  # not one sequence: nothing is better than wrong places
        return ()
    for number, note in enumerate(notes, start=1):
        letters += [_Letter(-number, rect=note.rect)] * sum(map(str.isalnum, note.text))
    if len(letters) != sum(map(str.isalnum, text)):
        return ()
    found = (_word(page, layer, part, place) for part, place in _parts(text, letters))
    return tuple(word for word in found if word is not None)


def _letters(layer: pypdfium2.PdfTextPage, raw: str) -> list[_Letter]:
    """Returns the letters and digits of the layer's text; fewer than it has where its characters are others."""
    handle, wanted = layer.raw, list(_lines(raw))
    chars = range(min(pdfium.FPDFText_CountChars(handle), MAX_CHARS))
    codes = ((index, pdfium.FPDFText_GetUnicode(handle, index)) for index in chars)
    there = [(index, code) for index, code in codes if code <= sys.maxunicode and chr(code).isalnum()]
    if [code for _, code in there] != [code for code, _ in wanted]:  # the raw text is without those outside
        bounds = layer.page.get_bbox()
        inside = iter([(index, code) for index, code in there if _overlap(_tight(layer, index), bounds)])
        there = [each for code, _ in wanted if (each := next((one for one in inside if one[1] == code), None))]
    return [_Letter(line, index) for (index, _), (_, line) in zip(there, wanted, strict=False)]


def _tight(layer: pypdfium2.PdfTextPage, index: int) -> Rect:
    """Returns the box of what is drawn of a character."""
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    pdfium.FPDFText_GetCharBox(layer.raw, index, left, right, bottom, top)
    return left.value, bottom.value, right.value, top.value


def _loose(layer: pypdfium2.PdfTextPage, index: int) -> Rect:
    """Returns the box of a character in its line, from the font's descent to its ascent."""
    rect = pdfium.FS_RECTF()
    pdfium.FPDFText_GetLooseCharBox(layer.raw, index, rect)
    return rect.left, rect.bottom, rect.right, rect.top


def _overlap(one: Rect, other: Rect) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _lines(raw: str) -> Iterator[tuple[int, int]]:
    """Yields the code and the line's number of each letter and digit."""
    line = 0
    for char in raw:
        if char.isalnum():
            yield ord(char), line
        elif char in "\r\n\x02\ufffe":  # the last two are PDFium's marks for a hyphen at the end of a line
            line += 1


def _parts(text: str, letters: Sequence[_Letter]) -> Iterator[tuple[str, Sequence[_Letter]]]:
    """Yields the words of a text with their letters; a word that was broken at a line's end in parts."""
    first = 0
    for match in _WORD.finditer(text):
        word, start, begun = match[0], 0, first
        for offset, char in enumerate(word):
            if char.isalnum():
                if first > begun and letters[first].line != letters[first - 1].line:
                    yield word[start:offset], letters[begun:first]
                    start, begun = offset, first
                first += 1
        if first > begun:
            yield word[start:], letters[begun:first]


def _word(
    page: pypdfium2.PdfPage, layer: pypdfium2.PdfTextPage | None, text: str, letters: Sequence[_Letter]
) -> Word | None:
    """Returns a word on one line; None where it is outside of the picture."""
    rect = letters[0].rect
    if layer is not None and letters[0].index >= 0:
        ends = (letters[0].index, letters[-1].index)
        rect = _union([_loose(layer, index) for index in ends])
        drawn = _area(_union([_tight(layer, index) for index in ends]))
        if not drawn <= _area(rect) <= _TALL * drawn:
            rect = _union([_tight(layer, each.index) for each in letters])
    (x0, y0), (x1, y1) = _shares(page, rect[0], rect[1]), _shares(page, rect[2], rect[3])
    left, right = sorted(min(1.0, max(0.0, x)) for x in (x0, x1))
    top, bottom = sorted(min(1.0, max(0.0, y)) for y in (y0, y1))
    return Word(text, Box(left, top, right - left, bottom - top)) if right > left and bottom > top else None


def _union(rects: Sequence[Rect]) -> Rect:
    lefts, bottoms, rights, tops = zip(*rects, strict=True)
    return min(lefts), min(bottoms), max(rights), max(tops)


def _area(rect: Rect) -> float:
    return (rect[2] - rect[0]) * (rect[3] - rect[1])


def _shares(page: pypdfium2.PdfPage, x: float, y: float) -> tuple[float, float]:
    """Returns where a point of the page lies on its picture, as shares of width and height from the top left."""
    right, down = ctypes.c_int(), ctypes.c_int()
    pdfium.FPDF_PageToDevice(page.raw, 0, 0, _UNITS, _UNITS, 0, x, y, right, down)
    return right.value / _UNITS, down.value / _UNITS
