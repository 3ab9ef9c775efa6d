"""A page that text is drawn on, with the box of each run. Coordinates are pixels from the top left corner."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.fonts import Face, SizedFont, faces, sized
from polylens.lab.synthetic.lexicon import LANGUAGES, RIGHT_TO_LEFT, UNSPACED
from polylens.lab.synthetic.page import Box, Fact, SyntheticPage, Term

Colour = tuple[int, int, int]

BLACK: Colour = (24, 24, 27)
GREY: Colour = (95, 99, 107)
RULE: Colour = (176, 180, 187)
WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Pen:
    """The faces in which a language is written on a page."""

    language: str
    regular: Face
    bold: Face
    spare: Face
    """For characters that the others lack, such as digits and Latin letters beside most scripts."""

    @property
    def rtl(self) -> bool:
        return LANGUAGES[self.language] in RIGHT_TO_LEFT


def pen(rng: random.Random, language: str, split: Split) -> Pen:
    """Draws a pen with a family of fonts of the split.

    Raises:
        InputError: No font for the language is installed.
    """
    regular, bold = _pair(rng, language, split)
    return Pen(language, regular, bold, _pair(rng, "en", split)[0])


def _pair(rng: random.Random, language: str, split: Split) -> tuple[Face, Face]:
    """Draws a regular and a bold face of one family; fixed-width families are only for code."""
    every = [face for face in faces(language, split) if "Mono" not in face.family]
    family = rng.choice(sorted({face.family for face in every}))
    upright = [face for face in every if face.family == family and "Condensed" not in face.path.stem]
    plain = [face for face in upright if _style(face) in ("", "Regular", "Book", "Sans")]
    strong = [face for face in upright if _style(face) == "Bold"]
    regular = rng.choice(plain or upright)
    return regular, rng.choice(strong) if strong else regular


def _style(face: Face) -> str:
    """The weight and slant of a face, from the end of its file's name."""
    stem = face.path.stem
    if "-" in stem:
        return stem.rpartition("-")[2]
    for ending in ("BoldOblique", "BoldItalic", "Oblique", "Italic", "Bold"):
        if stem.endswith(ending):
            return ending
    return ""


