"""The order in which lines are read, and the text that they make."""

from __future__ import annotations

from polylens.documents.ocr.lines import Line, confidence_of, in_reading_order, text_of
from polylens.types import Box, Word


def line(text: str, left: float, top: float, width: float = 0.4, confidence: float = 1.0) -> Line:
    return Line((Word(text, Box(left, top, width, 0.02)),), confidence)


def ordered(*lines: Line) -> list[str]:
    return [each.text for block in in_reading_order(lines, 1.4) for each in block]


def test_columns_are_read_one_after_another_below_their_title() -> None:
    title = line("title", 0.1, 0.05, 0.8)
    left = [line(f"left {row}", 0.05, 0.2 + 0.03 * row) for row in range(6)]
    right = [line(f"right {row}", 0.55, 0.2 + 0.03 * row) for row in range(6)]
    mixed = [each for pair in zip(right, left, strict=True) for each in pair]
    assert ordered(*mixed, title) == ["title", *(each.text for each in left), *(each.text for each in right)]


def test_a_table_is_read_row_by_row() -> None:
    cells = [
        line(f"{row}{column}", 0.1 + 0.2 * column, 0.1 + 0.04 * row, 0.05) for row in range(4) for column in range(3)
    ]
    assert ordered(*reversed(cells)) == [each.text for each in cells]


def test_lines_that_lean_into_each_other_keep_their_order() -> None:
    rows = [line(f"row {row}", 0.1, 0.1 + 0.018 * row, 0.8) for row in range(5)]
    assert ordered(*reversed(rows)) == [f"row {row}" for row in range(5)]


def test_a_wide_gap_ends_a_paragraph() -> None:
    blocks = in_reading_order([line("a", 0.1, 0.1), line("b", 0.1, 0.125), line("c", 0.1, 0.3)], 1.4)
    assert text_of(blocks) == "a\nb\n\nc"
    assert in_reading_order([], 1.4) == [[]]


def test_confidence_goes_by_length() -> None:
    assert confidence_of([line("a", 0, 0, 0.75), line("b", 0, 0, 0.25, confidence=0.0)]) == 0.75
    assert confidence_of([]) == 0.0
