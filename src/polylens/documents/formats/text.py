"""Text, Markdown and source files: each passage of at most 1,500 characters is a page."""

from __future__ import annotations

from pathlib import Path

from polylens.documents.bounds import within
from polylens.documents.cleaning import join_broken_words
from polylens.documents.document import Document
from polylens.documents.formats.encodings import decode
from polylens.documents.splitting import split
from polylens.errors import DocumentError
from polylens.types import Page

MAX_BYTES = 32 * 1024 * 1024  # per file; a longer one is a data set of tens of thousands of passages

_PROSE = frozenset(
    {"", ".txt", ".text", ".md", ".markdown", ".rst", ".adoc", ".asciidoc", ".org", ".tex", ".srt", ".vtt"}
)
"""Suffixes of files in which a word may be broken at the end of a line."""


class TextFile(Document):
    """A text file, read as a whole. An empty file has no pages."""

    kind = "text"

    def __init__(self, path: Path) -> None:
        self.path = path
        text = decode(read_bytes(path), path.name)
        whole = join_broken_words(text) if path.suffix.lower() in _PROSE else text
        self._passages = list(within(split(whole), self.unread))

    @property
    def num_pages(self) -> int:
        return len(self._passages)

    def page(self, number: int) -> Page:
        return Page(number, None, self._passages[number - 1])


def read_bytes(path: Path) -> bytes:
    """Reads a whole text file.

    Raises:
        DocumentError: The file is too long, or cannot be opened.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DocumentError(f"{path.name} is longer than {MAX_BYTES // 2**20} MB; split it or leave it out")
        return path.read_bytes()
    except OSError as error:
        raise DocumentError(f"{path.name} cannot be opened ({error.strerror})") from error
