"""Words of 28 languages, from data that any installation has.

The words come from the locale data of Babel (CLDR, Unicode licence): names of places, languages, scripts, currencies,
units, months, time zones. English adds the docstrings of the standard library. About one word in six is
*held out* by its own hash, so no list has to be maintained.

A few thousand words could be learned by their silhouettes. `PseudoWords` therefore makes up any number of new ones that
look like the language and are never held-out words: to tell them apart a model must read letters.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import random
import re
import sysconfig
import unicodedata
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path

from babel import localedata

from polylens.errors import InputError
from polylens.lab.corpora.split import Split

LANGUAGES: dict[str, str] = {
    **dict.fromkeys(
        ["en", "de", "fr", "es", "it", "pt", "nl", "pl", "tr", "cs", "hu", "fi", "sv", "vi", "id", "ro"], "Latn"
    ),
    **dict.fromkeys(["ru", "uk", "bg"], "Cyrl"),
    "el": "Grek",
    "he": "Hebr",
    **dict.fromkeys(["ar", "fa"], "Arab"),
    "hi": "Deva",
    "th": "Thai",
    "zh": "Hans",
    "ja": "Jpan",
    "ko": "Hang",
}
"""Language code -> script code (ISO 15924)."""

UNSPACED = frozenset({"Hans", "Jpan", "Thai"})
"""Scripts that put no space between words."""

RIGHT_TO_LEFT = frozenset({"Hebr", "Arab"})

LETTERS: dict[str, str] = {
    "Latn": "A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ",
    "Cyrl": "Ѐ-ӿ",
    "Grek": "Ͱ-Ͽἀ-῿",
    "Hebr": "א-ת",
    "Arab": "ء-غف-يًٌٍَُِّْٓ-ٕٱپچژکگیهٔ\u200c",
    "Deva": "ऀ-ॣ",
    "Thai": "ก-ฺเ-๎",
    "Hans": "一-鿿",
    "Jpan": "一-鿿ぁ-ゖァ-ヺー々",
    "Hang": "가-힣",
}
"""Script -> the characters of its words, as the inside of a regular expression's class."""

# fmt: off
_SECTIONS = (
    "territories", "languages", "scripts", "currency_names", "currency_names_plural", "variants", "unit_display_names",
    "unit_patterns", "months", "days", "quarters", "eras", "day_periods", "date_fields", "time_zones", "meta_zones",
)
# fmt: on

# fmt: off
_DOCUMENTED = (
    "argparse", "ast", "asyncio", "base64", "bdb", "calendar", "cmd", "collections", "concurrent", "configparser",
    "contextlib", "copy", "csv", "ctypes", "datetime", "decimal", "difflib", "dis", "doctest", "email", "enum",
    "filecmp", "fractions", "ftplib", "functools", "gettext", "glob", "gzip", "heapq", "html", "http", "imaplib",
    "importlib", "inspect", "ipaddress", "json", "locale", "logging", "mailbox", "multiprocessing", "nntplib",
    "numbers", "optparse", "os", "pathlib", "pdb", "pickle", "platform", "pprint", "profile", "random", "re", "sched",
    "selectors", "shelve", "shutil", "smtplib", "socket", "sqlite3", "ssl", "statistics", "string", "subprocess",
    "tarfile", "tempfile", "textwrap", "threading", "timeit", "tkinter", "trace", "traceback", "turtle", "typing",
    "unittest", "urllib", "uuid", "warnings", "wave", "weakref", "webbrowser", "xml", "zipfile",
)
# fmt: on
"""Modules of the standard library with prose in their docstrings; listed, so that all machines have the same words."""

_THAI_CLUSTER = re.compile("[เ-ไ]?[ก-ฮ][ัิ-ฺ็-๎]*[ะาำ]?")
_NOT_LETTERS = re.compile(r"[\W\d_]+")
_CURRENCY_SIGNS = ("€", "$", "£")


def is_held_out(word: str) -> bool:
    """Whether a word is kept out of training: one in six is, by its hash.

    Case, digits and punctuation make no difference, so a word may be given as it is printed.

    Example:
        >>> is_held_out("Winter") == is_held_out("(winter),")
        True
    """
    letters = _NOT_LETTERS.sub("", unicodedata.normalize("NFC", word.casefold()))
    return hashlib.sha256(letters.encode()).digest()[0] % 6 == 0


