"""Queries and passages from manual pages: the one-line summary of a page, and its first paragraph.

Every page begins with a section that names it and says in one line what it is for; a description follows. Only pages
written in man(7)'s macros are read, which nearly all are, and only as much of them as a paragraph needs. They are for
training only: texts of held-out catalogues and functions are left out.
"""

from __future__ import annotations

import functools
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from polylens.lab.corpora import catalogues, functions
from polylens.lab.corpora.text import TextPair, is_mostly_letters, key

FOLDER = Path("/usr/share/man")
SECTIONS = ("man1", "man2", "man3", "man4", "man5", "man7", "man8")
MOST_OF_A_KIND = 60  # pages: some programs have thousands from one template

QUESTION_WORDS = (3, 30)  # fewest and most in the summary
PASSAGE_LETTERS = (60, 600)  # a longer paragraph is skipped

_KIND = re.compile(r"[A-Za-z0-9]+")
_COMMENT = re.compile(r"""^[.']\s*\\".*|\\".*""")
_FONT = re.compile(r"\\f(?:\[\w*\]|\(\w\w|.)|\\[&,/|^:%!]|\\s[-+]?\d+|\\c$")
_NAMED = {r"\-": "-", r"\e": "\\", r"\(aq": "'", r"\(lq": "“", r"\(rq": "”", r"\(oq": "‘", r"\(cq": "’", r"\(em": "—"}
_NAMED |= {r"\(en": "–", r"\(bu": "•", r"\(dq": '"', r"\(co": "©", r"\ ": " ", r"\~": " ", r"\0": " ", r"\'": "´"}
_INLINE = re.compile(r"^\.\s*(B|I|SM|SB|BR|BI|IR|RB|IB|RI)\s+(.*)")  # words of the text in other faces
_ARGUMENT = re.compile(r'"([^"]*)"|(\S+)')
_HEADING = re.compile(r"^\.\s*SH\b")
_BREAK = re.compile(r"^\.\s*(?:SS|PP|LP|P|TP|TQ|IP|HP|RS|RE|sp|nf|fi|EX|EE|SY|YS|TS|TE|UR|UE|MT|ME)\b")


@functools.cache
def pairs(folder: Path = FOLDER) -> tuple[TextPair, ...]:
    """All pairs, the summary first, without duplicates; of translated pages, too, in one language on both sides.

    Args:
        folder: Has the sections of the English pages, and a folder for each other language.
    """
    taken = set(catalogues.held_out_keys() | functions.held_out_keys())
    found = []
    for path in files(folder):
        pair = in_page(_text(path))
        keys = set() if pair is None else {key(pair.query), key(pair.document)}
        if pair is not None and len(keys) == 2 and not keys & taken:  # some pages say the same in both places
            taken |= keys
            found.append(pair)
    return tuple(found)


def files(folder: Path = FOLDER) -> Iterator[Path]:
    """The pages that pairs are taken from, in a fixed order."""
    kinds: Counter[tuple[Path, str]] = Counter()
    for section in sorted(path for pattern in ("", "*/") for name in SECTIONS for path in folder.glob(pattern + name)):
        for path in sorted(section.glob("*.gz")):
            kind = _KIND.match(path.name)
            kinds[section, kind[0] if kind else ""] += 1
            if kinds[section, kind[0] if kind else ""] <= MOST_OF_A_KIND and not path.is_symlink():
                yield path


def _text(path: Path) -> str:
    """The source of a page; "" where it cannot be read or has an old encoding."""
    try:
        return gzip.decompress(path.read_bytes()).decode("utf-8")
    except (OSError, EOFError, ValueError, zlib.error):
        return ""


def in_page(text: str) -> TextPair | None:
    """The summary of a page and its first paragraph of some length; None where either is missing.

    Example:
        >>> page = '''.SH NAME
        ... sort \\\\- sort lines of text files
        ... .SH DESCRIPTION
        ... Writes the lines of all its files
        ... .RI ( FILE )
        ... to its
        ... .B standard output.
        ... '''
        >>> in_page(page)  # doctest: +NORMALIZE_WHITESPACE
        TextPair(query='sort lines of text files',
                 document='Writes the lines of all its files (FILE) to its standard output.')
    """
    paragraphs = list(_paragraphs(text))
    if not paragraphs:
        return None
    about = paragraphs[0].partition(" - ")[2]
    if not QUESTION_WORDS[0] <= len(about.split()) <= QUESTION_WORDS[1] or "\\" in about:
        return None
    for paragraph in paragraphs[1:]:
        if PASSAGE_LETTERS[0] <= len(paragraph) <= PASSAGE_LETTERS[1] and _is_prose(paragraph):
            return TextPair(about, paragraph)
    return None


def _paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of all sections, each in one line without macros."""
    begun, lines = False, list[str]()
    for raw in text.splitlines():
        line = _COMMENT.sub("", raw)
        if _HEADING.match(line) or _BREAK.match(line) or not line.strip():
            if lines:
                yield " ".join(lines)
            begun, lines = begun or bool(_HEADING.match(line)), []
        elif begun and (not line.startswith((".", "'")) or _INLINE.match(line)):
            lines.append(_plain(_INLINE.sub(_in_one_face, line)))
    if lines:
        yield " ".join(lines)


def _in_one_face(macro: re.Match[str]) -> str:
    """The words behind a macro; where faces alternate, nothing stands between them."""
    between = "" if macro[1] in ("BR", "BI", "IR", "RB", "IB", "RI") else " "
    return between.join(quoted or bare for quoted, bare in _ARGUMENT.findall(macro[2]))


def _plain(line: str) -> str:
    line = _FONT.sub("", line)
    for escape, letter in _NAMED.items():
        line = line.replace(escape, letter)
    return " ".join(line.split())


def _is_prose(text: str) -> bool:
    return text[-1] in ".。" and is_mostly_letters(text, 8) and "\\" not in text