class Canvas:
    """A page that is being written.

    Args:
        width: Pixels.
        height: Pixels.
        paper: Colour of the background.
    """

    def __init__(self, width: int, height: int, paper: Colour = WHITE) -> None:
        self.width, self.height = width, height
        self.picture = Image.new("RGB", (width, height), paper)
        self.draw = ImageDraw.Draw(self.picture)
        self.words: list[str] = []
        self.boxes: list[Box] = []

    def length(self, pen: Pen, text: str, size: float, *, bold: bool = False) -> float:
        """The width of a text in pixels."""
        return sum(length for _, _, length in _runs(pen, text, size, bold))

    def fit(self, pen: Pen, text: str, size: float, widest: float, *, bold: bool = False) -> float:
        """The size, reduced where the text would be wider than `widest` pixels."""
        length = self.length(pen, text, size, bold=bold)
        return size if length <= widest else size * widest / length * 0.99

    def text(
        self,
        pen: Pen,
        x: float,
        baseline: float,
        text: str,
        size: float,
        *,
        ink: Colour = BLACK,
        align: str = "left",
        bold: bool = False,
        widest: float | None = None,
    ) -> Box:
        """Writes a line.

        Args:
            pen: Language and faces.
            x: Its left edge, its middle or its right edge, as `align` says.
            baseline: Pixels from the top.
            text: Words with single spaces between them, in logical order.
            size: Pixels per em.
            ink: Colour.
            align: "left", "centre" or "right".
            bold: In the pen's bold face.
            widest: Pixels; a wider text is made smaller.
        """
        if widest is not None:
            size = self.fit(pen, text, size, widest, bold=bold)
        runs = _runs(pen, text, size, bold)
        total = sum(length for _, _, length in runs)
        left = x - {"left": 0.0, "centre": total / 2, "right": total}[align]
        at = left + total if pen.rtl else left
        for part, font, length in runs:
            at -= length if pen.rtl else 0.0
            if part != " ":
                self.draw.text((at, baseline), part, fill=ink, font=font.font, anchor="ls")
            at += 0.0 if pen.rtl else length
        self.words += text.split(" ")
        fonts = [font for part, font, _ in runs if part != " "]
        top, bottom = max(font.ascent for font in fonts), max(font.descent for font in fonts)
        box = Box(text, left, baseline - top, left + total, baseline + bottom)
        self.boxes.append(box)
        return box

    def paragraph(
        self,
        pen: Pen,
        left: float,
        top: float,
        right: float,
        bottom: float,
        words: list[str],
        size: float,
        *,
        pitch: float = 1.45,
        ink: Colour = BLACK,
        bold: bool = False,
    ) -> float:
        """Writes words in lines, from the side where the script begins, as far as there is room.

        Args:
            pen: Language and faces.
            left: Pixels.
            top: Pixels.
            right: Pixels.
            bottom: Pixels.
            words: The words.
            size: Pixels per em.
            pitch: From one baseline to the next, in ems.
            ink: Colour.
            bold: In the pen's bold face.

        Returns:
            Where the next line would begin, in pixels from the top.
        """
        step, waiting = pitch * size, list(words)
        baseline = top + 0.95 * size
        while waiting and baseline + 0.5 * size < bottom:
            line = [waiting.pop(0)]
            while waiting and self.length(pen, " ".join([*line, waiting[0]]), size, bold=bold) <= right - left:
                line.append(waiting.pop(0))
            side, align = (right, "right") if pen.rtl else (left, "left")
            self.text(pen, side, baseline, " ".join(line), size, ink=ink, align=align, bold=bold, widest=right - left)
            baseline += step
        return baseline - 0.95 * size

    def rule(self, x0: float, y0: float, x1: float, y1: float, ink: Colour = RULE, width: int = 1) -> None:
        """Draws a straight line."""
        self.draw.line((x0, y0, x1, y1), fill=ink, width=width)

    def block(
        self, left: float, top: float, right: float, bottom: float, fill: Colour | None, outline: Colour | None = None
    ) -> None:
        """Draws a rectangle."""
        self.draw.rectangle((left, top, right, bottom), fill=fill, outline=outline)

    def page(
        self,
        kind: str,
        language: str,
        design: str,
        *,
        title: tuple[Term, ...],
        facts: Sequence[Fact],
        look: str | None = None,
        summary: Term | None = None,
    ) -> SyntheticPage:
        """The finished page. Arguments are fields of `SyntheticPage`; `look` is the kind by default."""
        image, words, boxes = np.array(self.picture), tuple(self.words), tuple(self.boxes)
        return SyntheticPage(kind, language, look or kind, design, title, tuple(facts), image, words, boxes, summary)


def _runs(pen: Pen, text: str, size: float, bold: bool) -> list[tuple[str, SizedFont, float]]:
    """Words, parts of words and spaces in logical order, each with its font and its width in pixels."""
    size = round(4 * size) / 4  # so that opened fonts can be reused
    main = sized(pen.bold if bold else pen.regular, size)
    unspaced = LANGUAGES[pen.language] in UNSPACED
    space = 0.0 if unspaced else max(main.font.getlength(" "), 0.2 * size)
    runs: list[tuple[str, SizedFont, float]] = []
    for word in text.split(" "):
        if runs:
            runs.append((" ", main, space))
        for part, font in _parts(word, main, sized(pen.spare, size)):
            runs.append((part, font, font.font.getlength(part)))
    return runs


def _parts(word: str, main: SizedFont, spare: SizedFont) -> list[tuple[str, SizedFont]]:
    """A word in parts by font; one part where the main font has all of its characters."""
    if main.face.covers(word):
        return [(word, main)]
    parts = []
    for covered, letters in itertools.groupby(word, key=lambda letter: main.face.covers(letter)):
        part = "".join(letters)
        assert covered or spare.face.covers(part), f"no font has all letters of {part!r}"
        parts.append((part, main if covered else spare))
    return parts
