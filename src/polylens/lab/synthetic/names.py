"""Names from CLDR in many languages: of countries, languages, cities, currencies, units and months.

A name is a code, so a page in one language can have a query in another. Whether a name is held out is decided in each
language, by its words there.
"""

from __future__ import annotations

import copy
import functools
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from babel import localedata

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.lexicon import LANGUAGES, LETTERS, is_held_out, pieces

NameKind = Literal["territory", "language", "city", "currency", "unit", "month"]

LONGEST = 24  # letters: the room of a table's column
_SECTIONS = {"territory": "territories", "language": "languages", "currency": "currency_names"}


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """Something that CLDR names in many languages.

    Example:
        >>> [spell(Name("territory", "JP"), language) for language in ("en", "fr", "el")]
        ['Japan', 'Japon', 'Ιαπωνία']
    """

    kind: NameKind
    code: str

    @property
    def key(self) -> str:
        """The identity in any language, such as "territory:JP"."""
        return f"{self.kind}:{self.code}"


def spell(name: Name, language: str) -> str | None:
    """The name in a language; None where CLDR has none, or one that is too long or has other signs than letters."""
    return spellings(name.kind, language).get(name.code)


@functools.cache
def spellings(kind: NameKind, language: str) -> dict[str, str]:
    """Code -> name in a language, of at most three words and `LONGEST` letters of its own script."""
    letters = LETTERS[LANGUAGES[language]]
    plain = re.compile(rf"[{letters}]+(?:[ '’-][{letters}]+){{0,2}}")
    every = {code: unicodedata.normalize("NFC", text) for code, text in _texts(kind, language).items()}
    return {code: text for code, text in every.items() if 3 <= len(text) <= LONGEST and plain.fullmatch(text)}


@functools.cache
def names(kind: NameKind, language: str, split: Split, also: str | None = None) -> tuple[Name, ...]:
    """Names all of whose words belong to a split, no two of them spelled alike.

    Args:
        kind: Of the names.
        language: A key of `LANGUAGES`.
        split: "train" or "held_out".
        also: Another language in which this must hold, too, with another spelling.

    Example:
        >>> set(names("territory", "en", "train")) & set(names("territory", "en", "held_out"))
        set()
    """
    here = spellings(kind, language)
    there = spellings(kind, also) if also else here
    seen: set[str] = set()
    found = []
    for code in sorted(here.keys() & there.keys()):
        text = here[code].casefold()
        if text in seen or (also and text == there[code].casefold()):
            continue
        if belongs(here[code], language, split) and (not also or belongs(there[code], also, split)):
            seen.add(text)
            found.append(Name(kind, code))
    return tuple(found)


def belongs(text: str, language: str, split: Split) -> bool:
    """Whether every word of a text is of a split, words of a single letter included."""
    script = LANGUAGES[language]
    runs = re.findall(f"[{LETTERS[script]}]+", text)
    words = [word for run in runs for word in (*pieces(run, script),) or (run,)]
    return bool(words) and all(is_held_out(word) == (split == "held_out") for word in words)


def _texts(kind: NameKind, language: str) -> dict[str, str]:
    data: Mapping[str, Any] = localedata.load(language)
    if kind == "city":
        return {zone: names["city"] for zone, names in data["time_zones"].items() if "city" in names}
    if kind == "unit":
        units = {unit: names for unit, names in data["unit_display_names"].items() if isinstance(names, Mapping)}
        return {unit: names["long"] for unit, names in units.items() if "long" in names}  # others are aliases
    if kind == "month":
        # A copy: reading through aliases writes their targets into Babel's own data, which the lexicon reads too.
        months = localedata.LocaleDataDict({"months": copy.deepcopy(data["months"])})["months"]
        return {str(number): text for number, text in months["stand-alone"]["wide"].items()}
    texts = {code: text for code, text in data[_SECTIONS[kind]].items() if isinstance(text, str)}
    if kind == "territory":
        return {code: text for code, text in texts.items() if not code.isdigit()}
    return texts
