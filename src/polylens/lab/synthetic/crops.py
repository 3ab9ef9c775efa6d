"""Pictures of text, with the box of every word: crops out of documents, and whole pages.

What is drawn is decided by a `random.Random` alone. Coordinates are pixels from the top left corner; a baseline and a
left edge fall anywhere between two pixels, as they do in a rendered PDF.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from polylens.errors import InputError
from polylens.lab.synthetic.fonts import Face, SizedFont, faces, sized
from polylens.lab.synthetic.lexicon import LANGUAGES, RIGHT_TO_LEFT, UNSPACED, Split, sample_text
from polylens.lab.synthetic.scans import scanned

Coordinates = TypeVar("Coordinates", float, npt.NDArray[np.float64])
Colour = tuple[int, int, int]

_SHARES: dict[str, float] = {
    "en": 0.2,
    **{language: 0.38 / 15 for language, script in LANGUAGES.items() if script == "Latn" and language != "en"},
    **{"ru": 0.05, "uk": 0.025, "bg": 0.025, "el": 0.05, "he": 0.04, "ar": 0.04, "fa": 0.02, "hi": 0.04, "th": 0.03},
    **{"zh": 0.04, "ja": 0.035, "ko": 0.025},
}
"""Language -> its share: Latin 58 %, Cyrillic 10, CJK 10, Arabic 6, Greek 5, Hebrew 4, Hindi 4, Thai 3."""

_VISIBLE = 0.8  # of a word's box: what is cut further is drawn, but not told


@dataclass(frozen=True, slots=True)
class Crop:
    """A small picture of text that any of the models can read whole."""

    image: npt.NDArray[np.uint8]
    """`[height, width, 3]`, RGB."""
    query: str
    """Some of its words."""
    text: str
    """All of them."""


@dataclass(frozen=True, slots=True)
class PlacedWord:
    """A word and where it stands, in pixels, clipped to the picture."""

    text: str
    """As drawn, attached punctuation included, in logical order."""
    left: float
    top: float
    right: float
    bottom: float
    rtl: bool
    """Written from right to left."""
    edges: tuple[float, ...]
    """Where its letters stand: near edge of each in reading direction, far edge of the last; not clipped."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A picture and the words in it, in reading order."""

    image: npt.NDArray[np.uint8]
    """`[height, width, 3]`, RGB."""
    words: list[PlacedWord]
    """Where they were before the picture was tilted."""
    language: str
    tilt: float = 0.0
    """Degrees, counter-clockwise about the middle."""

    def tilted(self, x: Coordinates, y: Coordinates) -> tuple[Coordinates, Coordinates]:
        """Where a point of the upright picture came to lie."""
        return self._turned(x, y, math.radians(self.tilt))

    def upright(self, x: Coordinates, y: Coordinates) -> tuple[Coordinates, Coordinates]:
        """Where a point of the picture was before it was tilted."""
        return self._turned(x, y, -math.radians(self.tilt))

    def _turned(self, x: Coordinates, y: Coordinates, angle: float) -> tuple[Coordinates, Coordinates]:
        height, width = self.image.shape[:2]
        right, down = x - width / 2, y - height / 2  # the vertical axis points down
        cos, sin = math.cos(angle), math.sin(angle)
        return width / 2 + cos * right + sin * down, height / 2 - sin * right + cos * down


def render_crop(
    rng: random.Random,
    *,
    width: int,
    height: int,
    split: Split,
    language: str | None = None,
    font_size: float | None = None,
    dense: bool = False,
    scan: bool = False,
) -> Rendered:
    """A piece cut out of a document: lines, columns, cells of a table or scattered labels, in one language.

    Args:
        rng: Decides everything.
        width: Pixels.
        height: Pixels.
        split: Which words and which families of fonts: "train" or "held_out".
        language: A key of `lexicon.LANGUAGES`; drawn when None.
        font_size: Pixels per em of the text; when None, 10-28, small ones more often.
        dense: Lines of text from edge to edge and nothing else; words that the edges cut are told too, with their
            whole boxes.
        scan: As it comes out of a scanner, a little askew.

    Raises:
        InputError: A size is not positive, or no font for the language is installed.
    """
    _check(width, height, font_size)
    language = language or _draw_language(rng)
    size = font_size or _round(10 * 2.8 ** rng.random())
    face = _draw_face(rng, language, split)
    background, ink = _palette(rng)
    sheet = _Sheet(rng, width, height, language, split, background)
    if dense:
        sheet.whole_boxes = True
        _wall(sheet, _Style(sized(face, size), ink, 0.0))
        return sheet.finished(scan)
    layout: Callable[[_Sheet, _Style], None] = rng.choices(
        (_running_text, _columns, _cells, _labels), cum_weights=(0.5, 0.65, 0.85, 1.0)
    )[0]
    layout(sheet, _Style(sized(face, size), ink, _pitch(rng, face, size)))
    return sheet.finished(scan)


