"""An index at one moment, to be read: what a search reads does not change under it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from polylens.errors import ModelMismatchError, PolylensError, StorageUnavailableError
from polylens.index.ranking import dense, full_text
from polylens.index.ranking.filters import Filters, is_in, quoted
from polylens.index.ranking.language import UNTOLD
from polylens.index.storage.base import Storage
from polylens.index.table import token_index
from polylens.index.table.conflicts import GONE
from polylens.index.table.manifest import Manifest
from polylens.index.table.schema import PAGE_COLUMNS, HalfArray, asks_all_pages, multivectors_of
from polylens.index.table.upgrade import lacks_languages, lacks_words
from polylens.types import PICTURED, FloatArray, Kind

DRAWN = 256
"""Pages at random that say what score chance gives, where token vectors chose the others by their score; a quarter of
them where there are filters."""

_DRAWN_FIRST = 16
_DRAWN_VECTORS = 131_072  # of those pages, 32 MB

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What the index knows of a file: enough to tell whether the file has changed since."""

    hash: str
    size: int  # bytes
    mtime_ns: int
    num_pages: int

    def is_of(self, status: os.stat_result) -> bool:
        """Whether a file with this size and time is the one that was indexed."""
        return (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A page that a first stage of the search found."""

    row: int
    """The row of the table; valid within the snapshot that gave it."""
    file: str
    page: int
    has_text: bool
    dense_score: float | None
    """Cosine; None where it was not found by its dense vector."""
    text_score: float | None = None
    """BM25, above 0; None where it was not found by its text."""
    by_tokens: bool = False
    """Whether it was found by its token vectors."""


@dataclass(frozen=True, slots=True)
class TokenCandidates:
    """What the index of token vectors found. Some pages may have gone: `Snapshot.multivectors` leaves them out."""

    found: Sequence[Candidate]
    """Pages of the index, best first, and then those that it does not know yet."""
    drawn: Sequence[HalfArray]
    """The multi-vectors of pages at random, the same for every query."""
    is_complete: bool
    """Whether it knows or has added every page; it lacks many in the middle of an update."""


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page as the index has it, without its vectors."""

    file: str
    page: int
    kind: Kind
    text: str
    language: str
    """ISO 639 code; "" where it cannot be told, or the index is older than its column of languages."""
    mtime_ns: int
    """When its file was last modified, in nanoseconds since 1970."""
    words: bytes | None = None
    """Where its words stand, for `word_boxes.unpack`."""


def _reading(method: Callable[Concatenate[Snapshot, P], T]) -> Callable[Concatenate[Snapshot, P], T]:
    """A method that reads: errors of the storage become errors of this package; see `Storage.reading`."""

    @functools.wraps(method)
    def read(snapshot: Snapshot, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with snapshot._storage.reading():
            return method(snapshot, *args, **kwargs)

    return read


class Snapshot:
    """The index as it was at one moment: what a search reads does not change under it.

    Every method that reads raises `StorageUnavailableError` where object storage does not answer, or refuses. The
    version may be compacted away after `store.READER_GRACE`; `is_superseded` recognises the error of LanceDB then.

    Args:
        table: LanceDB's table of pages, which does not follow later versions.
        manifest: That of the index.
        storage: Where the index lies.
    """

    def __init__(self, table: Any, manifest: Manifest, storage: Storage) -> None:
        self.manifest = manifest
        self._table = table
        self._storage = storage

    @property
    @_reading
    def version(self) -> tuple[str, int]:
        """The name of the table and its version: another one after each commit, whichever process made it."""
        return self._table.name, int(self._table.version)

    @property
    @_reading
    def has_languages(self) -> bool:
        """Whether there is a column of languages; an index of an earlier version gets it when it is next written to."""
        return not lacks_languages(self._table)

    @property
    @_reading
    def has_words(self) -> bool:
        """Whether there is a column of the places of words; an index of an earlier version gets it as that above."""
        return not lacks_words(self._table)

    @_reading
    def unplaced(self) -> list[str]:
        """The files with pictures of which nobody has asked yet where words stand on them; sorted."""
        if asks_all_pages(self._table):
            return []
        unknown = " AND words IS NULL" if self.has_words else ""
        rows = self._table.search().where(f"{is_in('kind', PICTURED)}{unknown}").select(["file"]).to_arrow()
        return sorted(set(rows.column("file").to_pylist()))

    def where(self, filters: Filters) -> str | None:
        """The SQL of filters; None where every page passes. An index without languages has no page in any of them."""
        if filters.languages is not None and not self.has_languages:
            return "false"
        return filters.sql()

    @_reading
    def count(self, where: str | None = None) -> int:
        """Number of pages, or of those for which the SQL condition holds."""
        return int(self._table.count_rows(where))

    @_reading
    def files(self) -> dict[str, FileRecord]:
        """Every file of the index."""
        columns = ["file", "hash", "size", "mtime_ns"]
        rows = self._table.search().select(columns).to_arrow().group_by(columns).aggregate([([], "count_all")])
        return {
            row["file"]: FileRecord(row["hash"], row["size"], row["mtime_ns"], row["count_all"])
            for row in rows.sort_by("file").to_pylist()
        }

    @_reading
    def num_pages(self, files: Sequence[str]) -> dict[str, int]:
        """Number of pages that the index has of each of these files."""
        rows = self._table.search().where(is_in("file", files)).select(["file"]).to_arrow()
        counted = rows.group_by(["file"]).aggregate([([], "count_all")])
        return {row["file"]: row["count_all"] for row in counted.to_pylist()}

    @_reading
    def page_numbers(self, files: Sequence[str]) -> dict[str, list[int]]:
        """The numbers of the pages that the index has of each of these files, in order."""
        rows = self._table.search().where(is_in("file", files)).select(["file", "page"]).to_arrow()
        found: dict[str, list[int]] = {}
        for row in rows.sort_by([("file", "ascending"), ("page", "ascending")]).to_pylist():
            found.setdefault(row["file"], []).append(row["page"])
        return found

    @_reading
    def row_of(self, file: str, page: int) -> int | None:
        """The row of a page, for `fetch`; None where the index does not have the page."""
        rows = (
            self._table.search()
            .where(f"{is_in('file', [file])} AND page = {page:d}")
            .select(["page"])
            .with_row_id(True)
        )
        found = rows.to_arrow().column("_rowid").to_pylist()
        return found[0] if found else None

    @_reading
    def pages_of(self, file: str) -> pa.Table:
        """The stored pages of a file, to be committed again under another name or time."""
        return self._table.search().where(is_in("file", [file])).select(PAGE_COLUMNS).to_arrow().sort_by("page")

    @_reading
    def dense_candidates(self, query: FloatArray, n: int, *, where: str | None = None) -> list[Candidate]:
        """The pages whose dense vectors are nearest, exactly; see `ranking.dense`.

        Args:
            query: Unit vector, `[dim]`.
            n: Most pages returned.
            where: SQL condition that narrows the pages before anything is ranked, such as `kind = 'pdf'`.

        Raises:
            ModelMismatchError: The vector has another width than those of the index.
        """
        if query.shape != (self.manifest.dim,):
            raise ModelMismatchError(f"the index holds dense vectors of {self.manifest.dim} numbers, got {query.shape}")
        return [Candidate(*row) for row in dense.matches(self._table, query, n, where)]

    @_reading
    def token_candidates(self, query: FloatArray, n: int, *, where: str | None = None) -> TokenCandidates | None:
        """The pages whose token vectors are about nearest, and those that their index does not know yet.

        Args:
            query: Unit vectors, `[S, token_dim]`.
            n: Most pages of the index returned.
            where: SQL condition that narrows the pages before anything is ranked.

        Returns:
            None where there is no such index: the index of pages is small, or lies on object storage only.
        """
        index = token_index.token_index_of(self._table)
        if index is None:
            return None
        among = self._among(where)
        new = token_index.unindexed(self._table, index, where)
        found = [*index.nearest(query, n, among), *new]
        return TokenCandidates(
            [Candidate(*row, dense_score=None, by_tokens=True) for row in found],
            self._drawn(index, among),
            is_complete=len(new) < token_index.MOST_UNINDEXED,
        )

    def _drawn(self, index: token_index.TokenIndex, among: npt.NDArray[np.uint64] | None) -> list[HalfArray]:
        """The multi-vectors of some pages at random; those of the whole index are kept for the next search."""
        if among is None and index.drawn is not None:
            return index.drawn
        few = list(self.multivectors(index.spread(_DRAWN_FIRST, among)).values())
        mean = max(1, sum(map(len, few)) // max(1, len(few)))
        most = min(DRAWN, max(_DRAWN_FIRST, _DRAWN_VECTORS // mean)) if among is None else DRAWN // 4
        vectors = [each.copy() for each in self.multivectors(index.spread(most, among)).values()]
        if among is None:
            index.drawn = vectors
        return vectors

    def _among(self, where: str | None) -> npt.NDArray[np.uint64] | None:
        """The rows for which an SQL condition holds; None is all."""
        if not where:
            return None
        rows = self._table.search().where(where).select(["_rowid"]).with_row_id(True).to_arrow()
        return rows.column("_rowid").to_numpy()

    @_reading
    def text_candidates(self, words: str, n: int, *, where: str | None = None) -> list[Candidate]:
        """The pages whose text has any of the words, by BM25, best first; see `ranking.full_text`.

        Args:
            words: The words to look for. There is no query syntax: every character is harmless.
            n: Most pages returned.
            where: SQL condition that narrows the pages before anything is ranked.
        """
        rows = full_text.matches(self._table, words, n, where)
        return [Candidate(row["_rowid"], row["file"], row["page"], True, None, row["_score"]) for row in rows]

    @_reading
    def dense_of(self, row: int) -> FloatArray:
        """A page's dense vector, `[dim]`."""
        found = self._table.take_row_ids([row]).select(["dense"]).to_arrow().column("dense").to_pylist()
        return np.asarray(found[0], dtype=np.float32)

    def batches(self, size: int = 256) -> Iterator[pa.RecordBatch]:
        """All pages with everything that the index holds of them, `size` pages per batch."""
        names = ["file", "page", "kind", "text", "language", "mtime_ns", "model_id", "dense", "multivector"]
        yield from self.columns([*names, "words"] if self.has_words else names, size)

    def columns(self, names: Sequence[str], size: int = 256) -> Iterator[pa.RecordBatch]:
        """Some columns of all pages, `size` rows per batch."""
        with self._storage.reading():
            yield from self._table.search().select(self._selected(names)).to_batches(size)

    @_reading
    def table(self, names: Sequence[str]) -> pa.Table:
        """Some columns of all pages, in one table."""
        return self._table.search().select(self._selected(names)).to_arrow()

    @_reading
    def multivectors(self, rows: Sequence[int]) -> dict[int, HalfArray]:
        """The multi-vectors of some pages, `[T, token_dim]` each, by their rows; those that have gone are left out."""
        return multivectors_of(self._table, rows) if rows else {}

    @_reading
    def fetch(self, rows: Sequence[int]) -> list[StoredPage]:
        """Pages without their vectors, in the order of `rows`."""
        if not rows:
            return []
        names = ["file", "page", "kind", "text", "mtime_ns"]
        names += [name for name, is_there in (("language", self.has_languages), ("words", self.has_words)) if is_there]
        query = self._table.take_row_ids(list(rows)).select(names).with_row_id()
        found = {row.pop("_rowid"): StoredPage(**{"language": UNTOLD, **row}) for row in query.to_arrow().to_pylist()}
        return [found[row] for row in rows]

    def _selected(self, names: Sequence[str]) -> dict[str, str]:
        """Columns to select, each with the SQL expression for it."""
        untold = {} if self.has_languages else {"language": quoted(UNTOLD)}
        return {name: untold.get(name, name) for name in names}


def open_snapshot(storage: Storage, manifest: Manifest, database: Any = None) -> Snapshot:
    """Open the table of an index, at its latest version.

    Args:
        storage: Where the index lies.
        manifest: That of the index.
        database: LanceDB's connection to the storage; None opens one.

    Raises:
        PolylensError: The table cannot be read.
        StorageUnavailableError: Object storage does not answer, or refuses.
    """
    return Snapshot(open_table(storage, manifest, database), manifest, storage)


def open_table(storage: Storage, manifest: Manifest, database: Any = None) -> Any:
    """LanceDB's table of an index; arguments and errors as for `open_snapshot`."""
    try:
        with storage.reading():
            return (database or storage.connect()).open_table(manifest.table)
    except StorageUnavailableError:
        raise
    except (ValueError, OSError, RuntimeError) as error:
        raise PolylensError(
            f"the index in {storage} cannot be read ({error}); make it anew with `polylens index --rebuild`"
        ) from error


def version_of(storage: Storage, manifest: Manifest | None) -> int:
    """The version of an index's table; 0 where there is none that can be opened."""
    try:
        return 0 if manifest is None else int(open_table(storage, manifest).version)
    except PolylensError:
        return 0


def is_superseded(error: BaseException) -> bool:
    """Whether an error says that files of a version are gone: compacted away since it was opened, or its table dropped
    after a rebuild. (A damaged index says the same; then its latest version is the one that was opened.)"""
    told = error.__cause__ if isinstance(error, PolylensError) else error
    return isinstance(told, (RuntimeError, OSError, ValueError)) and bool(GONE.search(str(told)))
