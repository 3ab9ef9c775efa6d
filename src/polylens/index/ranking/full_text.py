"""Full text: which pages have the words of a query, scored by BM25, from LanceDB's index of the text layer.

The index is an aid, not the data: pages that are missing from it are read and scored as they are, so a search finds
them too, only more slowly. So it need not follow each commit at once; `keep_current` brings it up to date.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lancedb.index import FTS
    from lancedb.query import MatchQuery

UNINDEXED = 256
"""Pages that may be missing from the index: they cost a search 12 ms; indexing takes 40 us per page of the library."""

SHORTEST_MISSPELT, LONGEST_MISSPELT = 5, 30
"""Letters of a word that is also looked for with one letter off. A word of four becomes another word by it."""

MAX_WORDS_CHARS = 2_000  # of a query that are looked for, in case a whole page was pasted

MAX_WORD_BYTES = 256
"""Bytes in UTF-8 from which on a word is not indexed. LanceDB's own limit of 40 leaves out Russian words of 20 letters,
Georgian ones of 14, and checksums; what is longer than this one is data in letters."""

WORD = re.compile(r"\w+")
# Scripts written without spaces: a "word" there is a whole clause.
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_UNSPACED_LETTERS = 2  # of a word, about
_UNACCENTED = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}


def tokeniser() -> FTS:
    """How texts are cut into words."""
    from lancedb.index import FTS  # takes seconds to import, which a server without a library need not wait for

    return FTS(
        # Words by the Unicode rules, with dictionaries where a script has no spaces: "发票" is found in
        # 水管工的发票在五月, which "simple" keeps as one token. Plain "icu" keeps "plumber's" and "l'électricien"
        # whole; this one splits them. "ngram" finds parts of words, hence pages that have none of the words; fused,
        # it ranks no better (docs/log.md).
        base_tokenizer="icu/split",
        lower_case=True,
        ascii_folding=True,  # "strasse" finds Straße
        # Both are of one language, and a library has many.
        stem=False,
        remove_stop_words=False,
        max_token_length=MAX_WORD_BYTES,
    )


def keep_current(table: Any, *, growing: bool = False) -> None:
    """Make the index where it `is_behind`; arguments as there."""
    if is_behind(table, growing=growing):
        index(table)


def index(table: Any) -> None:
    """Make the index, or make it anew, in one new version of the table: a search sees the old index or the new one."""
    table.create_index("text", config=tokeniser(), replace=True)


def is_behind(table: Any, *, growing: bool = False) -> bool:
    """Whether a table has no index, or one that lacks many pages or was made by other rules.

    Args:
        table: LanceDB's table of pages.
        growing: Whether more pages are to come. Then `UNINDEXED` pages or an eighth of all may be missing, whichever is
            more: indexing all pages again and again costs more than it saves. Otherwise, whichever is less.
    """
    known = [index for index in table.list_indices() if index.columns == ["text"]]
    eighth = known[0].num_indexed_rows // 8 if known else 0
    waiting = max(UNINDEXED, eighth) if growing else min(UNINDEXED, eighth)
    return bool(not known or _is_of_other_rules(known[0]) or known[0].num_unindexed_rows > waiting)


def _is_of_other_rules(index: Any) -> bool:
    """Whether an index was made by an earlier version, which left out long words."""
    details = getattr(index, "index_details", None) or {}  # LanceDB before 0.40 does not say
    return details.get("max_token_length", MAX_WORD_BYTES) != MAX_WORD_BYTES


def matches(table: Any, words: str, n: int, where: str | None) -> Iterator[dict[str, Any]]:
    """The pages that have any of the words, best first, as rows with `_rowid`, `file`, `page` and `_score`.

    Where no page has any, those with words one letter off, as by a typing error or in the plural.

    Args:
        table: LanceDB's table of pages.
        words: The words to look for. There is no query syntax: quotes, signs and AND are like anything else.
        n: Most pages returned.
        where: SQL condition that narrows the pages before anything is ranked; None for every page.
    """
    from lancedb.query import MatchQuery

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
    """A word as the index has it: lower case, Latin letters without accents.

    LanceDB does this itself for exact words, and not for words that are looked for with one letter off.

    Example:
        >>> folded("Überweisung"), folded("STRAßE"), folded("Τιμολόγιο")
        ('uberweisung', 'strasse', 'τιμολόγιο')
    """
    return word.lower().translate(_FOLDING)


class _Folding(dict[int, str]):
    """The table by which `str.translate` takes the accents off Latin letters, filled as letters come."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        base = unicodedata.normalize("NFD", letter)[0]
        self[code] = _UNACCENTED.get(letter) or (base if base.isascii() else letter)
        return self[code]


_FOLDING = _Folding()


def may_be_misspelt(word: str) -> bool:
    """Whether a word with one letter off is likely the same word: neither short, nor a number, nor a clause of a script
    without spaces.

    Example:
        >>> [word for word in ("invoise", "sail", "INV2024", "水管工的发票") if may_be_misspelt(word)]
        ['invoise']
    """
    plain = word.isalpha() and not UNSPACED.search(word)
    return plain and SHORTEST_MISSPELT <= len(word) <= LONGEST_MISSPELT


def one_letter_apart(one: str, other: str) -> bool:
    """Whether two words differ by one letter that is added, removed or replaced.

    Example:
        >>> one_letter_apart("invoice", "invoices"), one_letter_apart("invoice", "inverse")
        (True, False)
    """
    short, long = sorted((one, other), key=len)
    same = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    rest = short[same:] if len(short) < len(long) else short[same + 1 :]
    return len(long) - len(short) <= 1 and rest == long[same + 1 :]


def normalised(text: str) -> str:
    """A text in the form that is stored and looked for: letters and accents composed (NFC), no lone surrogates.

    Example:
        >>> len(normalised("e\u0301te\u0301"))
        3
    """
    return unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())


def count_words(text: str) -> int:
    """About how many words a text has: those of scripts without spaces are estimated from the number of letters.

    Example:
        >>> count_words("the invoice of May: 五月的发票")
        7
    """
    return sum(math.ceil(len(word) / _UNSPACED_LETTERS) if UNSPACED.search(word) else 1 for word in WORD.findall(text))