def render_page(
    rng: random.Random,
    *,
    width: int,
    height: int,
    split: Split,
    language: str | None = None,
    font_size: float | None = None,
    scan: bool = False,
) -> Rendered:
    """A whole page of a document: title, one or two columns of paragraphs, now and then a list, a table, a chart.

    Args:
        rng: Decides everything.
        width: Pixels.
        height: Pixels.
        split: Which words and which families of fonts: "train" or "held_out".
        language: A key of `lexicon.LANGUAGES`; drawn when None.
        font_size: Pixels per em of the body; when None, a 60th to a 41st of the width, as on A4 in 10 to 14 points, so
            that a page holds 60-220 words.
        scan: As it comes out of a scanner, a little askew.

    Raises:
        InputError: A size is not positive, or no font for the language is installed.
    """
    _check(width, height, font_size)
    language = language or _draw_language(rng)
    face = _draw_face(rng, language, split)
    background, ink = _palette(rng, plain=True)
    sheet = _Sheet(rng, width, height, language, split, background)
    size = font_size or _round(rng.uniform(11, 16) * width / 656)
    style = _Style(sized(face, size), ink, _pitch(rng, face, size))

    side = width * rng.uniform(0.05, 0.12)
    top, bottom = height * rng.uniform(0.04, 0.09), height * rng.uniform(0.9, 0.95)
    title_size = _round(size * rng.uniform(1.4, 2.1))
    title = _Style(sized(_draw_face(rng, language, split), title_size), _tinted(rng, ink), title_size * 1.4)
    top = sheet.paragraph(title, side, top, width - side, top + 2.2 * title.pitch, rng.randint(2, 7)) + size

    num_words = rng.randint(60, 220)
    columns = 2 if width > 34 * size and rng.random() < 0.4 else 1
    gutter = 1.6 * size
    column = (width - 2 * side - (columns - 1) * gutter) / columns
    for i in range(columns):
        place = columns - 1 - i if sheet.rtl else i
        left = side + place * (column + gutter)
        goal = len(sheet.placed) + num_words // columns
        y = top
        while y < bottom - style.pitch and len(sheet.placed) < goal:
            block = rng.choices((_paragraph, _list, _table, _chart), cum_weights=(0.66, 0.8, 0.9, 1.0))[0]
            y = block(sheet, style, left, y, left + column, bottom) + style.pitch * rng.uniform(0.4, 1.0)

    if rng.random() < 0.6:
        number = str(rng.randint(1, 300))
        if face.covers(number):
            small = replace(style, font=sized(face, _round(size * 0.9)))
            sheet.word(
                number, small, width * rng.choice((0.5, 0.12, 0.86)), min(height - 0.4 * size, bottom + 2 * size)
            )
    return sheet.finished(scan)


@dataclass(frozen=True, slots=True)
class _Style:
    font: SizedFont
    ink: Colour
    pitch: float
    """Pixels from one baseline to the next."""


