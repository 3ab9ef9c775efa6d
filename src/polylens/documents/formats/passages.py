"""Written documents that need no archive: passages of text, then one page per picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from polylens.documents.bounds import within
from polylens.documents.document import Document
from polylens.documents.formats.archive import MAX_PICTURE, MIN_PICTURE_PIXELS
from polylens.errors import ImageError
from polylens.media.image import image_size, read_image
from polylens.types import Kind, Page

MAX_PICTURES = 1_000  # per file


@dataclass(frozen=True, slots=True)
class Enclosed:
    """A picture whose bytes lie in a document."""

    data: bytes
    text: str = ""
    """What the page says beside the picture."""


class Passages(Document):
    """A document of passages and pictures, all of them in memory.

    Args:
        kind: The kind of document.
        texts: Texts of the pages.
        pictures: Pictures in their order. Each is used once; small ones and those of unsupported formats are left out.
    """

    def __init__(self, kind: Kind, texts: Iterable[str], pictures: Iterable[Enclosed] = ()) -> None:
        self.kind = kind
        self._texts = list(within(texts, self.unread))
        unique = {picture.data: picture for picture in pictures if is_worth_a_page(picture.data)}
        self._pictures = list(unique.values())[:MAX_PICTURES]

    @property
    def num_pages(self) -> int:
        return len(self._texts) + len(self._pictures)

    def page(self, number: int) -> Page:
        if number <= len(self._texts):
            return Page(number, None, self._texts[number - 1])
        picture = self._pictures[number - 1 - len(self._texts)]
        try:
            return Page(number, read_image(picture.data), picture.text)
        except ImageError:  # truncated after its header: the other pages are still useful
            return Page(number, None, picture.text or "A picture that cannot be read")


def is_worth_a_page(data: bytes) -> bool:
    """Returns whether bytes are a picture that shows something: a bullet, a rule or a logo does not.

    Example:
        >>> is_worth_a_page(b"GIF89a: no picture")
        False
    """
    if len(data) > MAX_PICTURE:
        return False
    try:
        width, height = image_size(data)
    except ImageError:
        return False
    return width * height >= MIN_PICTURE_PIXELS
