"""Reads the words of a page's picture, with whichever program suits its script.

RapidOCR looks first, where it may: it finds the lines of any script, and is sure of those that it can read. Where it is
not, Tesseract reads the page by the packs of one script: the one that the pages before were in, the one that the page
looks like, or the one that it is most sure of on a strip of the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import PIL.Image

from polylens.documents.cleaning import clean, join_broken_words
from polylens.documents.ocr import rapid, tesseract
from polylens.documents.ocr.languages import AUTO, RAPID_SCRIPTS, Language, languages_of, packs_by_script, parse
from polylens.documents.ocr.lines import Line, confidence_of, in_reading_order, length_of, text_of
from polylens.errors import InputError
from polylens.types import Kind, Page, Word

FEW_LETTERS = 32
"""A text layer of fewer letters and digits says next to nothing: a page number, a stamp, a scanner's advertisement."""

PIXELS = 2_200_000  # of the picture that is read: A4 at 150 dots per inch
MIN_SIDE = 16  # pixels; a smaller picture is a rule or a bullet

SURE = 0.93  # RapidOCR's confidence in a page from which on nothing else is asked
LEAST_LINE = 0.75  # confidence of a line that RapidOCR read
LEAST_WORDS = 0.6  # confidence of a line that Tesseract read
GOOD = 0.75  # Tesseract's confidence in a page from which on no other script is tried
LEAST_KEPT = 0.4  # share of what was found, by the length of lines, that is kept; of a photograph, less is sure enough
LEAST_LETTERS = 3  # of a page; fewer are seen in anything

_STRIP = 5  # lines of a page on which scripts are tried
_MARGIN = 4  # pixels around a strip


@dataclass(frozen=True, slots=True)
class Installed:
    """What this machine can read pages with."""

    rapid: bool
    packs: frozenset[str]
    """Tesseract's packs of languages."""

    @classmethod
    def here(cls) -> Installed:
        """What is installed now."""
        return cls(rapid.is_installed(), tesseract.packs())

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each, sorted: "rapidocr", "tesseract rus"."""
        return (*(["rapidocr"] if self.rapid else []), *(f"tesseract {pack}" for pack in sorted(self.packs)))


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read on a page."""

    text: str = ""
    words: tuple[Word, ...] = ()
    by: str = ""
    """What read it: "rapidocr", "tesseract rus"; "" where nothing was read."""


class PageReader:
    """Reads pages; close it, or use a `with` statement.

    Several threads may use it: Tesseract reads as many pages at a time, RapidOCR one for every four cores.

    Args:
        setting: "auto" reads what can be read here; or ISO 639 codes with commas between them, and only these.
        installed: What there is to read with; None finds out.

    Raises:
        InputError: The setting is none, or nothing here reads one of the languages.
    """

    def __init__(self, setting: str = AUTO, installed: Installed | None = None) -> None:
        self.setting = parse(setting)
        self.installed = installed or Installed.here()
        require_readable(self.setting, self.installed)
        languages = languages_of(self.setting)
        self._has_rapid = self.installed.rapid and (not languages or any(each.is_for_rapid for each in languages))
        self._packs = _packs(self.installed.packs, languages, besides_rapid=self._has_rapid)
        self._rapid = rapid.RapidReaders()
        self._script = ""  # of the page before

    @property
    def can_read(self) -> bool:
        """Whether anything is installed that reads pages."""
        return self._has_rapid or bool(self._packs)

    def read(self, image: PIL.Image.Image) -> Reading:
        """Reads a page.

        Args:
            image: RGB.

        Returns:
            The words, with boxes on the picture; nothing where it shows no text that could be read for sure.

        Raises:
            DocumentError: It takes too long or too much memory; the message names no file.
        """
        if min(image.size) < MIN_SIDE or not self.can_read:
            return Reading()
        image = _at_most(image, PIXELS)
        aspect = image.height / image.width
        rapidly: list[Line] = []
        if self._has_rapid:
            rapidly = self._rapid.read(image)
            if not rapidly:
                return Reading()
            if confidence_of(rapidly) >= SURE or not self._packs:
                return _reading(in_reading_order(_kept(rapidly, LEAST_LINE), aspect), "rapidocr", rapidly)
        script, blocks = self._by_tesseract(image, rapidly)
        lines = _joined(blocks)
        if confidence_of(lines) < max(LEAST_WORDS, confidence_of(rapidly) - 0.1):
            return _reading(in_reading_order(_kept(rapidly, LEAST_LINE), aspect), "rapidocr", rapidly)
        self._script = script
        kept = [_kept(block, LEAST_WORDS) for block in blocks]
        return _reading(kept, "+".join((f"tesseract {self._packs[script][0]}", *self._packs[script][1:])), lines)

    def _by_tesseract(self, image: PIL.Image.Image, found: Sequence[Line]) -> tuple[str, list[list[Line]]]:
        """Returns the script of a page, and what is read of it in that script."""
        script = self._script  # another thread may set it meanwhile
        if script:
            blocks = tesseract.read(image, self._packs[script])
            if confidence_of(_joined(blocks)) >= GOOD:
                return script, blocks
        seen = tesseract.look(image)
        if seen.script in self._packs:
            blocks = tesseract.read(image, self._packs[seen.script], rotate=seen.rotate)
            if confidence_of(_joined(blocks)) >= GOOD:
                return seen.script, blocks
        strip = _strip(image, found)
        sure = {
            script: confidence_of(_joined(tesseract.read(strip, packs, rotate=seen.rotate)))
            for script, packs in self._packs.items()
        }
        best = max(sure, key=lambda script: sure[script])
        return best, tesseract.read(image, self._packs[best], rotate=seen.rotate)

    def close(self) -> None:
        """Ends the processes that read; the next page starts another."""
        self._rapid.close()

    def __enter__(self) -> PageReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def needs_reading(page: Page, kind: Kind) -> bool:
    """Whether a page shows more than its text says, as far as one can tell without reading it.

    A PDF's text is its text layer; with a picture of another document comes a title or a description at most.

    Args:
        page: The page.
        kind: The kind of its document.
    """
    if page.image is None or min(page.image.size) < MIN_SIDE:
        return False
    text = page.text
    if page.kind not in (None, kind):  # inside a message or an archive, where the file's title comes first
        kind, text = page.kind or kind, text.partition("\n")[2]
    if kind == "image" and page.kind is not None:
        return True
    if page.kind is None and kind not in ("pdf", "image"):
        return True
    return _num_letters(text) < FEW_LETTERS