@functools.cache
def words(language: str, split: Split) -> tuple[str, ...]:
    """The words of a language, sorted, each with at least two letters (one where a letter is a syllable or a word).

    Args:
        language: A key of `LANGUAGES`.
        split: "train" or "held_out"; the two share no word in any language.

    Raises:
        InputError: The language or the split is unknown.

    Example:
        >>> "Montag" in words("de", "train") + words("de", "held_out")
        True
    """
    if language not in LANGUAGES:
        raise InputError(f"language must be one of {', '.join(LANGUAGES)}, got {language!r}")
    if split not in ("train", "held_out"):
        raise InputError(f'split must be "train" or "held_out", got {split!r}')
    script = LANGUAGES[language]
    run = re.compile(f"[{LETTERS[script]}]+")
    found: set[str] = set()
    for text in _sources(language):
        for match in run.finditer(unicodedata.normalize("NFC", text)):
            found.update(pieces(match.group(), script))
    return tuple(sorted(word for word in found if is_held_out(word) == (split == "held_out")))


def pieces(run: str, script: str) -> Iterator[str]:
    """The words of an unbroken run of letters: the run itself, or short chunks in scripts without spaces."""
    if script == "Thai":
        clusters = _THAI_CLUSTER.findall(run)
        size = 3
        yield from ("".join(clusters[i : i + size]) for i in range(0, len(clusters), size))
    elif script in UNSPACED:
        size = 4 if len(run) <= 4 else 3 if len(run) % 3 == 0 else 2
        yield from (run[i : i + size] for i in range(0, len(run), size))
    else:
        word = run.strip("\u200c")
        if 2 <= len(word) <= 24:
            yield word


def _sources(language: str) -> Iterator[str]:
    data: Mapping[str, object] = localedata.load(language)
    for section in _SECTIONS:
        yield from _strings(data.get(section, {}))
    if language == "en":
        yield from _docstrings()


def _strings(value: object) -> Iterator[str]:
    """Every string in a nest of mappings. A placeholder such as {0} holds no letters, so it needs no care."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)


def _docstrings() -> Iterator[str]:
    """Lower-case words of the standard library's docstrings; words in capitals or mixed case are mostly identifiers."""
    folder = Path(sysconfig.get_path("stdlib"))
    for name in _DOCUMENTED:
        path = folder / f"{name}.py"
        if not path.exists():
            path = folder / name / "__init__.py"
        if not path.exists():
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                text = ast.get_docstring(node, clean=False)
                if text:
                    yield from re.findall(r"(?<![\w.'])[A-Z]?[a-z]{2,16}(?=[\s,;:]|\.\s)", text)


class PseudoWords:
    """Invented words that look like a language: each letter is drawn given the two before it (one in CJK).

    The generator is fitted on the training words and never yields a held-out word. In Chinese, Japanese and Korean half
    of the words are drawn from the everyday characters of the national standard instead, since names of places have
    only some of them.

    Args:
        language: A key of `LANGUAGES`.

    Example:
        >>> word = PseudoWords("de").draw(random.Random(7))
        >>> 3 <= len(word) <= 12 and not is_held_out(word)
        True
    """

    def __init__(self, language: str) -> None:
        self._script = LANGUAGES.get(language, "")
        syllabic = self._script in ("Hans", "Jpan", "Hang")
        self._order = 1 if syllabic else 2
        self._shortest, self._longest = (1, 4) if syllabic else (1, 4) if self._script == "Thai" else (3, 12)
        self._everyday = everyday_characters(language)
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for word in words(language, "train"):
            for context, unit in self._steps(self._units(word.lower())):
                counts[context][unit] += 1
        self._next: dict[str, tuple[list[str], list[int]]] = {
            context: (list(counter), list(accumulate(counter.values()))) for context, counter in counts.items()
        }

    def _units(self, word: str) -> list[str]:
        return _THAI_CLUSTER.findall(word) if self._script == "Thai" else list(word)

    def _steps(self, units: list[str]) -> Iterable[tuple[str, str]]:
        padded = [""] * self._order + units + [""]
        for i in range(self._order, len(padded)):
            yield "\0".join(padded[i - self._order : i]), padded[i]

    def draw(self, rng: random.Random) -> str:
        """Draws a word in lower case: 3-12 letters, or 1-4 characters in CJK, or 1-4 syllables in Thai."""
        while True:
            if self._everyday and rng.random() < 0.5:
                word = "".join(rng.choices(self._everyday, k=rng.randint(1, 4)))
                if is_held_out(word):
                    continue
                return word
            context, units = [""] * self._order, list[str]()
            while len(units) <= self._longest:
                choices, cumulative = self._next["\0".join(context)]
                unit = choices[bisect(cumulative, rng.random() * cumulative[-1])]
                if not unit:
                    break
                units.append(unit)
                context = [*context[1:], unit]
            word = "".join(units)
            if self._shortest <= len(units) <= self._longest and not is_held_out(word):
                return word


