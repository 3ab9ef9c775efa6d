"""Installed fonts by language, with some families held out from training.

Files of a few Debian packages are found by name; nothing is downloaded. A *family* is either trained on or held out in
every script that it covers, so text in a held-out family has unseen shapes of letters.
"""

from __future__ import annotations

import atexit
import functools
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from fontTools.ttLib import TTCollection, TTFont
from PIL import ImageFont, features

from polylens.errors import InputError
from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.lexicon import LANGUAGES, RIGHT_TO_LEFT, everyday_characters, words

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".local/share/fonts")

PACKAGES = "fonts-noto-core fonts-noto-cjk fonts-dejavu fonts-liberation fonts-freefont-ttf"
"""The Debian packages that together have a family of both splits for every script."""

HELD_OUT_FAMILIES = frozenset(
    {
        "Liberation Serif",
        "DejaVu Sans",
        "Noto Serif Display",
        "Noto Serif Hebrew",
        "Noto Sans Arabic",
        "Noto Serif Devanagari",
        "Noto Serif Thai",
        "Noto Serif CJK",
    }
)

_EUROPE = ("Latn", "Cyrl", "Grek")

FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Noto Sans": ("NotoSans", _EUROPE),
    "Noto Sans Display": ("NotoSansDisplay", _EUROPE),
    "Noto Serif": ("NotoSerif", _EUROPE),
    "Noto Serif Display": ("NotoSerifDisplay", _EUROPE),
    "DejaVu Sans": ("DejaVuSans|DejaVuSansCondensed", (*_EUROPE, "Hebr", "Arab")),
    "DejaVu Sans Mono": ("DejaVuSansMono", (*_EUROPE, "Arab")),
    "DejaVu Serif": ("DejaVuSerif|DejaVuSerifCondensed", _EUROPE),
    "Liberation Sans": ("LiberationSans", _EUROPE),
    "Liberation Sans Narrow": ("LiberationSansNarrow", _EUROPE),
    "Liberation Serif": ("LiberationSerif", _EUROPE),
    "Liberation Mono": ("LiberationMono", _EUROPE),
    "FreeSans": ("FreeSans", (*_EUROPE, "Hebr", "Deva")),
    "FreeSerif": ("FreeSerif", (*_EUROPE, "Hebr", "Arab", "Deva", "Thai")),
    "FreeMono": ("FreeMono", (*_EUROPE, "Hebr")),
    "Noto Sans Hebrew": ("NotoSansHebrew", ("Hebr",)),
    "Noto Serif Hebrew": ("NotoSerifHebrew", ("Hebr",)),
    "Noto Naskh Arabic": ("NotoNaskhArabic", ("Arab",)),
    "Noto Kufi Arabic": ("NotoKufiArabic", ("Arab",)),
    "Noto Sans Arabic": ("NotoSansArabic", ("Arab",)),
    "Noto Sans Devanagari": ("NotoSansDevanagari", ("Deva",)),
    "Noto Serif Devanagari": ("NotoSerifDevanagari", ("Deva",)),
    "Noto Sans Thai": ("NotoSansThai", ("Thai",)),
    "Noto Looped Thai": ("NotoLoopedThai", ("Thai",)),
    "Noto Serif Thai": ("NotoSerifThai", ("Thai",)),
    "Noto Sans CJK": ("NotoSansCJK", ("Hans", "Jpan", "Hang")),
    "Noto Serif CJK": ("NotoSerifCJK", ("Hans", "Jpan", "Hang")),
    "AR PL UMing": ("uming", ("Hans",)),
    "WenQuanYi Zen Hei": ("wqy-zenhei", ("Hans",)),
    "IPAGothic": ("ipag", ("Jpan",)),
    "IPAMincho": ("ipam", ("Jpan",)),
    "NanumGothic": ("NanumGothic|NanumBarunGothic", ("Hang",)),
    "NanumMyeongjo": ("NanumMyeongjo", ("Hang",)),
    "UnBatang": ("UnBatang", ("Hang",)),
    "UnDotum": ("UnDotum", ("Hang",)),
}
"""Family -> (start of its files' names, the scripts it is used for). Symbols, Nastaliq and Rashi are left out.

The families from AR PL UMing on, of further packages (docs/guides/train-nano.md), give three scripts more variety.
"""

MONOSPACED: dict[Split, tuple[str, ...]] = {
    "train": ("DejaVu Sans Mono", "FreeMono", "Liberation Mono"),
    "held_out": ("Noto Sans Mono CJK",),
}
"""Families for code. The held-out one is used for nothing else: no other page shows fixed-width Latin letters of a
held-out family."""

