"""Full text: which pages have the words of a query, scored by BM25, from LanceDB's index of the text layer.

The index is an aid, not the data: pages that it does not know yet are read and scored as they are, so a search finds
them too, only slower. Therefore it need not follow each commit at once; `keep_current` lets it catch up.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from lancedb.index import FTS
from lancedb.query import MatchQuery

UNINDEXED = 256
"""Pages that may wait for the index: reading those costs a search 12 ms; indexing takes 40 us a page of the library."""

SHORTEST_MISSPELT, LONGEST_MISSPELT = 5, 30
"""Letters of a word that is also looked for with one of them off. Of four, every letter makes another word."""

MAX_WORDS_CHARS = 2_000  # of a query; a pasted page would be looked for word by word

TOKENISER = FTS(
    # Words by the Unicode rules, with dictionaries where a script has no spaces: "发票" is found in 水管工的发票在五月,
    # which "simple" keeps as one token. Plain "icu" keeps "plumber's" and "l'électricien" whole; this one splits them.
    # "ngram" finds parts of words, hence pages that have none of the words; fused, it ranks no better (docs/log.md).
    base_tokenizer="icu/split",
    lower_case=True,
    ascii_folding=True,  # "strasse" finds Straße
    # Both are of one language, and a library has many.
    stem=False,
    remove_stop_words=False,
)


WORD = re.compile(r"\w+")
# Scripts written without spaces: a "word" there is a whole clause.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_UNSPACED_LETTERS = 2  # of a word, about
_UNACCENTED = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}


def keep_current(table: Any, *, growing: bool = False) -> None:
    """Make the index where a table has none, as those of earlier versions, and make it anew once it is well behind.

    One new version of the table each time; a search sees the old index or the new one.

    Args:
        table: The pages.
        growing: More are to come, so an eighth may wait, however many that is: indexing all of them again and again
            costs more than it saves. At the end of an update no more than an eighth waits, and not many.
    """
    known = [index for index in table.list_indices() if index.columns == ["text"]]
    eighth = known[0].num_indexed_rows // 8 if known else 0
    waiting = max(UNINDEXED, eighth) if growing else min(UNINDEXED, eighth)
    if not known or known[0].num_unindexed_rows > waiting:
        table.create_index("text", config=TOKENISER, replace=True)


def matches(table: Any, words: str, n: int, where: str | None) -> Iterator[dict[str, Any]]:
    """The pages that have any of the words, best first, as rows with `_rowid`, `file`, `page` and `_score`.

    Where no page has any, those with words one letter off: a slip of the keyboard, a plural.

    Args:
        table: The pages.
        words: What is looked for. It is no language: quotes, signs and AND are looked for like anything else.
        n: How many pages at most.
        where: SQL over the columns; it holds before anything is ranked.
    """
    words = normalised(words)[:MAX_WORDS_CHARS]
    rows = _rows(table, MatchQuery(words, "text"), n, where)
    near = " ".join(folded(word) for word in WORD.findall(words) if may_be_misspelt(word))
    if not rows and near:
        # The first letter is seldom the wrong one, and holding on to it spares most of the words of a library.
        rows = _rows(table, MatchQuery(near, "text", fuzziness=1, prefix_length=1), n, where)
    yield from rows


def _rows(table: Any, query: MatchQuery, n: int, where: str | None) -> list[dict[str, Any]]:
    found = table.search(query, query_type="fts").limit(n).select(["file", "page", "_score"]).with_row_id(True)
    rows: list[dict[str, Any]] = (found.where(where) if where else found).to_arrow().to_pylist()
    return rows


def folded(word: str) -> str:
    """A word as the index has it: small letters, Latin ones without accents. LanceDB does so itself with words that are
    looked for as they are, and not with those that are looked for nearly.

    Example:
        >>> folded("Überweisung"), folded("STRAßE"), folded("Τιμολόγιο")
        ('uberweisung', 'strasse', 'τιμολόγιο')
    """
    return "".join(_folded(letter) for letter in word.lower())


def _folded(letter: str) -> str:
    base = unicodedata.normalize("NFD", letter)[0]
    return _UNACCENTED.get(letter) or (base if base.isascii() else letter)


def may_be_misspelt(word: str) -> bool:
    """Whether a word with one letter off is likely the same: not a short one, a number, or a clause of a script
    without spaces.

    Example:
        >>> [word for word in ("invoise", "sail", "INV2024", "水管工的发票") if may_be_misspelt(word)]
        ['invoise']
    """
    plain = word.isalpha() and not UNSPACED.search(word)
    return plain and SHORTEST_MISSPELT <= len(word) <= LONGEST_MISSPELT


def one_letter_apart(one: str, other: str) -> bool:
    """Whether two words become the same by one letter more, less or another.

    Example:
        >>> one_letter_apart("invoice", "invoices"), one_letter_apart("invoice", "inverse")
        (True, False)
    """
    short, long = sorted((one, other), key=len)
    same = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    rest = short[same:] if len(short) < len(long) else short[same + 1 :]
    return len(long) - len(short) <= 1 and rest == long[same + 1 :]


def normalised(text: str) -> str:
    """A text as it is stored and as it is looked for: accents in one piece with their letters, no lone surrogates.

    Example:
        >>> len(normalised("e\u0301te\u0301"))
        3
    """
    return unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())


def count_words(text: str) -> int:
    """How many words a text has, about: those of scripts without spaces are reckoned by their letters.

    Example:
        >>> count_words("the invoice of May: 五月的发票")
        7
    """
    return sum(math.ceil(len(word) / _UNSPACED_LETTERS) if UNSPACED.search(word) else 1 for word in WORD.findall(text))
