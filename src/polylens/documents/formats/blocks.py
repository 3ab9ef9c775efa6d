"""Written documents as a row of blocks, and the blocks as text that a person can read and a passage can be cut from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a document that stands on lines of its own."""

    text: str
    role: Literal["heading", "paragraph", "item", "row"] = "paragraph"
    """Items of a list, or rows of a table, stand on lines one below the other."""


def heading(text: str, level: int) -> Block:
    """A heading of a level from 1.

    Example:
        >>> heading("Tides", 2).text
        '## Tides'
    """
    return Block(f"{'#' * min(max(level, 1), 6)} {' '.join(text.split())}", "heading")


def item(text: str, depth: int = 0) -> Block:
    """An item of a list, indented by how deep the list is."""
    return Block(f"{'  ' * min(depth, 8)}- {text.strip()}", "item")


def row(cells: Iterable[str]) -> Block:
    """A row of a table; "" where all of its cells are empty.

    Example:
        >>> row(["Name", "two\\nlines", ""]).text
        'Name | two lines'
    """
    return Block(" | ".join(" ".join(cell.split()) for cell in cells).rstrip(" |"), "row")


def joined(blocks: Iterable[Block]) -> str:
    """The blocks as one text. A heading holds on to what follows it, since passages are cut at blank lines.

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
