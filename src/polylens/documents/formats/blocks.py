"""Blocks: what written documents are parsed into, and how blocks are joined to text that can be split into passages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a document with lines of its own: a heading, a paragraph, an item of a list or a row of a table."""

    text: str
    role: Literal["heading", "paragraph", "item", "row"] = "paragraph"
    """Consecutive items, like consecutive rows, are joined without a blank line."""


def heading(text: str, level: int) -> Block:
    """Makes a heading; level 1 is the highest.

    Example:
        >>> heading("Tides", 2).text
        '## Tides'
    """
    return Block(f"{'#' * min(max(level, 1), 6)} {' '.join(text.split())}", "heading")


def item(text: str, depth: int = 0) -> Block:
    """Makes an item of a list, indented by the depth of the list."""
    return Block(f"{'  ' * min(depth, 8)}- {text.strip()}", "item")


def row(cells: Iterable[str]) -> Block:
    """Makes a row of a table; its text is "" if all cells are empty.

    Example:
        >>> row(["Name", "two\\nlines", ""]).text
        'Name | two lines'
    """
    return Block(" | ".join(" ".join(cell.split()) for cell in cells).rstrip(" |"), "row")


def joined(blocks: Iterable[Block]) -> str:
    """Joins blocks to one text. No blank line, where passages are split, follows a heading.

    Example:
        >>> joined([heading("Tides", 1), Block("They rise."), item("high"), item("low"), Block("They fall.")])
        '# Tides\\nThey rise.\\n\\n- high\\n- low\\n\\nThey fall.'
    """
    parts: list[str] = []
    before = None
    for block in blocks:
        if not block.text.strip(" |"):
            continue
        if before is not None:
            holds = before.role == "heading" != block.role or before.role == block.role in ("item", "row")
            parts.append("\n" if holds else "\n\n")
        parts.append(block.text.rstrip())
        before = block
    return "".join(parts)
