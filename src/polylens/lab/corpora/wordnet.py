"""English words with their synonyms, definitions and examples, from WordNet (Miller 1995).

A line of its data files is a sense: its words, its links to other senses, and after a bar its gloss, which is a
definition and, in quotes, examples. Links are not read.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from polylens.lab.corpora.text import TextPair, key

FOLDER = Path("/usr/share/wordnet")
PACKAGE = "wordnet-base"
_FILES = ("data.noun", "data.verb", "data.adj", "data.adv")

_EXAMPLE = re.compile(r'"([^"]+)"')
_MARKER = re.compile(r"\((?:a|p|ip)\)$")  # where an adjective may stand


@dataclass(frozen=True, slots=True)
class Sense:
    """A sense of one or several words."""

    words: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]


@functools.cache
def senses(folder: Path = FOLDER) -> tuple[Sense, ...]:
    """All senses, in a fixed order."""
    found = []
    for name in _FILES:
        path = folder / name
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        found += [sense(line) for line in lines if not line.startswith("  ")]  # the licence is indented
    return tuple(found)


def sense(line: str) -> Sense:
    """The sense of a line of a data file.

    Example:
        >>> sense('00006858 02 r 02 smartly 0 in_style(p) 0 000 | in a stylish manner; "He was smartly dressed"  ')
        Sense(words=('smartly', 'in style'), definition='in a stylish manner', examples=('He was smartly dressed',))
    """
    head, _, gloss = line.partition(" | ")
    fields = head.split()
    count = int(fields[3], 16)
    words = tuple(_MARKER.sub("", word).replace("_", " ") for word in fields[4 : 4 + 2 * count : 2])
    definition = gloss.partition('"')[0].strip(" ;")
    return Sense(words, definition, tuple(_EXAMPLE.findall(gloss)))


@functools.cache
def texts(folder: Path = FOLDER) -> tuple[str, ...]:
    """All words, definitions and examples, without duplicates, in a fixed order."""
    found = (text for each in senses(folder) for text in (*each.words, each.definition, *each.examples))
    return tuple(dict.fromkeys(text for text in found if key(text)))


@functools.cache
def pairs(folder: Path = FOLDER) -> tuple[TextPair, ...]:
    """Each sense's first word with its definition, and with its next synonym where it has one, in a fixed order."""
    found = []
    for each in senses(folder):
        found.append(TextPair(each.words[0], each.definition))
        found += [TextPair(each.words[0], other) for other in each.words[1:2]]
    return tuple(dict.fromkeys(pair for pair in found if len({key(pair.query), key(pair.document), ""}) == 3))
