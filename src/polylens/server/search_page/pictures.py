"""Pictures of pages as a browser loads them, and the words on them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import PIL.Image

from polylens.media.marks import marked
from polylens.types import Box, Word

SHARE_DECIMALS = 5
"""Of a place on a page: a tenth of a pixel on a page of 10,000."""

PHOTO_QUALITY = 88
"""Of JPEG, from 1 to 95. A photo is a tenth of what it is as PNG, and looks the same."""


@dataclass(frozen=True, slots=True)
class PagePicture:
    """An encoded picture."""

    data: bytes
    media_type: str


def encoded(image: PIL.Image.Image, width: int, *, is_photo: bool, marks: Sequence[Box] = ()) -> PagePicture:
    """A picture at most `width` pixels wide.

    Args:
        image: The picture.
        width: The most pixels per row.
        is_photo: Whether it may lose what nobody sees. Pages of print may not: their letters would get a halo.
        marks: Places that are marked on it.
    """
    if image.width > width:
        height = max(1, round(image.height * width / image.width))
        image = image.resize((width, height), PIL.Image.Resampling.LANCZOS, reducing_gap=2.0)
    if marks:
        image = marked(image, marks)
    buffer = io.BytesIO()
    if is_photo and image.mode in ("RGB", "L"):
        image.save(buffer, "JPEG", quality=PHOTO_QUALITY)
        return PagePicture(buffer.getvalue(), "image/jpeg")
    image.save(buffer, "PNG")
    return PagePicture(buffer.getvalue(), "image/png")


def placed(word: Word) -> list[str | float]:
    """A word for JSON: its text, and the left, top, width and height of its box, in shares of the picture.

    Example:
        >>> from polylens.types import Box
        >>> placed(Word("tide", Box(0.1, 0.25, 0.08, 1 / 30)))
        ['tide', 0.1, 0.25, 0.08, 0.03333]
    """
    return [word.text, *(round(share, SHARE_DECIMALS) for share in astuple(word.box))]
