"""Pictures of things and flags: the pictograms of the emoji font, with their names.

A thing has its English name from Unicode; a flag has the name of its country, from CLDR in 28 languages. Needs Debian's
fonts-noto-color-emoji.
"""

from __future__ import annotations

import functools
import random
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont, features

from polylens.errors import InputError
from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.fonts import font_file
from polylens.lab.synthetic.lexicon import LANGUAGES, is_held_out
from polylens.lab.synthetic.names import names, spell

PACKAGE = "fonts-noto-color-emoji"
FONT = "NotoColorEmoji"
SIZE = 109  # pixels per em: the only one that the font has pictures in
LONGEST = 4  # words per name
# Signs that are not things, and names that describe an old print: the "black sun" is yellow.
_NOT_THINGS = re.compile(
    "black|white|heavy|squared|circled|sign|symbol|button|arrow|ideograph|tag|regional|modifier|selector|joiner|"
    "component|keycap|mark|clock face|double|triangle|left|right|input|negative|latin|digit|number|letters"
)
_PLAIN = re.compile("[a-z]+(?:[ -][a-z]+)*")


@dataclass(frozen=True, slots=True)
class Pictogram:
    """A thing that can be drawn and named.

    Example:
        >>> Pictogram("\\N{RED APPLE}", {"en": "red apple"}).names["en"]
        'red apple'
    """

    characters: str
    """The characters that the font draws it for."""
    names: Mapping[str, str]
    """Language -> its name, in lower case unless it is a proper name."""


def can_be_drawn() -> bool:
    """Whether pictograms can be drawn: the font is installed, and Pillow can join the letters of a flag."""
    return font_file(FONT) is not None and bool(features.check("raqm"))


@functools.cache
def things(split: Split) -> tuple[Pictogram, ...]:
    """Pictograms of things: animals, food, tools, buildings, faces.

    Args:
        split: "train" has those whose words are all trained on, "held_out" the others.

    Raises:
        InputError: The font is not installed.
    """
    with TTFont(_file(), lazy=True) as font:
        characters = sorted(c for c in map(chr, font.getBestCmap() or {}) if unicodedata.category(c) == "So")
    found = []
    for character in characters:
        name = unicodedata.name(character, "").lower()
        parts = name.split()
        is_thing = _PLAIN.fullmatch(name) and len(parts) <= LONGEST and not _NOT_THINGS.search(name)
        held_out = any(map(is_held_out, re.split("[ -]", name)))
        if is_thing and held_out == (split == "held_out"):
            found.append(Pictogram(character, {"en": name}))
    return tuple(found)


@functools.cache
def flags(split: Split) -> tuple[Pictogram, ...]:
    """Flags of countries, each with its names of a split, which it has in some languages only.

    Args:
        split: Of the words of the names: "train" or "held_out".

    Raises:
        InputError: The font is not installed.
    """
    known: dict[str, dict[str, str]] = {}
    for language in LANGUAGES:
        for name in names("territory", language, split):
            text = spell(name, language)
            if text and len(name.code) == 2:
                known.setdefault(name.code, {})[language] = text
    drawn = {
        code: "".join(chr(ord("\N{REGIONAL INDICATOR SYMBOL LETTER A}") + ord(c) - ord("A")) for c in code)
        for code in sorted(known)
    }
    one = _font().getlength("\N{RED APPLE}")  # a pair of letters that is not a flag is as wide as two
    return tuple(Pictogram(pair, known[code]) for code, pair in drawn.items() if _font().getlength(pair) < 1.5 * one)


def picture(rng: random.Random, drawn: Sequence[Pictogram], *, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Draws pictograms side by side on a plain ground, each a little turned: `[height, width, 3]`, RGB.

    Args:
        rng: Decides sizes, places and colours.
        drawn: From left to right, at least one.
        width: Pixels.
        height: Pixels.
    """
    ground = rng.choice(((255, 255, 255), (244, 244, 240), tuple(rng.randint(150, 255) for _ in range(3))))
    sheet = Image.new("RGB", (width, height), ground)
    room = width / len(drawn)
    for number, pictogram in enumerate(drawn):
        stamp = _stamp(pictogram.characters).rotate(rng.uniform(-12, 12), Image.Resampling.BICUBIC, expand=True)
        scale = rng.uniform(0.6, 0.98) * min(room, height) / max(stamp.size)
        stamp = stamp.resize((max(1, round(stamp.width * scale)), max(1, round(stamp.height * scale))))
        left = number * room + rng.uniform(0, room - stamp.width)
        top = rng.uniform(0, height - stamp.height)
        sheet.paste(stamp, (round(left), round(top)), stamp)
    return np.array(sheet)


def _stamp(characters: str) -> Image.Image:
    """A single pictogram on a transparent ground."""
    left, top, right, bottom = _font().getbbox(characters)
    stamp = Image.new("RGBA", (round(right - left), round(bottom - top)), (0, 0, 0, 0))
    ImageDraw.Draw(stamp).text((-left, -top), characters, font=_font(), embedded_color=True)
    return stamp


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_file(), SIZE, layout_engine=ImageFont.Layout.RAQM)


def _file() -> str:
    path = font_file(FONT)
    if path is None:
        raise InputError(f"no font with pictograms is installed; on Debian: apt-get install {PACKAGE}")
    if not features.check("raqm"):
        raise InputError(
            "drawing flags needs a Pillow built with Raqm, which its wheels for Linux are; this one is not"
        )
    return str(path)
