"""What every kind of file becomes: a document that yields its pages one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType

from polylens.types import Kind, Page

MAX_PIXELS = 1_003_520
"""Pixels of a rendered page: 1,280 patches of 28 x 28, about 1,140 x 880 for an upright A4 page."""


class Document(ABC):
    """An open file. Its pages come lazily and in order; close it, or use it in a `with` statement.

    Every method may raise DocumentError.
    """

    kind: Kind

    @property
    @abstractmethod
    def num_pages(self) -> int:
        """How many pages `__iter__` will yield; cheap."""

    @abstractmethod
    def page(self, number: int) -> Page:
        """One page, counted from 1."""

    def __iter__(self) -> Iterator[Page]:
        for number in range(1, self.num_pages + 1):
            yield self.page(number)

    def close(self) -> None:
        """Let go of the file; harmless when repeated."""
        return

    def __enter__(self) -> Document:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
