"""The nearest dense vectors, exactly, whatever the size of a library.

In a small library, the column of the table is scanned. A large library has an index: the same vectors (IVF_FLAT,
nothing quantised), in groups that LanceDB keeps in memory and searches on all cores. A search looks into every group,
so it finds what a scan finds, four times faster at 100,000 pages. Looking into the nearest groups only would save 5 ms
more there and lose many of the pages (docs/log.md).

The index is an aid, not the data: pages that it does not know yet are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from polylens.types import FloatArray

INDEXED_FROM = 20_000
"""Pages from which on there is an index. Scanning so many without one takes about 10 ms per search."""

UNINDEXED = 8_192
"""Pages that may be missing from the index: they cost a search 4 ms; indexing takes 10 us per page of the library."""

_GROUPS = 1_000_000  # that a search looks into: all of them, of 4,096 pages each


def is_behind(table: Any) -> bool:
    """Whether a table is large and has no index, or one that lacks so many pages that it should be made anew.

    An eighth of the pages may be missing in any case: each time the index is made, all vectors are written again.

    Args:
        table: LanceDB's table of pages.
    """
    known = [index for index in table.list_indices() if index.columns == ["dense"]]
    if not known:
        return bool(table.count_rows() >= INDEXED_FROM)
    return bool(known[0].num_unindexed_rows > max(UNINDEXED, known[0].num_indexed_rows // 8))


def index(table: Any) -> None:
    """Make the index, or make it anew, in one new version of the table: a search sees the old index or the new one."""
    from lancedb.index import IvfFlat

    table.create_index("dense", config=IvfFlat(distance_type="dot"), replace=True)


def matches(table: Any, query: FloatArray, n: int, where: str | None) -> Iterator[tuple[int, str, int, bool, float]]:
    """The pages whose vectors are nearest, best first, as row, file, page, whether it has a text, and cosine.

    Args:
        table: LanceDB's table of pages.
        query: Unit vector, `[dim]`.
        n: Most pages returned.
        where: SQL condition that narrows the pages before anything is ranked; None for every page.
    """
    columns = {"file": "file", "page": "page", "has_text": "text != ''", "_distance": "_distance"}
    found = table.search(query.astype(np.float32), vector_column_name="dense").distance_type("dot").nprobes(_GROUPS)
    found = found.limit(n).select(columns).with_row_id(True)
    rows = (found.where(where) if where else found).to_arrow()
    cosines = (1.0 - rows.column("_distance").to_numpy()).tolist()
    yield from zip(
        *(rows.column(name).to_pylist() for name in ("_rowid", "file", "page", "has_text")), cosines, strict=True
    )
