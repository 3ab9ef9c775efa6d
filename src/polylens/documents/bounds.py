"""What reading one file may take: the limits that hold for every kind of file. `docs/reference/files.md` has the table.

What goes beyond one costs that page or that file alone, and is said among its unread parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass

MAX_PAGES = 20_000  # per file
MAX_CHARS = 32 * 1024 * 1024  # characters per file, as many as the longest text file has
MAX_PAGE_CHARS = 200_000  # characters per page
FREE_CHARS = 2_000_000  # characters that the smallest file may unpack to: two thirds of War and Peace
CHARS_PER_BYTE = 20  # more of them for each byte of a packed file; what people write packs to a fifth or so

GB = 1024**3


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What a process that reads files may take."""

    memory: int = 2 * GB  # bytes of its own, the libraries' included; the largest picture takes 1.5 GB
    written: int = GB // 2  # bytes of each file that it writes: members of archives, which their readers open by path
    opening_seconds: int = 60  # of the processor, to open a file, or each file inside it, and to count its pages
    page_seconds: int = 30  # of the processor, to read and draw a page
    patience: float = 600.0  # seconds by the clock for any answer: LibreOffice alone may take 120, and disks may hang
    slow_seconds: float = 300.0  # that all pages of a file together may take, beyond one second each


def within(texts: Iterable[str], unread: MutableMapping[str, str], *, packed_bytes: int | None = None) -> Iterator[str]:
    """Yields the texts of a file's pages, in order, as far as the limits of pages and characters go.

    Args:
        texts: The texts, best made while they are taken: what lies beyond the limits is never made.
        unread: Gets the reason where texts are left out.
        packed_bytes: Size of a file that was compressed; None for one in which every character has its own bytes.

    Example:
        >>> list(within(["a", "b"], unread := {}, packed_bytes=9)), unread
        (['a', 'b'], {})
    """
    most = MAX_CHARS if packed_bytes is None else min(MAX_CHARS, FREE_CHARS + CHARS_PER_BYTE * packed_bytes)
    left = most
    for number, text in enumerate(texts, start=1):
        left -= len(text)
        if number > MAX_PAGES:
            unread[f"the text after page {MAX_PAGES:,}"] = f"is left out: a file has at most {MAX_PAGES:,} pages"
            return
        if left < 0:
            packed = "" if packed_bytes is None else " and of this size"
            unread[f"the text after page {number - 1:,}"] = (
                f"is left out: a file of this kind{packed} has at most {most:,} characters"
            )
            return
        yield text
