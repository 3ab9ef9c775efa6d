"""Sentences and their translations: the message catalogues of the free software that is installed.

Programs speak to people in many languages, and the catalogues (gettext's .mo files) hold what they say beside the
English. A message is a sentence with a program's marks in it: places for values, keys to press, markup. They are taken
out, for they are the same in every language and would give a pair away.

The halves are split by catalogue. The same message may stand in several, so a training pair whose English or whose
translation also stands in a held-out catalogue is left out, in whatever language it is found there.
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
from polylens.lab.corpora.text import TextPair, is_mostly_letters, key

FOLDER = Path("/usr/share/locale")

LANGUAGES: dict[str, str] = {
    **{code: code for code in ("de", "fr", "es", "it", "nl", "pl", "tr", "cs", "hu", "fi", "sv", "vi", "id", "ro")},
    **{code: code for code in ("ru", "uk", "bg", "el", "he", "ar", "fa", "hi", "th", "ja", "ko")},
    "pt": "pt_BR",
    "zh": "zh_CN",
}
"""Language code -> the folder of its catalogues. Those that nano learns, but English."""

HELD_OUT: dict[str, str] = {
    "glib20": "libglib2.0-data",
    "gtk20": "libgtk2.0-common",
    "gtk30": "libgtk-3-common",
    "gtk40": "libgtk-4-common",
    "gdk-pixbuf": "libgdk-pixbuf2.0-common",
}
"""Catalogue that training never reads -> the Debian package it comes with: desktop libraries, in the most languages."""

WORDS = (3, 40)  # of the English, fewest and most
LETTERS = (6, 400)  # of either side

_LISTS_OF_NAMES = ("iso_", "xkeyboard-config")
"""How catalogues of countries, languages, currencies and keyboards begin: not sentences but names, which
`synthetic.lexicon` holds out."""

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
    """All pairs of a language, English first, no English and no translation twice; in an order that is always the same.

    Args:
        language: One of `LANGUAGES`.
        split: Which catalogues.
        folder: With a folder for each language.
    """
    taken: set[str] = set() if split == "held_out" else set(held_out_keys(folder))
    found = []
    for pair in _cleaned(language, split, folder):
        keys = {key(pair.query), key(pair.document)}
        if not keys & taken:
            taken |= keys
            found.append(pair)
    return tuple(found)


def are_there(split: Split, folder: Path = FOLDER) -> bool:
    """Whether there is any catalogue to take pairs from."""
    return bool(files(split, folder))


def files(split: Split, folder: Path = FOLDER) -> list[Path]:
    """The catalogues of a split, in all languages."""
    return [path for language in LANGUAGES for path in _paths(language, split, folder)]


def missing_packages(language: str, folder: Path = FOLDER) -> list[str]:
    """Debian packages whose held-out catalogues are not there in a language."""
    there = {path.stem for path in _paths(language, "held_out", folder)}
    return [package for catalogue, package in HELD_OUT.items() if catalogue not in there]


@functools.cache
def held_out_keys(folder: Path = FOLDER) -> frozenset[str]:
    """Everything that the held-out catalogues say, in any language."""
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
    """The messages of a catalogue, as they stand there; those with a plural are left out.

    A catalogue that cannot be read has none; there are old ones with a header in another encoding than it names.
    """
    try:
        with path.open("rb") as file:
            catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]  # there is no other way
    except (OSError, ValueError, struct.error):
        return {}
    return {english: translation for english, translation in catalogue.items() if isinstance(english, str) and english}


def cleaned(english: str, translation: str) -> TextPair | None:
    """A message as a person would read it, None where it is no sentence or is not translated.

    Example:
        >>> cleaned("Could not _open “%s”: no such file", "“%s” konnte nicht ge_öffnet werden: keine solche Datei")
        TextPair(query='Could not open: no such file', document='konnte nicht geöffnet werden: keine solche Datei')
        >>> cleaned("usage: sort [FILE]...", "Aufruf: sort [DATEI]...")
    """
    english = english.rpartition("\x04")[2]  # before it stands the context
    has_key = _has_key(english, translation)
    ours, theirs = _plain(english, has_key), _plain(translation, has_key)
    words = ours.split()
    if not WORDS[0] <= len(words) <= WORDS[1]:
        return None
    if not all(LETTERS[0] <= len(text) <= LETTERS[1] and _is_prose(text) for text in (ours, theirs)):
        return None
    shared = {word.casefold() for word in words} & {word.casefold() for word in theirs.split()}
    if 2 * len(shared) > len(words):
        return None
    return TextPair(ours, theirs)


def _has_key(english: str, translation: str) -> bool:
    """Whether an underscore marks the letter to press: there is one on either side, and it is no name with one."""
    if english.count("_") != 1 or translation.count("_") != 1:
        return False
    return _WITH_UNDERSCORE.findall(english) != _WITH_UNDERSCORE.findall(translation) or " _" in f" {english}"


def _plain(text: str, has_key: bool) -> str:
    """One line without marks; "" where the layout says that it is a table."""
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
    """Whether most of what is not space are letters, and it tells more than how a program is called."""
    return is_mostly_letters(text, 7) and not text.startswith(("Usage", "usage"))
