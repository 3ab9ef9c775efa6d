"""A picture of text and the place of each word. Coordinates are pixels from the top left corner."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Coordinates = TypeVar("Coordinates", float, npt.NDArray[np.float64])


@dataclass(frozen=True, slots=True)
class Crop:
    """A small picture of text that each of the models sees whole."""

    image: npt.NDArray[np.uint8]
    """`[height, width, 3]`, RGB."""
    query: str
    """Some of its words."""
    text: str
    """All of its words."""


@dataclass(frozen=True, slots=True)
class PlacedWord:
    """A word and its box in pixels, clipped to the picture."""

    text: str
    """As drawn, attached punctuation included, in logical order."""
    left: float
    top: float
    right: float
    bottom: float
    rtl: bool
    """Whether it is written from right to left."""
    edges: tuple[float, ...]
    """The edges of its letters in reading direction: the near edge of each, then the last far edge; not clipped."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A picture and the words in it, in reading order."""

    image: npt.NDArray[np.uint8]
    """`[height, width, 3]`, RGB."""
    words: list[PlacedWord]
    """Their places before the picture was tilted."""
    language: str
    tilt: float = 0.0
    """Degrees counter-clockwise, about the middle."""
    meanings: tuple[str, ...] = ()
    """What it says, sentence by sentence, in other languages."""

    def tilted(self, x: Coordinates, y: Coordinates) -> tuple[Coordinates, Coordinates]:
        """The place in the tilted picture of a point of the upright one."""
        return self._turned(x, y, math.radians(self.tilt))

    def upright(self, x: Coordinates, y: Coordinates) -> tuple[Coordinates, Coordinates]:
        """The place in the upright picture of a point of the tilted one."""
        return self._turned(x, y, -math.radians(self.tilt))

    def _turned(self, x: Coordinates, y: Coordinates, angle: float) -> tuple[Coordinates, Coordinates]:
        height, width = self.image.shape[:2]
        right, down = x - width / 2, y - height / 2  # the vertical axis points down
        cos, sin = math.cos(angle), math.sin(angle)
        return width / 2 + cos * right + sin * down, height / 2 - sin * right + cos * down
