"""Sentences and their translations, from the message catalogues of installed free software.

A catalogue (one of gettext's .mo files) holds a program's messages in English and in one other language. A message is a
sentence with marks in it: places for values, keys to press, markup. Marks are removed, since they are the same in every
language and would give a pair away.

The data are split by catalogue. Several catalogues may have the same message, so a training pair is left out where its
English or its translation is also in a held-out catalogue, in any language.
"""

from __future__ import annotations

import functools
import gettext
import html
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from polylens.lab.corpora.split import Split
from polylens.lab.corpora.text import TextPair, is_mostly_letters, is_untranslated, key

FOLDER = Path("/usr/share/locale")

LANGUAGES: dict[str, str] = {
    **{code: code for code in ("de", "fr", "es", "it", "nl", "pl", "tr", "cs", "hu", "fi", "sv", "vi", "id", "ro")},
    **{code: code for code in ("ru", "uk", "bg", "el", "he", "ar", "fa", "hi", "th", "ja", "ko")},
    "pt": "pt_BR",
    "zh": "zh_CN",
}
"""Language code -> the folder of its catalogues, for all languages that nano learns except English."""

HELD_OUT: dict[str, str] = {
    "glib20": "libglib2.0-data",
    "gtk20": "libgtk2.0-common",
    "gtk30": "libgtk-3-common",
    "gtk40": "libgtk-4-common",
    "gdk-pixbuf": "libgdk-pixbuf2.0-common",
}
"""Catalogue that training never reads -> the Debian package it comes with: desktop libraries, in the most languages."""

WORDS = (3, 40)  # fewest and most in the English sentence
LETTERS = (6, 400)  # fewest and most on either side

_LISTS_OF_NAMES = ("iso_", "xkeyboard-config")
"""Prefixes of catalogues that hold names instead of sentences, some of which `synthetic.lexicon` holds out."""

_QUOTE = "\"'`‘’“”„«»‹›「」『』"
_FORMAT = re.compile(
    rf"[{_QUOTE}(\[<]*"
    r"(?:%(?:\d+\$)?(?:\([^)]*\)|<[^>]*>)?[-+ #0'I]*(?:\*|\d+)?(?:\.(?:\*|\d+))?(?:hh|h|ll|l|L|q|j|z|t)?[A-Za-z%]"
    r"|%<PRI\w+>|\{\w*(?::[^}]*)?\}|\$\{?\w+\}?)"
    rf"[{_QUOTE})\]>]*"
)
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9]*(?:\s+[\w:-]+=(?:\"[^\"]*\"|'[^']*'))*\s*/?>")
_KEY_IN_BRACKETS = re.compile(r"\s*\([_&][A-Za-z0-9]\)")  # as Chinese, Japanese and Korean name them
_KEY_AMPERSAND = re.compile(r"&(?=\w)")
_OPTION = re.compile(r"^\s*-\S.*?\s{2,}(?=\S)")  # before what it does, in a program's help
_TABLE = re.compile(r"\S[ \t]*\n[ \t]+\S|\S(?: {3,}|\t+)\S|\n-")
_SPACES = re.compile(r"\s+")
_SPACE_BEFORE = re.compile(r" +(?=[,.;:!?)](?:\s|$))")
_WITH_UNDERSCORE = re.compile(r"\w*_\w*")
_EDGE = " :;,-*=…"


@functools.cache
def pairs(language: str, split: Split, folder: Path = FOLDER) -> tuple[TextPair, ...]:
    """All pairs of a language, English first, without duplicates on either side, in a fixed order.

    Args:
        language: One of `LANGUAGES`.
        split: Of the catalogues.
        folder: Has a folder for each language.
    """
    taken: set[str] = set() if split == "held_out" else set(held_out_keys(folder))
    found = []
    for pair in _cleaned(language, split, folder):
        keys = {key(pair.query), key(pair.document)}
        if not keys & taken:
            taken |= keys
            found.append(pair)
    return tuple(found)


def any_installed(split: Split, folder: Path = FOLDER) -> bool:
    """Whether a split has any catalogue."""
    return bool(files(split, folder))


def installed(split: Split, folder: Path = FOLDER) -> tuple[str, ...]:
    """The languages that a split has any catalogue in."""
    return tuple(language for language in LANGUAGES if _paths(language, split, folder))


def files(split: Split, folder: Path = FOLDER) -> list[Path]:
    """The catalogues of a split, in all languages."""
    return [path for language in LANGUAGES for path in _paths(language, split, folder)]


def missing_packages(language: str, folder: Path = FOLDER) -> list[str]:
    """Debian packages whose held-out catalogues are missing in a language."""
    there = {path.stem for path in _paths(language, "held_out", folder)}
    return [package for catalogue, package in HELD_OUT.items() if catalogue not in there]


@functools.cache
def held_out_keys(folder: Path = FOLDER) -> frozenset[str]:
    """The keys of all messages of the held-out catalogues, in all languages."""
    found = (pair for language in LANGUAGES for pair in _cleaned(language, "held_out", folder))
    return frozenset(key(text) for pair in found for text in (pair.query, pair.document))


def _cleaned(language: str, split: Split, folder: Path) -> Iterator[TextPair]:
    for path in _paths(language, split, folder):
        for english, translation in sorted(messages(path).items()):
            pair = cleaned(english, translation)
            if pair is not None:
                yield pair


def _paths(language: str, split: Split, folder: Path) -> list[Path]:
    paths = sorted((folder / LANGUAGES[language] / "LC_MESSAGES").glob("*.mo"))
    return [
        path
        for path in paths
        if (path.stem in HELD_OUT) == (split == "held_out") and not path.stem.startswith(_LISTS_OF_NAMES)
    ]


def messages(path: Path) -> dict[str, str]:
    """The messages of a catalogue with their marks; messages with a plural are left out.

    A catalogue that cannot be read has no messages; some old ones have a header in another encoding than it names.
    """
    try:
        with path.open("rb") as file:
            catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]  # there is no other way
    except (OSError, ValueError, struct.error):
        return {}
    return {english: translation for english, translation in catalogue.items() if isinstance(english, str) and english}