@functools.cache
def everyday_characters(language: str) -> str:
    """The common characters of Chinese, Japanese or Korean by their national standards; "" for other languages.

    GB 2312 level 1 (3,755 characters), JIS X 0208 level 1 (2,965) and KS X 1001 (2,350), by way of Python's codecs.

    Example:
        >>> len(everyday_characters("zh")), len(everyday_characters("el"))
        (3755, 0)
    """
    codec, rows = {"zh": ("gb2312", (16, 55)), "ja": ("euc_jp", (16, 47)), "ko": ("euc_kr", (16, 40))}.get(
        language, ("", (1, 0))
    )
    pairs = (bytes((0xA0 + row, 0xA0 + cell)) for row in range(rows[0], rows[1] + 1) for cell in range(1, 95))
    return "".join(pair.decode(codec, errors="ignore") for pair in pairs)


@functools.cache
def pseudo_words(language: str) -> PseudoWords:
    """The generator of a language, fitted once per process."""
    return PseudoWords(language)


def sample_text(rng: random.Random, language: str, split: Split, num_words: int) -> list[str]:
    """Draws words as they might follow one another in a document, with punctuation attached.

    Args:
        rng: Decides everything: the same state gives the same text.
        language: A key of `LANGUAGES`.
        split: For "train", about half are real words, two fifths invented, the rest numbers, dates, prices and codes.
            For "held_out", all are real held-out words but for a few numbers.
        num_words: Number of words.

    Example:
        >>> len(sample_text(random.Random(0), "fr", "train", 12))
        12
    """
    real = words(language, split)
    invent = pseudo_words(language) if split == "train" else None
    script = LANGUAGES[language]
    text = []
    for _ in range(num_words):
        kind = rng.random()
        if kind < (0.07 if invent else 0.04):
            text.append(_number(rng))
            continue
        word = invent.draw(rng) if invent and kind < 0.5 else real[int(rng.random() * len(real))]
        style = rng.random()
        if style < 0.1:
            word = word.capitalize()
        elif style < 0.13:
            word = word.upper()
        elif style < 0.5:
            word = word.lower()
        text.append(_punctuate(rng, word, script))
    return text


def _punctuate(rng: random.Random, word: str, script: str) -> str:
    chance = rng.random()
    if chance > 0.14:
        return word
    comma, stop, colon = tuple({"Hans": "，。：", "Jpan": "、。：", "Arab": "،.:", "Deva": ",।:"}.get(script, ",.:"))
    if chance < 0.06:
        return word + comma
    if chance < 0.11:
        return word + stop
    if chance < 0.125:
        return word + colon
    return f"（{word}）" if script in ("Hans", "Jpan") else f"({word})"


def _number(rng: random.Random) -> str:
    """Draws a number, a date, a price or a code."""
    kind = rng.randrange(8)
    if kind == 0:
        return str(rng.randrange(1, 100))
    if kind == 1:
        return str(rng.randrange(1900, 2031))
    if kind == 2:
        return f"{rng.randrange(1, 10 ** rng.randint(3, 6)):,}"
    if kind == 3:
        return f"{rng.uniform(0, 100):.{rng.randint(1, 2)}f}{rng.choice(('', '', '%'))}"
    if kind == 4:
        return f"{rng.randrange(1990, 2031)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    if kind == 5:
        return f"{rng.randint(1, 28)}.{rng.randint(1, 12)}.{rng.randrange(1990, 2031)}"
    if kind == 6:
        return f"{rng.choice(_CURRENCY_SIGNS)}{rng.randrange(1, 5000)}.{rng.randrange(100):02}"
    letters = "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.randint(1, 3)))
    return f"{letters}-{rng.randrange(10, 100000)}"
