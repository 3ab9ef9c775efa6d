"""English words and phrases with their translations, from the bilingual dictionaries of FreeDict.

A dictionary in the format of dictd is two files: an index, with a headword, an offset and a length in base 64 per line,
and the gzipped entries. An entry begins with its headword; the translations of its senses follow, numbered where there
are several, among examples, references and explanations, which are not read.
"""

from __future__ import annotations

import functools
import gzip
import re
from collections.abc import Iterator
from pathlib import Path

from polylens.lab.corpora.text import TextPair, key

FOLDER = Path("/usr/share/dictd")
PACKAGE = "dict-freedict-eng-deu"

LANGUAGES = {
    **{"ar": "ara", "bg": "bul", "cs": "ces", "de": "deu", "el": "ell", "es": "spa", "fi": "fin", "fr": "fra"},
    **{"hi": "hin", "hu": "hun", "id": "ind", "it": "ita", "ja": "jpn", "nl": "nld", "pl": "pol", "pt": "por"},
    **{"ru": "rus", "sv": "swe", "tr": "tur"},
}
"""Language -> its code in a dictionary's name."""

LONGEST = 60
"""Characters of a headword or a translation; what is longer is an explanation."""

_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NUMBER = re.compile(r"^\d+\.\s+")
_ASIDE = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}|<[^<>]*>|/[^/]*/")  # grammar, subjects, pronunciation
_SEPARATOR = re.compile(r"[,;:،、，؛]")
_TRANSLATIONS_A_SENSE = 2


def installed(folder: Path = FOLDER) -> tuple[str, ...]:
    """The languages that have a dictionary from or into English here."""
    return tuple(language for language in LANGUAGES if any(map(Path.is_file, _indices(language, folder))))


@functools.cache
def pairs(language: str, folder: Path = FOLDER) -> tuple[TextPair, ...]:
    """English words with a translation each, without duplicates, in a fixed order.

    Args:
        language: One of `LANGUAGES`; one without a dictionary here has no pairs.
        folder: With the dictionaries.
    """
    into, out_of = _indices(language, folder)
    found = [TextPair(head, said) for entry in _entries(into) for head, said in translations(entry)]
    found += [TextPair(said, head) for entry in _entries(out_of) for head, said in translations(entry)]
    return tuple(dict.fromkeys(pair for pair in found if len({key(pair.query), key(pair.document), ""}) == 3))


def translations(entry: str) -> Iterator[tuple[str, str]]:
    """The headword of an entry with the first translations of each sense.

    Example:
        >>> list(translations("inn /ˈɪn/ <n>\\n1. Gasthof <masc>, Wirtshaus (alt)\\n  see: {hotel}\\n2. Herberge\\n"))
        [('inn', 'Gasthof'), ('inn', 'Wirtshaus'), ('inn', 'Herberge')]
        >>> list(translations("handsome /x/ <adj>\\nschön\\nof man: attractive\\n"))
        [('handsome', 'schön')]
    """
    head, *lines = entry.splitlines()
    head = _bare(head.partition(" /")[0])
    numbered = [line for line in lines if _NUMBER.match(line)]
    for line in numbered or [line for line in lines[:1] if line[:1].strip()]:
        parts = [_bare(part) for part in _SEPARATOR.split(_ASIDE.sub(" ", _NUMBER.sub("", line)))]
        for part in [part for part in parts if key(part)][:_TRANSLATIONS_A_SENSE]:
            if key(head) and max(len(head), len(part)) <= LONGEST:
                yield head, part


def _bare(text: str) -> str:
    return " ".join(_ASIDE.sub(" ", text).replace("~", " ").split()).strip(" .")


def _indices(language: str, folder: Path) -> tuple[Path, Path]:
    """The index of the dictionary from English, and of that into English."""
    code = LANGUAGES[language]
    return folder / f"freedict-eng-{code}.index", folder / f"freedict-{code}-eng.index"


def _entries(index: Path) -> Iterator[str]:
    """The entries of a dictionary, each once, in the order of its index; none where it is not here."""
    if not index.is_file():
        return
    data = gzip.decompress(index.with_suffix(".dict.dz").read_bytes())
    seen = set()
    for line in index.read_text(encoding="utf-8").splitlines():
        headword, offset, length = line.split("\t")[:3]
        if headword.startswith("00database") or offset in seen:
            continue
        seen.add(offset)
        start = _number(offset)
        entry = data[start : start + _number(length)].decode("utf-8", errors="replace").strip()
        if entry:
            yield entry


def _number(digits: str) -> int:
    """The number that digits of base 64 write.

    Example:
        >>> _number("BA")
        64
    """
    number = 0
    for digit in digits:
        number = 64 * number + _DIGITS.index(digit)
    return number
