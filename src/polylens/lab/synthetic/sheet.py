"""A picture that is filled with words of one language, each noted with its box."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.canvas import Colour
from polylens.lab.synthetic.fonts import SizedFont
from polylens.lab.synthetic.lexicon import LANGUAGES, RIGHT_TO_LEFT, UNSPACED, sample_text
from polylens.lab.synthetic.rendered import PlacedWord, Rendered
from polylens.lab.synthetic.wear import scanned, worn

_VISIBLE = 0.8  # share of a word's box: a word that the edge cuts further is drawn, but not noted


@dataclass(frozen=True, slots=True)
class Style:
    """How words are set."""

    font: SizedFont
    ink: Colour
    pitch: float
    """Pixels from one baseline to the next."""


Words = Callable[[int], list[str]]
"""Number of words -> so many further words, the first one last."""


class Sheet:
    """A picture that is being filled with words of one language.

    Args:
        rng: Decides everything.
        width: Pixels.
        height: Pixels.
        language: A key of `lexicon.LANGUAGES`.
        split: Of words: "train" or "held_out".
        background: The colour of the paper.
        words: What it is filled with; None are words without a meaning, from `lexicon.sample_text`.
    """

    def __init__(
        self,
        rng: random.Random,
        width: int,
        height: int,
        language: str,
        split: Split,
        background: Colour,
        words: Words | None = None,
    ) -> None:
        self.rng = rng
        self.width, self.height = width, height
        self.background = background
        self.image = Image.new("RGB", (width, height), background)
        self.draw = ImageDraw.Draw(self.image)
        self.placed: list[PlacedWord] = []
        self.whole_boxes = False
        self.rtl = LANGUAGES[language] in RIGHT_TO_LEFT
        self.spaced = LANGUAGES[language] not in UNSPACED
        self._language: str = language
        self._words: Words = words or partial(sample_text, rng, language, split)
        self._stock: list[str] = []

    def finished(self, scan: bool) -> Rendered:
        """The finished picture, scanned or with random wear."""
        if scan:
            image, tilt = scanned(self.rng, np.array(self.image))
            return Rendered(image, self.placed, self._language, tilt)
        return Rendered(worn(self.rng, self.image), self.placed, self._language)

    def next_word(self, font: SizedFont, widest: float) -> tuple[str, float]:
        """A fresh word and its width in pixels, at most `widest`; "" where none of 24 draws fits."""
        for _ in range(24):
            if not self._stock:
                self._stock = self._words(24)
            text = self._stock.pop()
            if not font.face.covers(text):  # fonts for one script may lack digits or brackets
                text = "".join(filter(font.face.covers, text)) if text[0].isalpha() or text[-1].isalpha() else ""
            if text:
                length = font.length(text)
                if length <= widest:
                    return text, length
        return "", 0.0

    def word(self, text: str, style: Style, left: float, baseline: float, length: float | None = None) -> None:
        """Draws a word and notes its box."""
        font = style.font
        right = left + (font.length(text) if length is None else length)
        top, bottom = baseline - font.ascent, baseline + font.descent
        if right <= 0 or left >= self.width or bottom <= 0 or top >= self.height:
            return
        self.draw.text((left, baseline), text, fill=style.ink, font=font.font, anchor="ls")
        edges = tuple(right - edge if self.rtl else left + edge for edge in font.edges(text))
        if self.whole_boxes:
            self.placed.append(PlacedWord(text, left, top, right, bottom, self.rtl, edges))
            return
        box = max(left, 0.0), max(top, 0.0), min(right, float(self.width)), min(bottom, float(self.height))
        shown = (box[2] - box[0]) * (box[3] - box[1])
        if shown >= _VISIBLE * (right - left) * (bottom - top):
            self.placed.append(PlacedWord(text, *box, self.rtl, edges))

    def line(
        self, style: Style, left: float, right: float, baseline: float, most: int = 10**6, align: str = "start"
    ) -> int:
        """Fills a line with at most `most` words, from the side where the script begins.

        Returns:
            How many words it took; some of them may lie outside the picture.
        """
        space = style.font.length(" ") if self.spaced else 0.0
        room = right - left
        taken: list[tuple[str, float]] = []
        while len(taken) < most:
            text, length = self.next_word(style.font, room if not taken else math.inf)
            if not text:
                break
            if taken and length > room:
                self._stock.append(text)
                break
            taken.append((text, length))
            room -= length + space
        slack = room + space
        if align == "justify" and 1 < len(taken) < most and self.spaced:
            space += min(slack / (len(taken) - 1), 1.5 * space)
        start = slack / 2 if align == "centre" else 0.0
        x = right - start if self.rtl else left + start
        for text, length in taken:
            self.word(text, style, x - length if self.rtl else x, baseline, length)
            x += -(length + space) if self.rtl else length + space
        return len(taken)

    def paragraph(
        self,
        style: Style,
        left: float,
        top: float,
        right: float,
        bottom: float,
        num_words: int = 10**6,
        align: str = "start",
    ) -> float:
        """Writes lines until the words or the room run out. Returns where they end, in pixels from the top."""
        baseline = top + style.font.ascent
        while num_words > 0 and baseline + style.font.descent <= bottom:
            taken = self.line(style, left, right, baseline, num_words, align)
            if not taken:
                break
            num_words -= taken
            baseline += style.pitch
        return baseline - style.font.ascent


def to_half_pixel(size: float) -> float:
    """The size rounded to half a pixel, so that opened fonts can be reused."""
    return round(2 * size) / 2
