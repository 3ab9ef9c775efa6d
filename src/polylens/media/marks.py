"""Marks on the picture of a page: translucent, so that what is marked stays legible."""

from __future__ import annotations

from collections.abc import Sequence

import PIL.Image
import PIL.ImageChops
import PIL.ImageDraw

from polylens.types import Box

COLOUR = (255, 222, 66)  # multiplied with the page: black letters stay black
EDGE = (214, 120, 0)

_MARGIN = 0.003  # of the longer side, around what is marked


def marked(image: PIL.Image.Image, boxes: Sequence[Box]) -> PIL.Image.Image:
    """Returns a copy of a page's picture with places marked.

    Args:
        image: RGB.
        boxes: The places. What lies outside of the picture is left out.

    Example:
        >>> page = PIL.Image.new("RGB", (100, 100), "white")
        >>> marked(page, [Box(0.5, 0.5, 0.2, 0.1)]).getpixel((60, 55))
        (255, 222, 66)
    """
    layer = PIL.Image.new("RGB", image.size, "white")
    draw = PIL.ImageDraw.Draw(layer)
    width, height = image.size
    margin = max(1, round(_MARGIN * max(image.size)))
    for box in boxes:
        left, top = round(box.left * width) - margin, round(box.top * height) - margin
        right = round((box.left + box.width) * width) + margin
        bottom = round((box.top + box.height) * height) + margin
        draw.rectangle((left, top, right, bottom), fill=COLOUR, outline=EDGE, width=max(1, margin // 2))
    return PIL.ImageChops.multiply(image, layer)
