"""Tesseract (Apache 2.0), where it is installed: reads the scripts that it has packs for.

It is run anew for each picture, within limits: https://tesseract-ocr.github.io/tessdoc/Command-Line-Usage.html.
"""

from __future__ import annotations

import io
import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import PIL.Image

from polylens.documents.formats.process import run
from polylens.documents.ocr.lines import Line
from polylens.errors import DocumentError
from polylens.types import Box, Word

SECONDS = 60.0  # for one picture
MEMORY = 2 * 1024**3  # bytes of address space
MOST_PACKS = 3  # of languages that are read together; each takes its time

PIXELS = 2_200_000
"""A picture is enlarged towards that many, by up to two times per side: Tesseract wants letters 20 pixels high."""

_LEAST_WORD = 0.3  # confidence below which a word does not count as one
_HANGUL = re.compile("[\uac00-\ud7a3]")
_SPACE = 0.2  # heights of a word, the least space between two Korean ones
_ONE_THREAD = {"OMP_THREAD_LIMIT": "1"}  # its threads wait for each other more than they compute
_UPRIGHT = {90: PIL.Image.Transpose.ROTATE_270, 180: PIL.Image.Transpose.ROTATE_180, 270: PIL.Image.Transpose.ROTATE_90}
_SURE = 2.0  # of the direction of the page, by Tesseract's measure


@dataclass(frozen=True, slots=True)
class _Found:
    """A word as Tesseract's table has it, in pixels."""

    text: str
    left: int
    top: int
    width: int
    height: int
    sure: float


@dataclass(frozen=True, slots=True)
class Look:
    """What a page looks like, before it is read."""

    script: str = ""
    """By Tesseract's name; "" where it cannot tell."""
    rotate: int = 0
    """Degrees by which to turn it clockwise, so that it stands upright: 0, 90, 180 or 270."""


def packs() -> frozenset[str]:
    """Returns the installed packs by their names; none where Tesseract is missing."""
    program = shutil.which("tesseract")
    if program is None:
        return frozenset()
    try:
        listed = run((program, "--list-langs"), seconds=SECONDS, memory=MEMORY)
    except DocumentError:
        return frozenset()
    return frozenset(listed.decode("utf-8", "replace").split("\n")[1:]) - {"", "osd", "equ"}


def look(image: PIL.Image.Image) -> Look:
    """Finds out the script of a page, and whether it lies on its side or on its head; needs the pack `osd`."""
    try:
        out = _run(enlarged(image), "--psm", "0")
    except DocumentError:  # too few letters, or no pack
        return Look()
    said = dict(line.split(": ", 1) for line in out.splitlines() if ": " in line)
    script = {"Korean": "Hangul", "Katakana": "Japanese", "Hiragana": "Japanese"}.get(
        said.get("Script", ""), said.get("Script", "")
    )
    try:
        rotate = int(said.get("Rotate", 0)) if float(said.get("Orientation confidence", 0)) >= _SURE else 0
    except ValueError:
        rotate = 0
    return Look(script, rotate if rotate in _UPRIGHT else 0)


def read(image: PIL.Image.Image, languages: Sequence[str], *, rotate: int = 0) -> list[list[Line]]:
    """Reads a picture.

    Args:
        image: RGB.
        languages: Packs; the first three are used.
        rotate: Degrees by which to turn it clockwise first: 0, 90, 180 or 270.

    Returns:
        Blocks of lines in reading order, with boxes on the picture as it came.

    Raises:
        DocumentError: It takes too long or too much memory, or fails; the message names no file.
    """
    upright = image.transpose(_UPRIGHT[rotate]) if rotate else image
    larger = enlarged(upright)
    out = _run(larger, "-l", "+".join(languages[:MOST_PACKS]), "--psm", "3", "--dpi", "300", "tsv")
    return _blocks(out, larger.size, rotate)


def enlarged(image: PIL.Image.Image) -> PIL.Image.Image:
    """Returns a picture in the size that suits Tesseract, in grey."""
    grey = image.convert("L")
    scale = min(2.0, math.sqrt(PIXELS / (image.width * image.height)))
    if scale < 1.2:
        return grey
    size = (round(image.width * scale), round(image.height * scale))
    return grey.resize(size, PIL.Image.Resampling.BICUBIC)


def _run(image: PIL.Image.Image, *arguments: str) -> str:
    program = shutil.which("tesseract")
    if program is None:
        raise DocumentError("Tesseract is not installed")
    data = io.BytesIO()
    image.save(data, "PPM")
    command = (program, "stdin", "stdout", *arguments)
    out = run(command, data.getvalue(), seconds=SECONDS, memory=MEMORY, environment=_ONE_THREAD)
    return out.decode("utf-8", "replace")


def _blocks(table: str, size: tuple[int, int], rotate: int) -> list[list[Line]]:
    """Returns the lines of Tesseract's table: level, page, block, paragraph, line, word, box, confidence, text."""
    found: dict[str, dict[str, list[_Found]]] = {}
    for row in table.splitlines()[1:]:
        level, _, block, paragraph, line, _, left, top, width, height, confidence, text = _cells(row)
        sure = float(confidence or 0) / 100
        if level != "5" or not text.strip() or sure < _LEAST_WORD:
            continue
        lines = found.setdefault(f"{block}.{paragraph}", {})
        _add(lines.setdefault(line, []), _Found(text.strip(), int(left), int(top), int(width), int(height), sure))
    return [[_line(words, size, rotate) for words in lines.values()] for lines in found.values()]


def _cells(row: str) -> list[str]:
    cells = row.split("\t", 11)
    return [*cells, *[""] * (12 - len(cells))]


def _add(words: list[_Found], word: _Found) -> None:
    """Adds a word to those of its line; Korean ones come in syllables, which are joined where no space is between."""
    if words and _HANGUL.match(words[-1].text[-1]) and _HANGUL.match(word.text[0]):
        last = words[-1]
        if word.left - last.left - last.width < _SPACE * max(last.height, word.height):
            top, bottom = min(last.top, word.top), max(last.top + last.height, word.top + word.height)
            width = max(last.width, word.left + word.width - last.left)
            words[-1] = _Found(last.text + word.text, last.left, top, width, bottom - top, min(last.sure, word.sure))
            return
    words.append(word)


def _line(words: Sequence[_Found], size: tuple[int, int], rotate: int) -> Line:
    letters = [sum(map(str.isalnum, word.text)) for word in words]
    total = sum(letters)
    sure = sum(count * word.sure for count, word in zip(letters, words, strict=True)) / total if total else 0.0
    width, height = size
    boxes = (Box(one.left / width, one.top / height, one.width / width, one.height / height) for one in words)
    return Line(tuple(Word(one.text, turned_back(box, rotate)) for one, box in zip(words, boxes, strict=True)), sure)


def turned_back(box: Box, rotate: int) -> Box:
    """Returns where a box of a turned picture is on the picture as it was.

    Args:
        box: A box on the picture after it was turned clockwise.
        rotate: By how many degrees: 0, 90, 180 or 270.

    Example:
        >>> turned_back(Box(0.0, 0.0, 0.25, 0.125), 90)  # the upper left corner was the lower left one
        Box(left=0.0, top=0.75, width=0.125, height=0.25)
    """
    right, bottom = 1.0 - box.left - box.width, 1.0 - box.top - box.height
    if rotate == 90:
        return Box(box.top, right, box.height, box.width)
    if rotate == 180:
        return Box(right, bottom, box.width, box.height)
    if rotate == 270:
        return Box(bottom, box.left, box.height, box.width)
    return box
