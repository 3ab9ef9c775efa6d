"""Reads the words of pages that are pictures only, from a larger picture than the model looks at."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import PIL.Image

from polylens.documents.document import Document
from polylens.documents.ocr.page_reader import PIXELS, PageReader, with_reading
from polylens.errors import DocumentError
from polylens.types import Page

_FILLED = 0.9  # share of the most pixels that a page has which was drawn as large as that allows


class PictureWords:
    """Adds words to pages, file after file; use it in a `with` statement. Several threads may read at a time.

    Args:
        reader: Reads the pictures.
        open_file: Opens a file, whose pages have at most so many pixels.
        max_pixels: Largest area at which the pages that come were drawn.
    """

    def __init__(self, reader: PageReader, open_file: Callable[[Path, int], Document], max_pixels: int) -> None:
        self.reader = reader
        self._open_file = open_file
        self._max_pixels = max_pixels
        self._opened: dict[int, tuple[Path, Document]] = {}  # by thread: none closes what another one draws from

    def read(self, path: Path, page: Page) -> tuple[Page, str]:
        """Reads the picture of a page.

        Args:
            path: The file.
            page: One of its pages, with a picture.

        Returns:
            The page with its words, and what read them; as it was and "" where it shows none.

        Raises:
            DocumentError: That takes too long or too much memory; the message names no file.
        """
        reading = self.reader.read(self._larger(path, page))
        return with_reading(page, reading), reading.by

    def _larger(self, path: Path, page: Page) -> PIL.Image.Image:
        """Returns the picture of a page; one that was drawn for the model is drawn anew if that is too small to read.

        Boxes are in shares of the picture, so they hold for both.
        """
        assert page.image is not None
        area = page.image.width * page.image.height
        if self._max_pixels >= PIXELS or not _FILLED * self._max_pixels <= area <= self._max_pixels:
            return page.image
        try:
            return self._document(path).page(page.number).image or page.image
        except DocumentError:  # it was drawn a moment ago
            return page.image

    def _document(self, path: Path) -> Document:
        """The file, open in this thread; the one before is closed."""
        thread = threading.get_ident()
        if thread in self._opened:
            opened, document = self._opened[thread]
            if opened == path:
                return document
            del self._opened[thread]
            document.close()
        document = self._open_file(path, PIXELS)
        self._opened[thread] = path, document
        return document

    def close(self) -> None:
        """Closes the files that are open; may be called again, once no thread reads any more."""
        while self._opened:
            _, (_, document) = self._opened.popitem()
            document.close()

    def __enter__(self) -> PictureWords:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
