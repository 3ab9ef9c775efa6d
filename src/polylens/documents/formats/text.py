"""Text, Markdown and source files: each passage of at most 1,500 characters is a page."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from polylens.documents.document import Document
from polylens.documents.splitting import split
from polylens.errors import DocumentError
from polylens.types import Page

MAX_BYTES = 32 * 1024 * 1024  # per file; a longer one is a data set of tens of thousands of passages

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


class TextFile(Document):
    """A text file, read as a whole. An empty file has no pages."""

    kind = "text"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._passages = list(split(decode(read_bytes(path), path.name)))

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


def decode(data: bytes, name: str = "the file", *, declared: str | None = None) -> str:
    r"""Decodes a text file: UTF-8, UTF-16 or UTF-32 with a byte order mark, else Latin-1. Line ends become `\n`.

    Latin-1 is read as Windows-1252 where possible, in which most such files are written.

    Args:
        data: The bytes of the file.
        name: Name of the file, for the error message.
        declared: The encoding that the file declares, which a mark overrides. Bytes that do not fit are replaced.

    Raises:
        DocumentError: The file is not text: it has too many control characters.

    Example:
        >>> decode("naïve\r\n".encode("latin-1"))
        'naïve\n'
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            tries = [(encoding, "strict")]
            break
    else:
        tries = [("utf-8", "strict"), ("cp1252", "strict"), ("latin-1", "strict")]
        if declared:
            tries = [(declared, "strict"), ("utf-8", "strict"), (declared, "replace")]
    for encoding, errors in tries:
        try:
            text = data.decode(encoding, errors)
            break
        except UnicodeDecodeError as error:
            reason = error
    else:
        raise DocumentError(f"{name} is not text: its mark says {tries[0][0]}, but {reason.reason}")
    controls = len(_CONTROLS.findall(text))
    if "\x00" in text or controls > 0.01 * len(text) + 2:
        raise DocumentError(f"{name} is not text: {controls} of its {len(text)} characters are control characters")
    return _CONTROLS.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
