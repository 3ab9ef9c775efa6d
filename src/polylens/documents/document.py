"""The document, which every kind of file is opened as: it yields its pages one by one."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from types import TracebackType

from polylens.errors import DocumentError
from polylens.types import Kind, Page

MAX_PIXELS = 1_003_520
"""Default limit of pixels per rendered page: 1,280 patches of 28 x 28, or about 1,190 x 840 for an upright A4 page."""


class Document(ABC):
    """An open file, whose pages are read lazily and in order. Close it, or use it in a `with` statement.

    Every method may raise DocumentError.
    """

    kind: Kind

    @property
    @abstractmethod
    def num_pages(self) -> int:
        """Number of pages; cheap to ask for."""

    @abstractmethod
    def page(self, number: int) -> Page:
        """Returns one page; the first is number 1."""

    def undrawn(self, number: int) -> Page:
        """Returns one page without its picture, where drawing that takes too much: what it says can still be found."""
        raise DocumentError(f"page {number} is nothing without its picture")

    @functools.cached_property
    def unread(self) -> dict[str, str]:
        """The reason why a part could not be read, by the part's name: "page 2", "word/comments.xml".

        Parts that are read with their pages come in while the document is iterated over.
        """
        return {}

    def page_or_none(self, number: int) -> Page | None:
        """Returns one page; None if it cannot be read, and then `unread` says why."""
        try:
            return self.page(number)
        except DocumentError as error:
            name = f"page {number}"
            self.unread[name] = str(error).partition(f"{name} ")[2] or str(error)
            return None

    def __iter__(self) -> Iterator[Page]:
        """Yields the pages that can be read; `unread` has the others.

        Raises:
            DocumentError: There are pages, and none of them can be read.
        """
        return self.readable(map(self.page_or_none, range(1, self.num_pages + 1)))

    def readable(self, pages: Iterable[Page | None]) -> Iterator[Page]:
        """Yields the pages among what `page_or_none` gives for every number.

        Args:
            pages: All of them in order, made in any way.

        Raises:
            DocumentError: There are pages, and none of them can be read.
        """
        some = False
        for page in pages:
            if page is not None:
                some = True
                yield page
        if self.num_pages and not some:
            self.page(1)  # raises what is wrong with it

    def close(self) -> None:
        """Closes the file; may be called again."""
        return

    def __enter__(self) -> Document:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
