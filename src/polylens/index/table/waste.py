"""How much of an index's storage is taken by what it no longer needs."""

from __future__ import annotations

from typing import Any

WASTE_BYTES = 64 * 1024 * 1024  # that superseded versions may take in any case
WASTE_SHARE = 0.5  # and beyond that, as a share of what the pages themselves take


def is_wasteful(table: Any, size: int) -> bool:
    """Whether old versions and deleted rows take so much that rewriting the rest is worth it.

    As in a log-structured store, waste may grow to a share of what is alive, so that each byte is rewritten a bounded
    number of times, and the disk holds a bounded multiple of what is needed.

    Args:
        table: LanceDB's table of pages.
        size: Bytes that its files take, without its indices.
    """
    stats = table.stats()
    lengths = stats["fragment_stats"]["lengths"]
    rows = lengths["mean"] * stats["fragment_stats"]["num_fragments"]  # deleted ones included
    alive = stats["total_bytes"] * (stats["num_rows"] / rows if rows else 0.0)
    return size - alive > max(WASTE_BYTES, WASTE_SHARE * alive)
