"""What Unicode's CLDR calls emoji: a name and some keywords of each, in about a hundred languages."""

from __future__ import annotations

import functools
import unicodedata
from pathlib import Path

import lxml.etree

from polylens.lab.corpora.text import TextPair, key

FOLDER = Path("/usr/share/unicode/cldr/common/annotations")
PACKAGE = "unicode-cldr-core"


def installed(folder: Path = FOLDER) -> tuple[str, ...]:
    """The languages that are here; variants of a language, such as de_CH, are passed over."""
    return tuple(sorted(path.stem for path in folder.glob("*.xml") if "_" not in path.stem and path.stem != "root"))


@functools.cache
def names(language: str, folder: Path = FOLDER) -> dict[str, str]:
    """Emoji -> its name in a language."""
    return {sign: said for sign, kind, said in _entries(language, folder) if kind == "tts"}


@functools.cache
def keywords(language: str, folder: Path = FOLDER) -> dict[str, tuple[str, ...]]:
    """Emoji -> words that people look for it by, in a language."""
    return {
        sign: tuple(word for each in said.split("|") if (word := each.strip()))
        for sign, kind, said in _entries(language, folder)
        if kind is None
    }


@functools.cache
def texts(language: str, folder: Path = FOLDER) -> tuple[str, ...]:
    """All names and keywords of a language, without duplicates, in a fixed order."""
    words = [
        *names(language, folder).values(),
        *(word for each in keywords(language, folder).values() for word in each),
    ]
    return tuple(dict.fromkeys(word for word in words if key(word)))


@functools.cache
def pairs(language: str, folder: Path = FOLDER) -> tuple[TextPair, ...]:
    """The English name of each emoji with its name in a language, without duplicates, in a fixed order."""
    theirs = names(language, folder)
    found = [TextPair(said, theirs[sign]) for sign, said in names("en", folder).items() if sign in theirs]
    return tuple(dict.fromkeys(pair for pair in found if "" not in (key(pair.query), key(pair.document))))


@functools.cache
def _entries(language: str, folder: Path) -> tuple[tuple[str, str | None, str], ...]:
    """Emoji, kind and text of each entry; the kind is "tts" for a name and None for keywords."""
    path = folder / f"{language}.xml"
    if not path.is_file():
        return ()
    parser = lxml.etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    tree = lxml.etree.parse(path, parser)
    found = ((each.get("cp"), each.get("type"), (each.text or "").strip()) for each in tree.iter("annotation"))
    return tuple((sign, kind, said) for sign, kind, said in found if said != "↑↑↑" and _is_picture(sign))


def _is_picture(sign: str) -> bool:
    """Whether a sign is a picture, and not punctuation, a letter or the skin tone that is a part of an emoji."""
    return unicodedata.category(sign[0]) == "So"