def with_reading(page: Page, reading: Reading) -> Page:
    """Returns a page with what was read added to its text, unless the text has it already."""
    if not reading.words:
        return page
    if not page.text or _letters(page.text) in _letters(reading.text):
        return replace(page, text=reading.text, words=reading.words)
    return replace(page, text=f"{page.text}\n\n{reading.text}", words=(*page.words, *reading.words))


def require_readable(setting: str, installed: Installed) -> None:
    """Refuses languages that nothing installed reads.

    Args:
        setting: In its one form, from `parse`.
        installed: What there is to read with.

    Raises:
        InputError: There is one; the message says what to install.
    """
    for language in languages_of(setting):
        if (installed.rapid and language.is_for_rapid) or installed.packs.intersection(language.packs):
            continue
        pack = f"Debian's package tesseract-ocr-{language.packs[0].replace('_', '-')}"
        ways = f"{rapid.ADVICE}, or {pack}" if language.is_for_rapid else pack
        raise InputError(f"ocr: nothing installed here reads {language.code}; install {ways}")


def _packs(
    installed: Iterable[str], languages: Sequence[Language], *, besides_rapid: bool
) -> dict[str, tuple[str, ...]]:
    """Returns the packs to use, by script.

    Args:
        installed: Those there are.
        languages: The only ones to read; none means all.
        besides_rapid: Whether RapidOCR reads, too. It is better at what it can read.
    """
    wanted = {pack for language in languages for pack in language.packs}
    found = packs_by_script(pack for pack in installed if not languages or pack in wanted)
    if not besides_rapid:
        return found
    apart = {language.script for language in languages if not language.is_for_rapid}
    return {script: packs for script, packs in found.items() if script in apart or script not in RAPID_SCRIPTS}


def _reading(blocks: Iterable[Sequence[Line]], by: str, found: Sequence[Line]) -> Reading:
    """Returns what was kept of a page; nothing where that is only a little of what was found.

    Args:
        blocks: The lines that are sure enough, in reading order.
        by: What read them.
        found: All lines, those that are too unsure as well.
    """
    blocks = [block for block in blocks if block]
    lines = _joined(blocks)
    if sum(line.num_letters for line in lines) < LEAST_LETTERS or length_of(lines) < LEAST_KEPT * length_of(found):
        return Reading()
    text = join_broken_words(clean(text_of(blocks)))
    return Reading(text, tuple(replace(word, text=clean(word.text)) for line in lines for word in line.words), by)


def _kept(lines: Iterable[Line], least: float) -> list[Line]:
    return [line for line in lines if line.confidence >= least and line.num_letters]


def _joined(blocks: Iterable[Sequence[Line]]) -> list[Line]:
    return [line for block in blocks for line in block]


def _strip(image: PIL.Image.Image, lines: Sequence[Line]) -> PIL.Image.Image:
    """Returns the longest lines of a page one below another; the page itself where its lines are not known."""
    boxes = sorted((line.box for line in lines), key=lambda box: box.width, reverse=True)[:_STRIP]
    if not boxes:
        return image
    width, height = image.size
    corners = [
        (
            max(0, math.floor(box.left * width) - _MARGIN),
            max(0, math.floor(box.top * height) - _MARGIN),
            min(width, math.ceil((box.left + box.width) * width) + _MARGIN),
            min(height, math.ceil((box.top + box.height) * height) + _MARGIN),
        )
        for box in boxes
    ]
    parts = [image.crop(each) for each in corners]
    strip = PIL.Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        strip.paste(part, (0, top))
        top += part.height
    return strip


def _at_most(image: PIL.Image.Image, pixels: int) -> PIL.Image.Image:
    scale = math.sqrt(pixels / (image.width * image.height))
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, PIL.Image.Resampling.LANCZOS)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


def _num_letters(text: str) -> int:
    return sum(map(str.isalnum, text))