class _Sheet:
    """A picture being filled with words of one language."""

    def __init__(
        self, rng: random.Random, width: int, height: int, language: str, split: Split, background: Colour
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
        self._split: Split = split
        self._stock: list[str] = []

    def finished(self, scan: bool) -> Rendered:
        """What became of it, worn or scanned."""
        if scan:
            image, tilt = scanned(self.rng, np.array(self.image))
            return Rendered(image, self.placed, self._language, tilt)
        return Rendered(_wear(self.rng, self.image), self.placed, self._language)

    def next_word(self, font: SizedFont, widest: float) -> tuple[str, float]:
        """A fresh word and its width in pixels, at most `widest`; "" when none of many would do."""
        for _ in range(24):
            if not self._stock:
                self._stock = sample_text(self.rng, self._language, self._split, 24)
            text = self._stock.pop()
            if not font.face.covers(text):  # fonts for one script may lack digits or brackets
                text = "".join(filter(font.face.covers, text)) if text[0].isalpha() or text[-1].isalpha() else ""
            if text:
                length = font.length(text)
                if length <= widest:
                    return text, length
        return "", 0.0

    def word(self, text: str, style: _Style, left: float, baseline: float, length: float | None = None) -> None:
        """Draw a word and note its box."""
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
        self, style: _Style, left: float, right: float, baseline: float, most: int = 10**6, align: str = "start"
    ) -> int:
        """Fill a line with at most `most` words, from the side where the script begins.

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
        style: _Style,
        left: float,
        top: float,
        right: float,
        bottom: float,
        num_words: int = 10**6,
        align: str = "start",
    ) -> float:
        """Lines of words, until the words or the room run out. Returns where they end, in pixels from the top."""
        baseline = top + style.font.ascent
        while num_words > 0 and baseline + style.font.descent <= bottom:
            taken = self.line(style, left, right, baseline, num_words, align)
            if not taken:
                break
            num_words -= taken
            baseline += style.pitch
        return baseline - style.font.ascent


def _wall(sheet: _Sheet, style: _Style) -> None:
    """Line under line, each beginning and ending beyond the edges."""
    rng, font = sheet.rng, style.font
    baseline = rng.uniform(0, 1) * font.ascent
    while baseline - font.ascent < sheet.height:
        sheet.line(style, -rng.uniform(0, 6) * font.size, sheet.width + 8 * font.size, baseline)
        baseline += (font.ascent + font.descent) * rng.uniform(0.95, 1.15)


def _running_text(sheet: _Sheet, style: _Style) -> None:
    """Paragraphs that may begin and end outside the crop."""
    rng, size = sheet.rng, style.font.size
    left = rng.uniform(-0.3, 0.2) * sheet.width
    right = sheet.width * rng.uniform(0.85, 1.2)
    align = rng.choice(("start", "start", "start", "justify", "centre"))
    y = rng.uniform(-style.pitch, 2 * style.pitch)
    while y < sheet.height:
        if rng.random() < 0.25:
            large = _round(size * rng.uniform(1.1, 1.5))
            heading = replace(style, font=sized(style.font.face, large), ink=_tinted(rng, style.ink), pitch=1.4 * large)
            y = sheet.paragraph(heading, left, y, right, math.inf, rng.randint(1, 4)) + 0.3 * size
        count = rng.randint(8, 60)
        y = sheet.paragraph(style, left, y, right, sheet.height + 2 * style.pitch, count, align)
        y += style.pitch * rng.choice((0.0, 0.5, 1.0)) + 1


def _columns(sheet: _Sheet, style: _Style) -> None:
    """Two or three columns side by side, seldom on one grid of lines."""
    rng, size = sheet.rng, style.font.size
    width = max(rng.uniform(6, 14) * size, sheet.width / 3)
    gutter = size * rng.uniform(1.2, 2.5)
    left = -rng.uniform(0, 0.6) * width
    align = rng.choice(("start", "justify"))
    while left < sheet.width:
        y = rng.uniform(-style.pitch, 1.5 * style.pitch)
        sheet.paragraph(style, left, y, left + width, sheet.height + 2 * style.pitch, align=align)
        left += width + gutter
        if rng.random() < 0.2:
            sheet.draw.line(
                (left - gutter / 2, 0, left - gutter / 2, sheet.height), fill=_between(sheet.background, style.ink)
            )


def _cells(sheet: _Sheet, style: _Style) -> None:
    """A table that is larger than the crop."""
    rng, size = sheet.rng, style.font.size
    left, top = rng.uniform(-4, 1) * size, rng.uniform(-2, 1) * size
    widths = [size * rng.uniform(4, 10) for _ in range(1 + int((sheet.width - left) / (4 * size)))]
    _grid(sheet, style, left, top, widths, 1 + int((sheet.height - top) / style.pitch))


def _grid(sheet: _Sheet, style: _Style, left: float, top: float, widths: list[float], num_rows: int) -> float:
    """Short cells in rows and columns, with or without rules. Returns its lower edge in pixels."""
    rng, size = sheet.rng, style.font.size
    row_height = max(style.pitch, style.font.ascent + style.font.descent) * rng.uniform(1.0, 1.6)
    rule = _between(sheet.background, style.ink)
    rules = rng.choice(("none", "rows", "all"))
    bottom, right = top + num_rows * row_height, left + sum(widths)
    shaded = rng.random() < 0.3
    order = widths[::-1] if sheet.rtl else widths
    for row in range(num_rows):
        y = top + row * row_height
        if y > sheet.height:
            break
        if shaded and row % 2:
            sheet.draw.rectangle((left, y, right, y + row_height), fill=_between(sheet.background, style.ink, 0.08))
        baseline = y + (row_height + style.font.ascent - style.font.descent) / 2
        x = right if sheet.rtl else left
        for width in order:
            cell = x - width if sheet.rtl else x
            if rng.random() < 0.9:
                sheet.line(style, cell + 0.4 * size, cell + width - 0.4 * size, baseline, rng.choice((1, 1, 1, 2, 3)))
            x += -width if sheet.rtl else width
        if rules != "none":
            sheet.draw.line((left, y, right, y), fill=rule)
    if rules == "all":
        edges = [left + sum(widths[:i]) for i in range(len(widths) + 1)]
        for edge in edges:
            sheet.draw.line((edge, top, edge, bottom), fill=rule)
    return bottom


def _labels(sheet: _Sheet, style: _Style) -> None:
    """A few words here and there, as on a chart, a map or a form, each row in its own size."""
    rng = sheet.rng
    y = rng.uniform(-0.3, 1) * style.pitch
    while y < sheet.height:
        size = _round(style.font.size * rng.uniform(0.8, 1.3))
        row = replace(style, font=sized(style.font.face, size), ink=_tinted(rng, style.ink))
        left = rng.uniform(-0.2, 0.7) * sheet.width
        baseline = y + row.font.ascent
        if rng.random() < 0.3:
            box = (
                left - 0.5 * size,
                y - 0.2 * size,
                left + rng.uniform(3, 12) * size,
                baseline + row.font.descent + 0.2 * size,
            )
            sheet.draw.rectangle(box, outline=_between(sheet.background, row.ink))
        sheet.line(row, left, left + 0.8 * sheet.width, baseline, rng.randint(1, 3))
        y = baseline + row.font.descent + rng.uniform(0.3, 3) * size


def _paragraph(sheet: _Sheet, style: _Style, left: float, top: float, right: float, bottom: float) -> float:
    rng = sheet.rng
    if rng.random() < 0.3:
        large = _round(style.font.size * rng.uniform(1.1, 1.4))
        heading = replace(style, font=sized(style.font.face, large), ink=_tinted(rng, style.ink), pitch=1.45 * large)
        top = sheet.paragraph(heading, left, top, right, bottom, rng.randint(1, 5)) + 0.2 * large
    return sheet.paragraph(
        style, left, top, right, bottom, rng.randint(18, 60), rng.choice(("start", "start", "justify"))
    )


def _list(sheet: _Sheet, style: _Style, left: float, top: float, right: float, bottom: float) -> float:
    size = style.font.size
    inner = (left, right - 1.3 * size) if sheet.rtl else (left + 1.3 * size, right)
    for _ in range(sheet.rng.randint(2, 6)):
        if top + style.pitch > bottom:
            break
        x = right - 0.5 * size if sheet.rtl else left + 0.5 * size
        y = top + 0.65 * style.font.ascent
        sheet.draw.ellipse((x - 0.15 * size, y - 0.15 * size, x + 0.15 * size, y + 0.15 * size), fill=style.ink)
        top = sheet.paragraph(style, inner[0], top, inner[1], bottom, sheet.rng.randint(2, 9))
    return top


def _table(sheet: _Sheet, style: _Style, left: float, top: float, right: float, bottom: float) -> float:
    rows = min(sheet.rng.randint(3, 8), int((bottom - top) / (1.6 * style.pitch)))
    count = max(2, min(sheet.rng.randint(2, 5), int((right - left) / (6 * style.font.size))))
    return _grid(sheet, style, left, top, [(right - left) / count] * count, rows) if rows > 1 else top


def _chart(sheet: _Sheet, style: _Style, left: float, top: float, right: float, bottom: float) -> float:
    """Bars, or a block of colours where a picture would be, with a caption."""
    rng, size = sheet.rng, style.font.size
    height = min(rng.uniform(7, 16) * size, bottom - top - 2 * style.pitch)
    if height < 4 * size:
        return bottom
    foot = top + height
    if rng.random() < 0.6:
        count = rng.randint(3, 8)
        step = (right - left) / count
        colour = _hue(rng)
        for i in range(count):
            x = left + (i + 0.2) * step
            sheet.draw.rectangle((x, foot - rng.uniform(0.1, 1) * height, x + 0.6 * step, foot), fill=colour)
        sheet.draw.line((left, foot, right, foot), fill=style.ink)
    else:
        sheet.draw.rectangle((left, top, right, foot), fill=_hue(rng))
        for _ in range(rng.randint(2, 6)):
            x, y, r = rng.uniform(left, right), rng.uniform(top, foot), rng.uniform(0.1, 0.4) * height
            box = (max(x - r, left), max(y - r, top), min(x + r, right), min(y + r, foot))
            sheet.draw.ellipse(box, fill=_hue(rng))
    small = replace(style, font=sized(style.font.face, _round(0.9 * size)))
    return sheet.paragraph(small, left, foot + 0.4 * size, right, bottom, rng.randint(2, 8))


def _check(width: int, height: int, font_size: float | None) -> None:
    if width < 1 or height < 1:
        raise InputError(f"width and height must be at least 1 pixel, got {width} x {height}")
    if font_size is not None and font_size < 4:
        raise InputError(f"font_size must be at least 4 pixels per em to be legible, got {font_size}")


def _draw_language(rng: random.Random) -> str:
    return rng.choices(list(_SHARES), weights=list(_SHARES.values()))[0]


def _draw_face(rng: random.Random, language: str, split: Split) -> Face:
    """A family first, so that one with many weights is not seen more often; fixed-width ones at a third of the rate."""
    every = faces(language, split)
    names = sorted({face.family for face in every})
    weights = [1 if "Mono" in name else 3 for name in names]
    family = rng.choices(names, weights=weights)[0]
    return rng.choice([face for face in every if face.family == family])


def _pitch(rng: random.Random, face: Face, size: float) -> float:
    """Line spacing: 1.1-1.6 em, and enough that no line touches the next."""
    font = sized(face, size)
    return max(size * rng.uniform(1.1, 1.6), 1.02 * (font.ascent + font.descent))


def _round(size: float) -> float:
    """To half a pixel, so that opened fonts can be kept."""
    return round(2 * size) / 2


def _palette(rng: random.Random, *, plain: bool = False) -> tuple[Colour, Colour]:
    """Background and ink, at least 100 of 255 apart in brightness."""
    kind = rng.random() * (0.65 if plain else 1.0)
    if kind < 0.4:
        level, dark = rng.randint(246, 255), rng.randint(0, 50)
        return (level, level, level), (dark, dark, dark)
    if kind < 0.65:
        return _shade(rng, 225, 255), _shade(rng, 0, 90)
    if kind < 0.78:
        return _shade(rng, 160, 255), _shade(rng, 0, 60)
    if kind < 0.9:
        return _shade(rng, 0, 70), _shade(rng, 180, 255)
    return _shade(rng, 220, 255), _tinted(rng, (60, 60, 60))


def _shade(rng: random.Random, low: int, high: int) -> Colour:
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


def _hue(rng: random.Random) -> Colour:
    return rng.randint(30, 230), rng.randint(30, 230), rng.randint(30, 230)


def _tinted(rng: random.Random, ink: Colour) -> Colour:
    """The ink, or sometimes a colour of about its brightness."""
    if rng.random() < 0.6:
        return ink
    if sum(ink) > 384:
        return _shade(rng, 170, 255)
    strong = [rng.randint(0, 40), rng.randint(0, 90), rng.randint(90, 190)]
    rng.shuffle(strong)
    return strong[0], strong[1], strong[2]


def _between(background: Colour, ink: Colour, share: float = 0.4) -> Colour:
    red, green, blue = (round(b + share * (i - b)) for b, i in zip(background, ink, strict=True))
    return red, green, blue


def _wear(rng: random.Random, image: Image.Image) -> npt.NDArray[np.uint8]:
    """What scanners, cameras and compression do, each to some of the pictures."""
    if rng.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8)))
    if rng.random() < 0.15:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randint(35, 85))
        image = Image.open(buffer)
    noisy, faded = rng.random() < 0.15, rng.random() < 0.2
    if not (noisy or faded):
        return np.array(image)
    pixels = np.array(image, dtype=np.float32)
    if faded:
        low, high = rng.uniform(0, 60), rng.uniform(190, 255)
        pixels = low + pixels * ((high - low) / 255)
        if rng.random() < 0.5:
            pixels *= np.linspace(rng.uniform(0.8, 1), rng.uniform(0.8, 1), pixels.shape[1], dtype=np.float32)[:, None]
    if noisy:
        noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(pixels.shape[:2], dtype=np.float32)
        pixels += rng.uniform(2, 12) * noise[..., None]
    return np.clip(pixels, 0, 255).astype(np.uint8)
