"""Plain values that cross layers. This module imports nothing from the package, and no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import PIL.Image

Kind = Literal["pdf", "image", "text", "document", "slides", "sheet"]
"""The kind of file that a page comes from."""

PICTURED: tuple[Kind, ...] = ("pdf", "image")
"""Kinds of pages that have a picture; any other is a text."""

ImageSource = str | Path | bytes | PIL.Image.Image
"""A path, bytes of an image file, a PIL image, a `data:` URI, bare base64, or an http(s) URL."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Image:
    """Marks an input of `Embedder.encode` as an image: a bare `str` there is always a text.

    Example:
        >>> Image("photo.jpg").source
        'photo.jpg'
    """

    source: ImageSource


@dataclass(frozen=True, slots=True)
class Embedding:
    """Both outputs of the model for one input."""

    dense: FloatArray
    """Unit vector, `[dim]`."""
    multivector: FloatArray
    """One unit vector per token, `[tokens, 128]`, the prompt's tokens included. Without late interaction there is one
    row, the dense vector, so that MaxSim equals the cosine."""
    norm: float = 1.0
    """Length of the dense vector before it was normalised."""

    @property
    def num_tokens(self) -> int:
        return len(self.multivector)


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document as a reranker placed it."""

    index: int
    """Its position among the documents as they came."""
    score: float
    """Higher is better: from 0 to 1 by a model trained to score pairs, else the cosine or MaxSim per query token."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on a page's picture, in shares of its width and height: 0 is the left or upper edge, 1 the other.

    Example:
        >>> Box(0.1, 0.2, 0.5, 0.05).height
        0.05
    """

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a page's text as it stands there, with its place on the page's picture."""

    text: str
    box: Box


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a document, as a person would see it and as a program would read it.

    It has an image, a text or both: a photograph has no text, a source file has no image.
    """

    number: int
    """Counted from 1."""
    image: PIL.Image.Image | None
    """RGB."""
    text: str
    """The text layer; "" if there is none."""
    kind: Kind | None = None
    """The kind of the file that the page comes from, where it is not that of the document: a PDF in a zip archive."""
    words: tuple[Word, ...] = ()
    """The words of `text` in their order, with their places; () where those are not known, or there is no picture.
    Words without a place are left out, and one that was broken at a line's end is one per line."""
