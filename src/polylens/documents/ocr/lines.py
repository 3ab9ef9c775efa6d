"""Lines of words as they were read off a page: their order, and the text that they make.

Boxes are in shares of the picture. Distances are measured in pixels, for a page is not square.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from polylens.types import Box, Word

_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")
"""A letter or mark of a script that writes no spaces."""

_COLUMN_WIDTH = 6.0  # heights of a line, the least half of a column's lines have; narrower ones are a table's
_GUTTER = 0.8  # heights of a line between two columns, at least
_PARAGRAPH = 1.0  # heights of a line between two paragraphs, at least


@dataclass(frozen=True, slots=True)
class Line:
    """A line of words, or the part of one that stands in a column or a cell."""

    words: tuple[Word, ...]
    """In reading order; at least one."""
    confidence: float
    """How sure the program is of it, from 0 to 1."""

    @property
    def box(self) -> Box:
        """What the boxes of its words cover together."""
        left, top = (min(getattr(word.box, side) for word in self.words) for side in ("left", "top"))
        right = max(word.box.left + word.box.width for word in self.words)
        bottom = max(word.box.top + word.box.height for word in self.words)
        return Box(left, top, right - left, bottom - top)

    @property
    def text(self) -> str:
        """Its words with spaces between them, where their script has spaces.

        Example:
            >>> box = Box(0, 0, 1, 1)
            >>> Line((Word("大阪", box), Word("湾", box), Word("in", box), Word("May", box)), 1.0).text
            '大阪湾 in May'
        """
        parts = [self.words[0].text]
        for before, after in pairwise(word.text for word in self.words):
            joined = _UNSPACED.match(before[-1]) and _UNSPACED.match(after[0])
            parts.append(after if joined else f" {after}")
        return "".join(parts)

    @property
    def num_letters(self) -> int:
        """Number of letters and digits."""
        return sum(char.isalnum() for word in self.words for char in word.text)


def length_of(lines: Iterable[Line]) -> float:
    """Returns how long lines are together, in widths of the picture."""
    return sum(line.box.width for line in lines)


def confidence_of(lines: Sequence[Line]) -> float:
    """Returns the mean confidence, by the length of the lines; 0 where there are none."""
    total = length_of(lines)
    return sum(line.box.width * line.confidence for line in lines) / total if total else 0.0


def in_reading_order(lines: Sequence[Line], aspect: float) -> list[list[Line]]:
    """Returns the lines in the order in which they are read: columns one after another, tables row by row.

    A page is cut at the widest gutter that runs through, or else at the widest gap between lines, and so are its
    parts: Nagy & Seth 1984, https://doi.org/10.1109/ICPR.1984.806. Written from left to right.

    Args:
        lines: The lines.
        aspect: Height of the picture by its width.

    Returns:
        Blocks of lines.
    """
    boxes = [(line, _pixels(line.box, aspect)) for line in lines]
    rows = list(_cut(boxes))
    return [[line for line, _ in row] for row in rows]


def text_of(blocks: Iterable[Sequence[Line]]) -> str:
    """Returns the text of blocks of lines, with an empty line between two blocks."""
    return "\n\n".join("\n".join(line.text for line in block) for block in blocks if block)


Placed = tuple[Line, tuple[float, float, float, float]]
"""A line with its left, top, right and bottom, in widths of the picture."""


def _pixels(box: Box, aspect: float) -> tuple[float, float, float, float]:
    return box.left, box.top * aspect, box.left + box.width, (box.top + box.height) * aspect


def _cut(lines: Sequence[Placed]) -> Iterator[list[Placed]]:
    """Yields blocks in reading order."""
    height = median(bottom - top for _, (_, top, _, bottom) in lines) if lines else 0.0
    if len(lines) > 1:
        gap, at = _widest_gap((left, right) for _, (left, _, right, _) in lines)
        left = [line for line in lines if line[1][2] <= at]
        right = [line for line in lines if line[1][2] > at]
        if gap >= _GUTTER * height and _is_column(left, height) and _is_column(right, height):
            yield from _cut(left)
            yield from _cut(right)
            return
        gap, at = _widest_gap((top, bottom) for _, (_, top, _, bottom) in lines)
        if gap > 0:
            above = [line for line in lines if line[1][3] <= at]
            below = [line for line in lines if line[1][3] > at]
            first, second = list(_cut(above)), list(_cut(below))
            if gap < _PARAGRAPH * height and first and second:
                yield from first[:-1]
                yield [*first[-1], *second[0]]
                yield from second[1:]
            else:
                yield from first
                yield from second
            return
    yield [line for row in _rows(lines) for line in row]


def _widest_gap(spans: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Returns the length of the longest stretch between spans that none of them covers, and where it begins."""
    ordered = sorted(spans)
    widest, at, end = 0.0, 0.0, ordered[0][1]
    for start, stop in ordered[1:]:
        if start - end > widest:
            widest, at = start - end, end
        end = max(end, stop)
    return widest, at


def _is_column(lines: Sequence[Placed], height: float) -> bool:
    """Whether lines are those of running text, at least two of them."""
    return len(lines) > 1 and median(right - left for _, (left, _, right, _) in lines) >= _COLUMN_WIDTH * height


def _rows(lines: Sequence[Placed]) -> list[list[Placed]]:
    """Returns lines that overlap in height as rows, each from left to right."""
    rows: list[list[Placed]] = []
    for line in sorted(lines, key=lambda each: each[1][1] + each[1][3]):
        middle = (line[1][1] + line[1][3]) / 2
        if rows and middle <= max(bottom for _, (_, _, _, bottom) in rows[-1][:1]):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda each: each[1][0]) for row in rows]
