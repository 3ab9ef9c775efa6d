"""Where the words of a stored page stand on its picture, in a few bytes per word.

Shapes: W words.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from polylens.index.ranking.full_text import normalised
from polylens.types import Box, Word

UNKNOWN: bytes | None = None
"""Stored for a page that nobody asked for the places of its words: those of an index of an earlier version."""

NOWHERE = b""
"""Stored for a page without a picture."""

_HEADER = struct.Struct("<BIII")  # version, width and height of the picture, number of words
_VERSION = 1
_STEPS = 65_535  # to which shares of a side are rounded: a fiftieth of a pixel of a drawn page
_AHEAD = 2_000  # characters within which the text goes on with the next word

Shares = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WordBoxes:
    """The words of a page's text by their characters, and their boxes; and the size of its picture."""

    size: tuple[int, int]
    """Width and height of the picture that the model saw, in pixels."""
    starts: Offsets
    """`[W]`: the first character of each word in the text, ascending."""
    ends: Offsets
    """`[W]`: one past its last."""
    shares: Shares
    """`[W, 4]`: left, top, width and height, as in `Box`."""

    def box(self, word: int) -> Box:
        """The box of one word."""
        return Box(*self.shares[word].tolist())

    def words(self, text: str) -> list[Word]:
        """The words with their boxes.

        Args:
            text: The page's text as it is stored.
        """
        spans = zip(self.starts.tolist(), self.ends.tolist(), strict=True)
        return [Word(text[start:end], self.box(word)) for word, (start, end) in enumerate(spans)]


def pack(text: str, words: Sequence[Word], size: tuple[int, int] | None) -> bytes:
    """The words of a page as they are stored: compressed, 5 to 7 bytes per word.

    Args:
        text: The page's text as it is stored.
        words: Words of it, in order, with their places. One that the text does not go on with is left out.
        size: Width and height of the page's picture, in pixels; None where it has none.
    """
    if size is None:
        return NOWHERE
    spans, boxes = _found(text, words)
    gaps = np.diff(spans.reshape(-1), prepend=0).reshape(-1, 2)  # from the word before, and the word's own length
    steps = np.round(boxes * _STEPS).clip(0, _STEPS).astype(np.uint16)
    steps[1:, :2] -= steps[:-1, :2].copy()  # modulo 2**16; words of one line have the same top
    packed = b"".join([*map(_by_byte, gaps.astype(np.uint32).T), *map(_by_byte, steps.T)])
    return _HEADER.pack(_VERSION, *size, len(spans)) + _codec().compress(packed, asbytes=True)


def unpack(stored: bytes | None) -> WordBoxes | None:
    """What `pack` stored; None for a page without a picture, or where nothing is known of it."""
    if not stored:
        return None
    version, width, height, num = _HEADER.unpack_from(stored)
    if version != _VERSION:  # of a later version of this package
        return None
    data = _codec().decompress(stored[_HEADER.size :], num * (2 * 4 + 4 * 2), asbytes=True)
    gaps = np.stack([_of_bytes(data, at * 4 * num, num, np.uint32) for at in range(2)], axis=1)
    steps = np.stack([_of_bytes(data, 8 * num + at * 2 * num, num, np.uint16) for at in range(4)], axis=1)
    steps[:, :2] = np.cumsum(steps[:, :2], axis=0, dtype=np.uint16)
    offsets = np.cumsum(gaps.astype(np.int64).reshape(-1)).reshape(-1, 2)
    return WordBoxes((width, height), offsets[:, 0], offsets[:, 1], steps / _STEPS)


def _found(text: str, words: Sequence[Word]) -> tuple[Offsets, Shares]:
    """The words that are found in a text one after the other: `[W, 2]` characters, and `[W, 4]` shares."""
    at = 0
    spans, boxes = [], []
    for word in words:
        wanted = normalised(word.text)
        start = text.find(wanted, at, at + _AHEAD + len(wanted)) if wanted else -1
        if start >= 0:
            at = start + len(wanted)
            spans.append((start, at))
            boxes.append((word.box.left, word.box.top, word.box.width, word.box.height))
    return np.array(spans, np.int64).reshape(-1, 2), np.array(boxes, np.float64).reshape(-1, 4)


def _by_byte(numbers: npt.NDArray[Any]) -> bytes:
    """All lowest bytes, then all next ones: the upper ones are mostly equal, which compresses well."""
    little = np.ascontiguousarray(numbers.astype(numbers.dtype.newbyteorder("<")))
    return little.view(np.uint8).reshape(-1, numbers.itemsize).T.tobytes()


def _of_bytes(data: bytes, start: int, num: int, dtype: Any) -> npt.NDArray[Any]:
    size = np.dtype(dtype).itemsize
    parts = np.frombuffer(data, np.uint8, size * num, start).reshape(size, num)
    return np.ascontiguousarray(parts.T).view(np.dtype(dtype).newbyteorder("<")).reshape(num).astype(dtype)


@cache
def _codec() -> Any:
    return pa.Codec("zstd", compression_level=9)
