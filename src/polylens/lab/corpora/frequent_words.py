"""The most frequent words of some forty languages, from the package wordfreq (Speer 2022).

Its lists are gzipped MessagePack: after a header, one list of words per step of frequency, the most frequent first.
They are read here, and none of the package's code runs.
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import struct
from pathlib import Path
from typing import Any

from polylens.errors import InputError

PACKAGE, VERSION = "wordfreq", "3.1.1"
_HEADER = {"format": "cB", "version": 1}


def find_folder() -> Path | None:
    """Where the installed package has its lists; None where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = [] if spec is None else spec.submodule_search_locations or []
    return next((Path(each) / "data" for each in folders if (Path(each) / "data").is_dir()), None)


def installed(folder: Path | None = None) -> tuple[str, ...]:
    """The languages that are here."""
    folder = find_folder() if folder is None else folder
    names = [] if folder is None else [path.name for path in folder.glob("small_*.msgpack.gz")]
    return tuple(sorted(name.removeprefix("small_").partition(".")[0] for name in names))


@functools.cache
def words(language: str, most: int = 20_000, folder: Path | None = None) -> tuple[str, ...]:
    """The most frequent words of a language that consist of letters, the most frequent first.

    Args:
        language: One of `installed`.
        most: How many, as far as there are.
        folder: With the lists; None is that of the installed package.

    Raises:
        InputError: A list has another format.
    """
    folder = find_folder() if folder is None else folder
    path = None if folder is None else folder / f"small_{language}.msgpack.gz"
    if path is None or not path.is_file():
        return ()
    header, *steps = unpack(gzip.decompress(path.read_bytes()))
    if header != _HEADER:
        raise InputError(f"{path} must have the header {_HEADER}, got {header}")
    found = (word for step in steps for word in step if len(word) > 1 or not word.isascii())
    return tuple(word for word, _ in zip(filter(_is_word, found), range(most), strict=False))


def unpack(data: bytes) -> Any:
    """Reads the part of MessagePack that the lists use: lists, maps, strings and small numbers.

    Example:
        >>> unpack(bytes([0x92, 0x81, 0xA1]) + b"a" + bytes([7, 0xA2]) + b"bc")
        [{'a': 7}, 'bc']

    Raises:
        InputError: There is something else in it, or it ends too early.
    """
    try:
        return _value(data, 0)[0]
    except (IndexError, struct.error) as error:
        raise InputError("a list of frequent words ends too early") from error


def _value(data: bytes, at: int) -> tuple[Any, int]:
    """The value at a position, and the position after it."""
    mark, at = data[at], at + 1
    if mark < 0x80:
        return mark, at
    if 0xA0 <= mark < 0xC0:
        return _text(data, at, mark & 31)
    if mark in (0xD9, 0xDA):
        size, at = _size(data, at, ">B" if mark == 0xD9 else ">H")
        return _text(data, at, size)
    if 0x80 <= mark < 0x90:
        found = {}
        for _ in range(mark & 15):
            name, at = _value(data, at)
            found[name], at = _value(data, at)
        return found, at
    if 0x90 <= mark < 0xA0:
        count = mark & 15
    elif mark in (0xDC, 0xDD):
        count, at = _size(data, at, ">H" if mark == 0xDC else ">I")
    else:
        raise InputError(f"a list of frequent words must have lists, maps, strings and small numbers, got 0x{mark:02x}")
    items = []
    for _ in range(count):
        item, at = _value(data, at)
        items.append(item)
    return items, at


def _size(data: bytes, at: int, layout: str) -> tuple[int, int]:
    return struct.unpack_from(layout, data, at)[0], at + struct.calcsize(layout)


def _text(data: bytes, at: int, size: int) -> tuple[str, int]:
    if len(data) < at + size:
        raise IndexError
    return data[at : at + size].decode("utf-8"), at + size


def _is_word(word: str) -> bool:
    """Whether it has letters and no digits; combining signs, as Hindi has them, count as letters."""
    return any(map(str.isalpha, word)) and not any(map(str.isdigit, word))
