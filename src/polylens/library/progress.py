"""What `Library.update` reports: while it runs, and at its end."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

IsReady = Callable[[str, os.stat_result], bool]
"""Whether a file, with its size and time, is ready to be read."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one file of the index."""

    what: Literal["added", "changed", "moved", "copied", "removed"]
    file: str
    pages: int
    """Pages that the index now has of it."""
    before: str = ""
    """The name that a moved or copied file was known by."""

    def __str__(self) -> str:
        """The change as a line.

        Example:
            >>> str(Change("moved", "b.pdf", 2, before="a.pdf"))
            'moved a.pdf -> b.pdf'
        """
        if self.what in ("moved", "copied"):
            return f"{self.what} {self.before} -> {self.file}"
        if self.what == "removed":
            return f"removed {self.file}"
        return f"{self.what} {self.file}, {self.pages} page{'s' * (self.pages != 1)}"


@dataclass(frozen=True, slots=True)
class UpdateProgress:
    """How far `Library.update` is; given to its callback."""

    phase: Literal["scanning", "indexing", "finishing"]
    """"scanning" compares the folder with the index, "indexing" embeds pages, "finishing" compacts the index."""
    file: str
    """The file at hand; "" where the report is about none."""
    done_pages: int = 0
    total_pages: int = 0
    """0 while scanning: not known yet."""
    done_files: int = 0
    total_files: int = 0
    saved: tuple[str, ...] = ()
    """Files that were just written, and are safe from here on, whatever happens."""
    changes: tuple[Change, ...] = ()
    """What was just written, as changes: removals included, files that were merely touched left out."""


@dataclass(slots=True)
class Report:
    """What `Library.update` did. All numbers but `pages` count files."""

    indexed: int = 0
    """Files embedded: new ones, and changed ones."""
    unchanged: int = 0
    moved: int = 0
    """Files with known content under another name, taken over without embedding them again."""
    removed: int = 0
    """Files removed from the index, as they are gone from the folder, or ignored from now on."""
    passed_over: list[tuple[str, str]] = field(default_factory=list)
    """File and reason, for each file without pages: of an unsupported kind, empty, or too large."""
    partly: list[tuple[str, str, str]] = field(default_factory=list)
    """File, part and reason, for each part that could not be read of a file in the index: of this update or before."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """File and reason, for each file that could not be read."""
    waiting: list[str] = field(default_factory=list)
    """New and changed files that were not ready; the index keeps what it had of them."""
    wordless: int = 0
    """Pages embedded that are pictures without a text, while nothing is installed that reads such pages."""
    pages: int = 0
    """Pages embedded."""
    placed: int = 0
    """Pages of an index of an earlier version that were given the places of their words, without embedding them."""
    seconds: float = 0.0
    scan_seconds: float = 0.0
    """Seconds of these that were spent finding out what has changed."""

    def add(self, later: Report) -> None:
        """Count what a second pass did as well; its lists replace those of the first."""
        self.indexed += later.indexed
        self.moved += later.moved
        self.removed += later.removed
        self.pages += later.pages
        self.passed_over, self.partly, self.failed = later.passed_over, later.partly, later.failed
        self.waiting = later.waiting

    @property
    def skipped(self) -> int:
        """Number of files that were passed over."""
        return len(self.passed_over)