def cleaned(english: str, translation: str) -> TextPair | None:
    """A message as a person would read it; None where it is not a sentence or not translated.

    Example:
        >>> cleaned("Could not _open “%s”: no such file", "“%s” konnte nicht ge_öffnet werden: keine solche Datei")
        TextPair(query='Could not open: no such file', document='konnte nicht geöffnet werden: keine solche Datei')
        >>> cleaned("usage: sort [FILE]...", "Aufruf: sort [DATEI]...")
    """
    english = english.rpartition("\x04")[2]  # the context stands before it
    has_key = _has_key(english, translation)
    ours, theirs = _plain(english, has_key), _plain(translation, has_key)
    words = ours.split()
    if not WORDS[0] <= len(words) <= WORDS[1]:
        return None
    if not all(LETTERS[0] <= len(text) <= LETTERS[1] and _is_prose(text) for text in (ours, theirs)):
        return None
    return None if is_untranslated(ours, theirs) else TextPair(ours, theirs)


def _has_key(english: str, translation: str) -> bool:
    """Whether an underscore marks a key to press: each side has exactly one, and it is not part of a name."""
    if english.count("_") != 1 or translation.count("_") != 1:
        return False
    return _WITH_UNDERSCORE.findall(english) != _WITH_UNDERSCORE.findall(translation) or " _" in f" {english}"


def _plain(text: str, has_key: bool) -> str:
    """The message in one line without marks; "" where its layout is a table."""
    text = _OPTION.sub("", text.strip("\n"))
    if _TABLE.search(text):
        return ""
    if "&" in text:
        text = _KEY_AMPERSAND.sub("", _KEY_IN_BRACKETS.sub("", html.unescape(text)))
    if has_key:
        text = _KEY_IN_BRACKETS.sub("", text).replace("_", "")
    if "<" in text:
        text = _TAG.sub("", text)
    if "%" in text or "{" in text or "$" in text:
        text = _FORMAT.sub(" ", text)
    return _SPACE_BEFORE.sub("", _SPACES.sub(" ", text)).strip(_EDGE)


def _is_prose(text: str) -> bool:
    """Whether a text consists mostly of letters, and is not a usage line."""
    return is_mostly_letters(text, 7) and not text.startswith(("Usage", "usage"))
