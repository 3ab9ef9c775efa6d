"""Message catalogues for tests, as Babel writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from babel.messages import Catalog
from babel.messages.mofile import write_mo

from polylens.lab.corpora.catalogues import LANGUAGES

COLOURS = {"red": "rote", "green": "grüne", "blue": "blaue", "white": "weiße", "black": "schwarze", "grey": "graue"}
THINGS = {"ship": "Fähre", "book": "Karte", "house": "Hütte", "stone": "Mauer", "flower": "Blume", "door": "Tür"}


def write_catalogue(folder: Path, language: str, name: str, said: Mapping[str, str]) -> None:
    """Writes a catalogue where programs look for it: a folder that holds one folder per language."""
    catalogue = Catalog(locale=language)
    for english, translation in said.items():
        catalogue.add(english, translation)
    path = folder / LANGUAGES[language] / "LC_MESSAGES" / f"{name}.mo"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_mo(file, catalogue)


def sentences() -> dict[str, str]:
    """Thirty-six English sentences with their German translations."""
    return {
        f"here is a {colour} {thing}": f"dort steht eine {farbe} {ding}"
        for colour, farbe in COLOURS.items()
        for thing, ding in THINGS.items()
    }