_STYLE = "(Regular|Book|Thin|ExtraLight|Light|Medium|SemiBold|Bold|Oblique|Italic)*"
_MONOSPACED_FILES = {
    "DejaVu Sans Mono": "DejaVuSansMono",
    "FreeMono": "FreeMono",
    "Liberation Mono": "LiberationMono",
    "Noto Sans Mono CJK": "NotoSansCJK",
}
_COLLECTION_NAMES = {"Latn": "JP", "Hans": "SC", "Jpan": "JP", "Hang": "KR"}
_NAMES_IN_COLLECTIONS = {"AR PL UMing": "AR PL UMing CN", "WenQuanYi Zen Hei": "WenQuanYi Zen Hei"}
_SHAPED = RIGHT_TO_LEFT | {"Deva", "Thai"}
_JOINER = "\u200d"  # after it a letter has its form within a word, half as wide as at the end
_SAMPLES = {
    "Latn": "ÅHgjpqy|",
    "Cyrl": "ЙЁДЩцру|",
    "Grek": "ΆΞΩγρψ|",
    "Hebr": "אלקץףן",
    "Arab": "أكلطمجعية",
    "Deva": "हिंदीकूँर्थ",
    "Thai": "ที่ปู่ฐุกฎ",
    "Hans": "国語鬱",
    "Jpan": "国語ぎァ",
    "Hang": "한국를",
}


@dataclass(frozen=True, slots=True)
class Face:
    """One font of a file: a family in one weight and slant."""

    family: str
    path: Path
    index: int
    """Position in a .ttc collection, 0 in other files."""
    script: str
    characters: frozenset[str]
    """All characters that it has glyphs for."""

    def covers(self, text: Iterable[str]) -> bool:
        """Whether every character of a text has a glyph."""
        return self.characters.issuperset(text)


@dataclass(frozen=True, slots=True)
class SizedFont:
    """A face at a size, ready to draw."""

    face: Face
    size: float
    """Pixels per em."""
    font: ImageFont.FreeTypeFont
    ascent: float
    """Pixels from the baseline to the top of the script's tall letters."""
    descent: float
    """Pixels from the baseline to the foot of the script's long letters."""
    advances: dict[str, float] = field(default_factory=dict, compare=False, repr=False)

    def length(self, text: str) -> float:
        """Pixels from the start of a text to its end.

        Unless the script has to be shaped it is the sum over the letters: without kerning, so up to a pixel off.
        """
        return self.font.getlength(text) if self.face.script in _SHAPED else self.edges(text)[-1]

    def edges(self, text: str) -> tuple[float, ...]:
        """Pixels from the start of a text to where each of its letters begins, and to where the last one ends.

        Unless the script has to be shaped they are sums over the letters: without kerning, so up to a pixel off. Where
        it has to be, a letter ends where the text up to it would: a sign above or below another takes no room.
        """
        if self.face.script in _SHAPED:
            whole, joined = self.font.getlength(text), _JOINER if self.face.script == "Arab" else ""
            ends = (min(whole, self.font.getlength(text[:stop] + joined)) for stop in range(1, len(text)))
            return (*accumulate(ends, max, initial=0.0), whole)
        for letter in text:
            if letter not in self.advances:
                self.advances[letter] = self.font.getlength(letter)
        return tuple(accumulate((self.advances[letter] for letter in text), initial=0.0))


def families(split: Split) -> frozenset[str]:
    """The names of a split's families; the two splits share none."""
    return frozenset(name for name in FAMILIES if (name in HELD_OUT_FAMILIES) == (split == "held_out"))


def files(split: Split) -> list[Path]:
    """The installed font files of the families of a split, for any script, sorted by name."""
    return sorted((path for family in families(split) for path in _files(family)), key=lambda path: path.name)


@functools.cache
def faces(language: str, split: Split) -> tuple[Face, ...]:
    """The installed faces that can write a language.

    Args:
        language: A key of `lexicon.LANGUAGES`.
        split: "train" or "held_out": no family is in both.

    Raises:
        InputError: No such face is installed, or Pillow lacks the shaping library of the script; the message says what
            to install.
    """
    script = LANGUAGES.get(language)
    if script is None:
        raise InputError(f"language must be one of {', '.join(LANGUAGES)}, got {language!r}")
    if script in _SHAPED and not features.check("raqm"):
        raise InputError(
            f"drawing {language!r} needs a Pillow built with Raqm, which its wheels for Linux are; this one is not"
        )
    needed = _alphabet(language)
    found = tuple(
        face
        for family in sorted(families(split))
        if script in FAMILIES[family][1]
        for path in _files(family)
        for face in _load(family, path, script)
        if face.covers(needed)
    )
    if not found:
        folders = ", ".join(map(str, FONT_FOLDERS))
        raise InputError(f"no {split} font for {language!r} in {folders}; on Debian: apt-get install {PACKAGES}")
    return found


