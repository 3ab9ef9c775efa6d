"""Random pictures of text, with the box of every word: crops out of documents, and whole pages.

What is drawn is decided by a `random.Random` alone. Coordinates are pixels from the top left corner; a baseline and a
left edge fall anywhere between two pixels, as they do in a rendered PDF.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from polylens.errors import InputError
from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.blocks import (
    add_chart,
    add_list,
    add_paragraph,
    add_table,
    fill_cells,
    fill_columns,
    fill_running_text,
    fill_wall,
    scatter_labels,
)
from polylens.lab.synthetic.fonts import Face, faces, sized
from polylens.lab.synthetic.lexicon import LANGUAGES
from polylens.lab.synthetic.palette import draw_palette, tinted
from polylens.lab.synthetic.rendered import Rendered
from polylens.lab.synthetic.sheet import Sheet, Style, Words, to_half_pixel

_SHARES: dict[str, float] = {
    "en": 0.2,
    **{language: 0.38 / 15 for language, script in LANGUAGES.items() if script == "Latn" and language != "en"},
    **{"ru": 0.05, "uk": 0.025, "bg": 0.025, "el": 0.05, "he": 0.04, "ar": 0.04, "fa": 0.02, "hi": 0.04, "th": 0.03},
    **{"zh": 0.04, "ja": 0.035, "ko": 0.025},
}
"""Language -> its share: Latin 58 %, Cyrillic 10, CJK 10, Arabic 6, Greek 5, Hebrew 4, Hindi 4, Thai 3."""


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
    words: Words | None = None,
) -> Rendered:
    """A piece cut out of a document: lines, columns, table cells or scattered labels, in one language.

    Args:
        rng: Decides everything.
        width: Pixels.
        height: Pixels.
        split: Which words and which families of fonts: "train" or "held_out".
        language: A key of `lexicon.LANGUAGES`; drawn when None.
        font_size: Pixels per em of the text; when None, 10-28, small ones more often.
        dense: Lines of text from edge to edge and nothing else; words that the edges cut are reported too, with
            their whole boxes.
        scan: Whether it looks scanned: a little askew, with blur and noise.
        words: What it says; None are words without a meaning.

    Raises:
        InputError: A size is not positive, or no font for the language is installed.
    """
    _require_drawable(width, height, font_size)
    language = language or _draw_language(rng)
    size = font_size or to_half_pixel(10 * 2.8 ** rng.random())
    face = _draw_face(rng, language, split)
    background, ink = draw_palette(rng)
    sheet = Sheet(rng, width, height, language, split, background, words)
    if dense:
        sheet.whole_boxes = True
        fill_wall(sheet, Style(sized(face, size), ink, 0.0))
        return sheet.finished(scan)
    layout: Callable[[Sheet, Style], None] = rng.choices(
        (fill_running_text, fill_columns, fill_cells, scatter_labels), cum_weights=(0.5, 0.65, 0.85, 1.0)
    )[0]
    layout(sheet, Style(sized(face, size), ink, _pitch(rng, face, size)))
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
    words: Words | None = None,
) -> Rendered:
    """A whole page of a document: a title, one or two columns of paragraphs, at times a list, a table or a chart.

    Args:
        rng: Decides everything.
        width: Pixels.
        height: Pixels.
        split: Which words and which families of fonts: "train" or "held_out".
        language: A key of `lexicon.LANGUAGES`; drawn when None.
        font_size: Pixels per em of the body; when None, a 60th to a 41st of the width, as on A4 in 10 to 14 points, so
            that a page holds 60-220 words.
        scan: Whether it looks scanned: a little askew, with blur and noise.
        words: What it says; None are words without a meaning.

    Raises:
        InputError: A size is not positive, or no font for the language is installed.
    """
    _require_drawable(width, height, font_size)
    language = language or _draw_language(rng)
    face = _draw_face(rng, language, split)
    background, ink = draw_palette(rng, plain=True)
    sheet = Sheet(rng, width, height, language, split, background, words)
    size = font_size or to_half_pixel(rng.uniform(11, 16) * width / 656)
    style = Style(sized(face, size), ink, _pitch(rng, face, size))

    side = width * rng.uniform(0.05, 0.12)
    top, bottom = height * rng.uniform(0.04, 0.09), height * rng.uniform(0.9, 0.95)
    title_size = to_half_pixel(size * rng.uniform(1.4, 2.1))
    title = Style(sized(_draw_face(rng, language, split), title_size), tinted(rng, ink), title_size * 1.4)
    top = sheet.paragraph(title, side, top, width - side, top + 2.2 * title.pitch, rng.randint(2, 7)) + size
    _add_columns(sheet, style, side, top, bottom)
    if rng.random() < 0.6:
        _add_page_number(sheet, style, bottom + 2 * size)
    return sheet.finished(scan)


def _add_columns(sheet: Sheet, style: Style, side: float, top: float, bottom: float) -> None:
    """One or two columns of blocks between two margins of `side` pixels."""
    rng, size = sheet.rng, style.font.size
    num_words = rng.randint(60, 220)
    columns = 2 if sheet.width > 34 * size and rng.random() < 0.4 else 1
    gutter = 1.6 * size
    width = (sheet.width - 2 * side - (columns - 1) * gutter) / columns
    for i in range(columns):
        place = columns - 1 - i if sheet.rtl else i
        left = side + place * (width + gutter)
        goal = len(sheet.placed) + num_words // columns
        y = top
        while y < bottom - style.pitch and len(sheet.placed) < goal:
            add = rng.choices((add_paragraph, add_list, add_table, add_chart), cum_weights=(0.66, 0.8, 0.9, 1.0))[0]
            y = add(sheet, style, left, y, left + width, bottom) + style.pitch * rng.uniform(0.4, 1.0)


def _add_page_number(sheet: Sheet, style: Style, baseline: float) -> None:
    """A number at the foot, in the middle or at a side, where the font has digits."""
    rng, size = sheet.rng, style.font.size
    number = str(rng.randint(1, 300))
    if style.font.face.covers(number):
        small = replace(style, font=sized(style.font.face, to_half_pixel(size * 0.9)))
        left = sheet.width * rng.choice((0.5, 0.12, 0.86))
        sheet.word(number, small, left, min(sheet.height - 0.4 * size, baseline))


def _require_drawable(width: int, height: int, font_size: float | None) -> None:
    if width < 1 or height < 1:
        raise InputError(f"width and height must be at least 1 pixel, got {width} x {height}")
    if font_size is not None and font_size < 4:
        raise InputError(f"font_size must be at least 4 pixels per em to be legible, got {font_size}")


def _draw_language(rng: random.Random) -> str:
    return rng.choices(list(_SHARES), weights=list(_SHARES.values()))[0]


def _draw_face(rng: random.Random, language: str, split: Split) -> Face:
    """Draws a family first, so that many weights do not make one more frequent; fixed-width ones a third as often."""
    every = faces(language, split)
    names = sorted({face.family for face in every})
    weights = [1 if "Mono" in name else 3 for name in names]
    family = rng.choices(names, weights=weights)[0]
    return rng.choice([face for face in every if face.family == family])


def _pitch(rng: random.Random, face: Face, size: float) -> float:
    """Line spacing: 1.1-1.6 em, and enough that no line touches the next."""
    font = sized(face, size)
    return max(size * rng.uniform(1.1, 1.6), 1.02 * (font.ascent + font.descent))
