"""What a file gives when it is opened, for tests of the readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from polylens.documents import open_document
from polylens.errors import DocumentError
from polylens.types import Page


def pages_of(path: Path) -> list[Page]:
    """The pages of a file, whose numbers and count are checked."""
    with open_document(path) as document:
        pages = [document.page(number) for number in range(1, document.num_pages + 1)]
    assert [page.number for page in pages] == list(range(1, len(pages) + 1))
    assert all(page.text or page.image for page in pages)
    return pages


def text_of(path: Path) -> str:
    """The text of all pages."""
    return "\n\n".join(page.text for page in pages_of(path))


def reason(path: Path) -> str:
    """Why a file cannot be read: one short line that begins with its name."""
    with pytest.raises(DocumentError) as caught:
        pages_of(path)
    said = str(caught.value)
    assert said.startswith(path.name) and "\n" not in said and len(said) < 300
    return said
