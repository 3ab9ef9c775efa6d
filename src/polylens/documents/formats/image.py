"""Image files: one page per file, or one per frame of a TIFF, which may be a scanned document."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import PIL.Image

from polylens.documents.document import Document
from polylens.errors import DocumentError, ImageError
from polylens.media.image import quiet_pillow, read_image, readable_formats
from polylens.types import Page


class ImageFile(Document):
    """An image file. An animation is its first frame only, a TIFF has a page per frame."""

    kind = "image"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._frames: tuple[BinaryIO, PIL.Image.Image] | None = None
        self._num_pages = _num_frames(path) if path.suffix.lower() in (".tif", ".tiff") else 1

    @property
    def num_pages(self) -> int:
        return self._num_pages

    def page(self, number: int) -> Page:
        try:
            return Page(number, self._frame(number - 1), "")
        except (ImageError, OSError, EOFError) as error:
            reason = error.message if isinstance(error, ImageError) else error
            raise DocumentError(f"{self.path.name}: {reason}") from error

    def _frame(self, frame: int) -> PIL.Image.Image:
        if frame == 0:
            return read_image(self.path)
        with quiet_pillow():
            if self._frames is None:  # kept open, since each frame is found by way of all that come before
                file = self.path.open("rb")
                self._frames = file, PIL.Image.open(file, formats=readable_formats())
            try:
                self._frames[1].seek(frame)
                return read_image(self._frames[1])
            except BaseException:
                self.close()  # it may be between two frames
                raise

    def close(self) -> None:
        if self._frames is not None:
            self._frames[1].close()
            self._frames[0].close()
            self._frames = None


def _num_frames(path: Path) -> int:
    try:
        with quiet_pillow(), PIL.Image.open(path, formats=readable_formats()) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # noqa: BLE001  reading the first frame will say what is wrong
        return 1
