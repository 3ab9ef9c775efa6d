"""What people say in a story, in many languages: the message catalogues of the game Battle for Wesnoth.

The catalogues are read as those of other programs are (`catalogues`), but they lie in a folder of their own, and they
speak of rivers, swords and friends. They are for training only: what a held-out catalogue says is left out.
"""

from __future__ import annotations

import functools
from pathlib import Path

from polylens.lab.corpora import catalogues
from polylens.lab.corpora.text import TextPair, key

FOLDER = Path("/usr/share/games/wesnoth")  # a folder per version, with a folder per language in its `locale`
PACKAGE = "wesnoth-1.16-data"


def installed(folder: Path = FOLDER) -> tuple[str, ...]:
    """The languages that are here, as far as nano learns them."""
    return tuple(language for language in catalogues.LANGUAGES if _paths(language, folder))


@functools.cache
def pairs(language: str, folder: Path = FOLDER) -> tuple[TextPair, ...]:
    """All sentences with their translations, English first, without duplicates on either side, in a fixed order."""
    taken: set[str] = set()
    found = []
    for path in _paths(language, folder):
        for english, translation in sorted(catalogues.messages(path).items()):
            pair = catalogues.cleaned(english, translation)
            keys = set() if pair is None else {key(pair.query), key(pair.document)}
            if pair is not None and not keys & taken:
                taken |= keys
                found.append(pair)
    return tuple(found)


def _paths(language: str, folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*/locale/{catalogues.LANGUAGES[language]}/LC_MESSAGES/*.mo"))
