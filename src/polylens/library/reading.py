"""A page of the index, read from its file as that is now."""

from __future__ import annotations

from pathlib import Path

from polylens.documents import open_document
from polylens.errors import DocumentError
from polylens.types import Page


def read_page(folder: Path, file: str, number: int, *, max_pixels: int) -> Page:
    """Reads one page.

    Args:
        folder: The library's folder.
        file: A file of the index, relative to the folder.
        number: The number of the page, from 1.
        max_pixels: Largest area of a rendered page.

    Raises:
        DocumentError: The file has gone, cannot be read any more, or has fewer pages now.
    """
    with open_document(folder / file, max_pixels=max_pixels) as document:
        if number > document.num_pages:
            raise DocumentError(f"{file} has changed since it was indexed: it has {document.num_pages} pages now")
        return document.page(number)
