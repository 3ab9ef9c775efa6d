"""Pictures of pages as a browser loads them."""

from __future__ import annotations

import io
from dataclasses import dataclass

import PIL.Image

PHOTO_QUALITY = 88
"""Of JPEG, from 1 to 95. A photo is a tenth of what it is as PNG, and looks the same."""


@dataclass(frozen=True, slots=True)
class PagePicture:
    """An encoded picture."""

    data: bytes
    media_type: str


def encoded(image: PIL.Image.Image, width: int, *, is_photo: bool) -> PagePicture:
    """A picture at most `width` pixels wide.

    Args:
        image: The picture.
        width: The most pixels per row.
        is_photo: Whether it may lose what nobody sees. Pages of print may not: their letters would get a halo.
    """
    if image.width > width:
        height = max(1, round(image.height * width / image.width))
        image = image.resize((width, height), PIL.Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    if is_photo and image.mode in ("RGB", "L"):
        image.save(buffer, "JPEG", quality=PHOTO_QUALITY)
        return PagePicture(buffer.getvalue(), "image/jpeg")
    image.save(buffer, "PNG")
    return PagePicture(buffer.getvalue(), "image/png")
