"""What a library can be narrowed by, and how many pages each choice would leave."""

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
    """Numbers of pages, of a whole index."""

    files: dict[str, int]
    """By file, in the order of their names."""
    folders: dict[str, int]
    """By folder, in the order of their names; with what lies in the folders below, as `Filters.folder` has it."""
    kinds: dict[str, int]
    """By kind, most pages first."""
    languages: dict[str, int]
    """By language, most pages first; pages whose language cannot be told are left out."""
    times: npt.NDArray[np.int64]
    """When each page's file was modified, in nanoseconds since 1970; ascending."""

    @property
    def num_pages(self) -> int:
        return len(self.times)

    def num_since(self, day: date) -> int:
        """Pages whose files were modified on this day or later, in this machine's time zone."""
        return len(self.times) - int(np.searchsorted(self.times, start_of(day)))


def count_facets(snapshot: Snapshot) -> Facets:
    """Counts them: 60 ms at 100,000 pages, so they are kept for as long as the index stays as it is."""
    pages = snapshot.table(["file", "kind", "language", "mtime_ns"])
    files = dict(sorted(_counts(pages, "file").items()))
    languages = _counts(pages, "language")
    languages.pop(UNTOLD, None)
    times = np.sort(pages.column("mtime_ns").to_numpy())
    return Facets(files, _folders(files), _counts(pages, "kind"), languages, times)


def _counts(pages: pa.Table, column: str) -> dict[str, int]:
    """Value -> pages that have it, most first; equal ones by name."""
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