@functools.cache
def monospaced(split: Split) -> tuple[Face, ...]:
    """The installed faces of a split for code, upright.

    Raises:
        InputError: No such face is installed; the message says what to install.
    """
    found = tuple(
        face
        for family in MONOSPACED[split]
        for path in _all_files()
        if re.fullmatch(f"(?:{_MONOSPACED_FILES[family]})-?(?:Regular|Bold)?", path.stem)
        for face in _load(family, path, "Latn")
    )
    if not found:
        folders = ", ".join(map(str, FONT_FOLDERS))
        raise InputError(f"no {split} font for code in {folders}; on Debian: apt-get install {PACKAGES}")
    return tuple(sorted(found, key=lambda face: face.path.name))


@functools.lru_cache(maxsize=256)  # each holds its font file in memory, up to 20 MB
def sized(face: Face, size: float) -> SizedFont:
    """The face opened at a size.

    Args:
        face: The face.
        size: Pixels per em, possibly fractional.
    """
    shaped = face.script in _SHAPED
    engine = ImageFont.Layout.RAQM if shaped else ImageFont.Layout.BASIC
    path = _unhinted(face.path) if face.path.suffix == ".ttf" and face.path.stem.startswith("Noto") else face.path
    font = ImageFont.truetype(path, size, index=face.index, layout_engine=engine)
    _, top, _, bottom = font.getbbox(_SAMPLES[face.script], anchor="ls")
    return SizedFont(face, size, font, float(-top), float(bottom))


@functools.cache
def _unhinted(path: Path) -> Path:
    """A copy of a font without its hinting programs.

    Those of the Noto fonts take most of the time of drawing a word (400 of 500 microseconds), and PDF renderers do not
    run them. The copy is a file, since Pillow would copy bytes in memory for every size.
    """
    copy = Path(_scratch().name) / path.name
    with TTFont(path, lazy=True) as font:
        for table in ("fpgm", "prep", "cvt "):
            if table in font:
                del font[table]
        font["maxp"].maxSizeOfInstructions = 0
        font.save(copy, reorderTables=None)
    return copy


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder that is deleted when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="polylens-fonts-")
    atexit.register(folder.cleanup)
    return folder


def _files(family: str) -> list[Path]:
    """The font files of a family, sorted by name."""
    pattern = re.compile(f"(?:{FAMILIES[family][0]})-?{_STYLE}")
    return sorted(path for path in _all_files() if pattern.fullmatch(path.stem))


def font_file(stem: str) -> Path | None:
    """The installed font file with this stem; None where there is none."""
    return next((path for path in _all_files() if path.stem == stem), None)


@functools.cache
def _all_files() -> tuple[Path, ...]:
    kinds = {".ttf", ".otf", ".ttc"}
    return tuple(path for folder in FONT_FOLDERS for path in folder.rglob("*") if path.suffix.lower() in kinds)


@functools.cache
def _load(family: str, path: Path, script: str) -> tuple[Face, ...]:
    """The faces of one file; of a collection, the face for the script, as Han characters differ by country."""
    if path.suffix.lower() != ".ttc":
        with TTFont(path, lazy=True) as font:
            return (Face(family, path, 0, script, _coverage(font)),)
    wanted = _NAMES_IN_COLLECTIONS.get(family, f"{family} {_COLLECTION_NAMES.get(script, '')}")
    with TTCollection(path, lazy=True) as collection:
        return tuple(
            Face(family, path, index, script, _coverage(font))
            for index, font in enumerate(collection.fonts)
            if font["name"].getBestFamilyName() == wanted
        )


def _coverage(font: TTFont) -> frozenset[str]:
    return frozenset(map(chr, font.getBestCmap() or {}))


@functools.cache
def _alphabet(language: str) -> frozenset[str]:
    """The characters that a font must have: the frequent ones of the training words in both cases; a sample in CJK."""
    if everyday_characters(language):
        return frozenset(everyday_characters(language)[::300])
    counts = Counter("".join(words(language, "train")))
    total = sum(counts.values())
    frequent = {letter for letter, count in counts.items() if count > total / 2000}
    both = frequent | {case for letter in frequent for case in (letter.upper(), letter.lower()) if len(case) == 1}
    return frozenset(letter for letter in both if unicodedata.category(letter) != "Cf")
