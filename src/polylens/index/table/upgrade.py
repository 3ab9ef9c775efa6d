"""Adds to an index of an earlier version what that version did not write.

No released version lacks these columns: delete this file once 0.1.0 is out.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from polylens.index.ranking.filters import is_in, quoted
from polylens.index.ranking.language import UNTOLD, language_of


def lacks_columns(table: Any) -> bool:
    """Whether the table is of a version that did not write one of the columns."""
    return lacks_languages(table) or lacks_words(table)


def add_columns(table: Any) -> None:
    """Add those that the table lacks.

    Args:
        table: LanceDB's table of pages, at its latest version.
    """
    if lacks_languages(table):
        add_languages(table)
    if lacks_words(table):
        add_words(table)


def lacks_languages(table: Any) -> bool:
    """Whether the table is of a version that had no column of languages."""
    return "language" not in table.schema.names


def add_languages(table: Any) -> None:
    """Determine the language of every page and add the column, as one new version of the table, or none if this dies.

    The column is added by SQL, because that writes the new column and nothing else: 33 ms at 2,000 pages of 800
    vectors, besides 0.3 ms per page to determine the languages. `merge_insert` of a column takes 4.9 s there, rewrites
    every vector, and leaves the full-text index empty; `add_columns` of LanceDB takes nothing but SQL expressions.
    So each page's language is computed here and written as an expression over the page's key, file and page number.

    Args:
        table: LanceDB's table of pages, at its latest version.
    """
    keys_by_language: dict[str, list[str]] = {}
    for batch in table.search().select(["file", "page", "text"]).to_batches(256):
        for row in batch.to_pylist():
            keys_by_language.setdefault(language_of(row["text"]), []).append(f"{row['file']}\n{row['page']}")
    keys_by_language.pop(UNTOLD, None)
    # Lance's SQL has no CASE. A page is in one language at most, so its code is repeated once and all others not at
    # all, and the concatenation of them is the one code, or nothing.
    key = "concat(file, chr(10), CAST(page AS STRING))"
    codes = [f"repeat({quoted(code)}, CAST({is_in(key, keys)} AS BIGINT))" for code, keys in keys_by_language.items()]
    table.add_columns({"language": f"concat({', '.join([quoted(UNTOLD), *codes])})"})


def lacks_words(table: Any) -> bool:
    """Whether the table is of a version that did not store where words stand."""
    return "words" not in table.schema.names


def add_words(table: Any) -> None:
    """Add the column, null for every page: nothing is known of them until `library.placing` reads their files again.

    Args:
        table: LanceDB's table of pages, at its latest version.
    """
    table.add_columns(pa.field("words", pa.binary()))
