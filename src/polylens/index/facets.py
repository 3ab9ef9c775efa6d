"""The values that a library can be filtered by, with the number of pages of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from polylens.index.ranking.filters import start_of
from polylens.index.ranking.language import UNTOLD
from polylens.index.table.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Facets:
    """Numbers of pages of a whole index, by value."""

    files: dict[str, int]
    """Pages by file, in the order of their names."""
    folders: dict[str, int]
    """Pages by folder, in the order of their names; those of the folders below included, as with `Filters.folder`."""
    kinds: dict[str, int]
    """Pages by kind, most pages first."""
    languages: dict[str, int]
    """Pages by language, most pages first; pages whose language cannot be determined are left out."""
    times: npt.NDArray[np.int64]
    """When the file of each page was modified, in nanoseconds since 1970; ascending."""

    @property
    def num_pages(self) -> int:
        return len(self.times)

    def num_since(self, day: date) -> int:
        """Number of pages whose files were modified on this day or later, in this machine's time zone."""
        return len(self.times) - int(np.searchsorted(self.times, start_of(day)))


def count_facets(snapshot: Snapshot) -> Facets:
    """Count the pages of an index by value. This takes 60 ms at 100,000 pages: keep the result while it is valid."""
    pages = snapshot.table(["file", "kind", "language", "mtime_ns"])
    files = dict(sorted(_counts(pages, "file").items()))
    languages = _counts(pages, "language")
    languages.pop(UNTOLD, None)
    times = np.sort(pages.column("mtime_ns").to_numpy())
    return Facets(files, _folders(files), _counts(pages, "kind"), languages, times)


def _counts(pages: pa.Table, column: str) -> dict[str, int]:
    """The number of pages by value, largest first; equal ones by name."""
    counted: list[dict[str, Any]] = pages.group_by(column).aggregate([([], "count_all")]).to_pylist()
    return {row[column]: row["count_all"] for row in sorted(counted, key=lambda row: (-row["count_all"], row[column]))}


def _folders(files: dict[str, int]) -> dict[str, int]:
    folders: dict[str, int] = {}
    for file, num_pages in files.items():
        *parts, _ = file.split("/")
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            folders[folder] = folders.get(folder, 0) + num_pages
    return dict(sorted(folders.items()))
