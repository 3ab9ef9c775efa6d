"""Pages and their vectors in a place: one LanceDB table, one row a page, and a manifest beside it.

A file's pages appear all together or not at all, and those of its earlier state go in the same step: `Store.commit`
is one `merge_insert`, hence one new version of the table. (Delete-then-add would be two, and a death between them
loses the file. A merge reads only the key columns: 40 ms a commit at 2,000 pages of 800 vectors, as fast as an append.)

The manifest names the table, and is put into place last: an index without one is not there. A rebuild has a
manifest of its own, `rebuild.json`, until it is complete; meanwhile `index.json` names the old table, which answers,
and the one rename of `Store.publish` puts the new one in its place. (In a bucket a rename is a put and a delete; it
counts from the put on, and what a death between them leaves is no index in the making.)
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from polylens.errors import (
    LibraryNotFoundError,
    ModelMismatchError,
    PolylensError,
    StorageUnavailableError,
)
from polylens.index.ranking import dense as nearest
from polylens.index.ranking import full_text
from polylens.index.ranking.filters import Filters, is_in, quoted
from polylens.index.ranking.language import UNTOLD, language_of
from polylens.index.storage.disk import is_wasteful
from polylens.index.storage.lock import Lock
from polylens.index.storage.places import Place, place_of
from polylens.types import FloatArray, Kind

FORMAT = 1
TOKEN_DIM = 128  # width of the vectors of a multi-vector, unless a model has another
COMPACT_AT = 100  # fragments; 63 of them measured as fast to search as one
READER_GRACE = 2.0  # seconds for which a superseded version stays readable; a search takes a tenth of one

MANIFEST = "index.json"
STAGED = "rebuild.json"  # of an index in the making, which will take the other's place

HalfArray = npt.NDArray[np.float16]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What `index.json` says."""

    format: int
    model_id: str
    dim: int  # of the dense vectors
    token_dim: int  # of the multi-vectors
    table: str
    created: str  # ISO 8601, UTC
    pool: int = 1  # how many times fewer multi-vectors a page has than the model gave; see `pooling`

    @property
    def model_name(self) -> str:
        """The model by the name that it is loaded by: what stands before the fingerprint."""
        return self.model_id.rpartition("@")[0] or self.model_id


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What the index knows of one file: enough to tell whether it has changed since."""

    hash: str
    size: int  # bytes
    mtime_ns: int
    num_pages: int

    def is_of(self, status: os.stat_result) -> bool:
        """Whether a file with this size and time is the one that was indexed."""
        return (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class PageRow:
    """One page, ready to be stored."""

    page: int  # from 1
    kind: Kind
    text: str
    dense: FloatArray
    multivector: HalfArray
    language: str = UNTOLD  # ISO 639 code


@dataclass(frozen=True, slots=True)
class FilePages:
    """All pages of one file, ready to be stored."""

    file: str  # relative, POSIX
    hash: str
    size: int  # bytes
    mtime_ns: int
    rows: pa.Table  # of the columns of a page; see `page_table`


@dataclass(frozen=True, slots=True)
class Candidate:
    """A page that a first stage found."""

    row: int
    """Valid within the snapshot that gave it."""
    file: str
    page: int
    has_text: bool
    dense_score: float | None
    """Cosine; None where it was not found by its dense vector."""
    text_score: float | None = None
    """BM25, above 0; None where it was not found by its text."""


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page as it lies in the index."""

    file: str
    page: int
    kind: Kind
    text: str
    language: str
    """ISO 639 code; "" where it cannot be told, or the index is older than its column of languages."""
    mtime_ns: int
    """When its file was modified last, in nanoseconds since 1970."""


def _reading(method: Callable[Concatenate[Snapshot, P], T]) -> Callable[Concatenate[Snapshot, P], T]:
    """A method that reads, with what the place says meanwhile as an error of ours; see `Place.reading`."""

    @functools.wraps(method)
    def read(snapshot: Snapshot, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with snapshot._place.reading():
            return method(snapshot, *args, **kwargs)

    return read


class Snapshot:
    """The index as it was at one moment: what a search reads does not change under it.

    Every method that reads raises `StorageUnavailableError` where object storage does not answer, or refuses.
    """

    def __init__(self, table: Any, manifest: Manifest, place: Place) -> None:
        self._table = table
        self._place = place
        self._dim = manifest.dim
        self._token_dim = manifest.token_dim

    @property
    @_reading
    def version(self) -> tuple[str, int]:
        """Which state it is; see `Store.version`."""
        return self._table.name, int(self._table.version)

    @property
    @_reading
    def has_languages(self) -> bool:
        """Whether it has the column of languages; an index of an earlier version gets it when it is written to."""
        return "language" in self._table.schema.names

    def where(self, filters: Filters) -> str | None:
        """The SQL of filters. An index without languages has no page in any of them."""
        if filters.languages is not None and not self.has_languages:
            return "false"
        return filters.sql()

    @_reading
    def count(self, where: str | None = None) -> int:
        """Number of pages, or of those among them for which the SQL holds."""
        return int(self._table.count_rows(where))

    @_reading
    def files(self) -> dict[str, FileRecord]:
        """Every file that is in the index, with all of its pages."""
        columns = ["file", "hash", "size", "mtime_ns"]
        rows = self._table.search().select(columns).to_arrow().group_by(columns).aggregate([([], "count_all")])
        return {
            row["file"]: FileRecord(row["hash"], row["size"], row["mtime_ns"], row["count_all"])
            for row in rows.sort_by("file").to_pylist()
        }

    @_reading
    def num_pages(self, files: Sequence[str]) -> dict[str, int]:
        """Pages of each of these files that the index has."""
        rows = self._table.search().where(_in_files(files)).select(["file"]).to_arrow()
        counted = rows.group_by(["file"]).aggregate([([], "count_all")])
        return {row["file"]: row["count_all"] for row in counted.to_pylist()}

    @_reading
    def row_of(self, file: str, page: int) -> int | None:
        """Where a page lies, for `fetch`; None where the index does not have it."""
        rows = self._table.search().where(f"{_in_files([file])} AND page = {page:d}").select(["page"]).with_row_id(True)
        found = rows.to_arrow().column("_rowid").to_pylist()
        return found[0] if found else None

    @_reading
    def pages_of(self, file: str) -> pa.Table:
        """The stored pages of a file, to be committed again under another name or time."""
        return self._table.search().where(_in_files([file])).select(_PAGE_COLUMNS).to_arrow().sort_by("page")

    @_reading
    def dense_candidates(self, query: FloatArray, n: int, *, where: str | None = None) -> list[Candidate]:
        """The pages whose dense vectors are nearest, exactly; see `nearest`.

        Args:
            query: Unit vector, `[dim]`.
            n: How many.
            where: SQL over the columns, to look among some pages only, such as `kind = 'pdf'`.
        """
        if query.shape != (self._dim,):
            raise ModelMismatchError(f"the index holds dense vectors of {self._dim} numbers, got {query.shape}")
        return [Candidate(*row) for row in nearest.matches(self._table, query, n, where)]

    @_reading
    def text_candidates(self, words: str, n: int, *, where: str | None = None) -> list[Candidate]:
        """The pages whose text has any of the words, by BM25, best first; see `full_text`.

        Args:
            words: What is looked for; no language of queries, every sign is harmless.
            n: How many at most.
            where: SQL over the columns; it holds before anything is ranked.
        """
        rows = full_text.matches(self._table, words, n, where)
        return [Candidate(row["_rowid"], row["file"], row["page"], True, None, row["_score"]) for row in rows]

    @_reading
    def dense_of(self, row: int) -> FloatArray:
        """A page's dense vector, `[dim]`."""
        found = self._table.take_row_ids([row]).select(["dense"]).to_arrow().column("dense").to_pylist()
        return np.asarray(found[0], dtype=np.float32)

    def batches(self, size: int = 256) -> Iterator[pa.RecordBatch]:
        """All pages with everything the index holds of them, so many at a time."""
        names = ["file", "page", "kind", "text", "language", "mtime_ns", "model_id", "dense", "multivector"]
        yield from self.columns(names, size)

    def columns(self, names: Sequence[str], size: int = 256) -> Iterator[pa.RecordBatch]:
        """Some columns of all pages, so many rows at a time."""
        with self._place.reading():
            yield from self._table.search().select(self._selected(names)).to_batches(size)

    @_reading
    def table(self, names: Sequence[str]) -> pa.Table:
        """Some columns of all pages, at once."""
        return self._table.search().select(self._selected(names)).to_arrow()

    @_reading
    def multivectors(self, rows: Sequence[int]) -> list[HalfArray]:
        """Those of some pages and nothing else of them, in the order asked for: `[T, token_dim]` each."""
        if not rows:
            return []
        found: dict[int, HalfArray] = {}
        query = self._table.take_row_ids(list(rows)).select(["multivector"]).with_row_id()
        for batch in query.to_arrow().to_batches():
            vectors = multivectors(batch.column("multivector"), self._token_dim)
            found.update(zip(batch.column("_rowid").to_pylist(), vectors, strict=True))
        return [found[row] for row in rows]

    @_reading
    def fetch(self, rows: Sequence[int]) -> list[StoredPage]:
        """Pages without their vectors, in the order asked for."""
        if not rows:
            return []
        names = ["file", "page", "kind", "text", "mtime_ns", *(["language"] if self.has_languages else [])]
        query = self._table.take_row_ids(list(rows)).select(names).with_row_id()
        found = {row.pop("_rowid"): StoredPage(**{"language": UNTOLD, **row}) for row in query.to_arrow().to_pylist()}
        return [found[row] for row in rows]

    def _selected(self, names: Sequence[str]) -> dict[str, str]:
        """Columns to select, each as the SQL that gives it."""
        untold = {} if self.has_languages else {"language": quoted(UNTOLD)}
        return {name: untold.get(name, name) for name in names}


class Store:
    """An index in its place. Any number may read, one may write.

    Made by `Store.create` and `Store.open`; close it, or use it in a `with` statement.
    """

    def __init__(self, place: Place, manifest: Manifest, lock: Lock | None, name: str = MANIFEST) -> None:
        self.place = place
        self.manifest = manifest
        self._name = name
        self._lock = lock
        with place.reading():
            self._database = place.connect()
        self._table = _open_table(self._database, manifest, place)

    @staticmethod
    def exists(path: str | Path | Place) -> bool:
        """Is there an index in this place?"""
        return place_of(path).has(MANIFEST)

    @classmethod
    def create(
        cls, path: str | Path | Place, model_id: str, dim: int, token_dim: int = TOKEN_DIM, *, pool: int = 1
    ) -> Store:
        """Make an empty index, open for writing. One that is there is replaced, at once and as a whole.

        Args:
            path: The place of the index itself, such as `FOLDER/.polylens` or `s3://BUCKET/PREFIX`.
            model_id: Whose vectors they will be.
            dim: Width of the dense vectors.
            token_dim: Width of the vectors of a multi-vector.
            pool: How many times fewer vectors its multi-vectors will have than the model gives.

        Raises:
            LibraryBusyError: Another process is writing to it.
            InputError: It cannot be written to.
        """
        place = place_of(path)
        lock = _lock_new(place)
        try:
            return cls._new(place, model_id, dim, token_dim, pool, lock, MANIFEST)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def stage(
        cls, path: str | Path | Place, model_id: str, dim: int, token_dim: int = TOKEN_DIM, *, pool: int = 1
    ) -> Store:
        """An index in the making, open for writing; the one that is there answers until `publish`.

        One of the same model that was not finished is taken up where it was left.

        Args and errors: as for `create`.
        """
        place = place_of(path)
        lock = _lock_new(place)
        try:
            staged = read_staged(place)
            wanted = (model_id, dim, token_dim, pool)
            if staged and (staged.model_id, staged.dim, staged.token_dim, staged.pool) == wanted:
                try:
                    store = cls(place, staged, lock, STAGED)
                    store._ready_to_write()
                    return store
                except PolylensError:  # its table is gone or broken: it begins anew
                    pass
            return cls._new(place, model_id, dim, token_dim, pool, lock, STAGED)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def _new(cls, place: Place, model_id: str, dim: int, token_dim: int, pool: int, lock: Lock, name: str) -> Store:
        table = f"pages_{time.time_ns():x}"
        created = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest(
            format=FORMAT, model_id=model_id, dim=dim, token_dim=token_dim, table=table, created=created, pool=pool
        )
        with place.writing():
            full_text.keep_current(place.connect().create_table(table, schema=_schema(dim, token_dim, pool)))
            lock.require()
            _write_manifest(place, manifest, name)
            store = cls(place, manifest, lock, name)
            store._drop_strays()
        return store

    def publish(self) -> None:
        """Put a staged index in the place of the one that is there, in one step; harmless when repeated."""
        self._require_lock()
        if self._name == MANIFEST:
            return
        with self.place.writing():
            self.place.rename(STAGED, MANIFEST)
            self._name = MANIFEST
            time.sleep(READER_GRACE)  # for searches under way in what it replaces
            self._drop_strays()

    @classmethod
    def open(cls, path: str | Path | Place, *, model_id: str | None = None, write: bool = False) -> Store:
        """Open an index that is there.

        Args:
            path: The place of the index itself.
            model_id: The model whose vectors are to be compared with it; None to take whichever it is.
            write: Whether pages will be committed.

        Raises:
            LibraryNotFoundError: There is none.
            ModelMismatchError: Its vectors are another model's.
            LibraryBusyError: It is to be written, and another process is at it.
        """
        place = place_of(path)
        manifest = read_manifest(place, model_id=model_id)
        lock = place.lock() if write else None
        try:
            if write:  # again: it may have been rebuilt meanwhile
                manifest = read_manifest(place, model_id=model_id)
            store = cls(place, manifest, lock)
            if write:
                store._ready_to_write()
            return store
        except BaseException:
            if lock:
                lock.close()
            raise

    @property
    def model_id(self) -> str:
        return self.manifest.model_id

    @property
    def dim(self) -> int:
        return self.manifest.dim

    @property
    def token_dim(self) -> int:
        return self.manifest.token_dim

    @property
    def pool(self) -> int:
        return self.manifest.pool

    def snapshot(self) -> Snapshot:
        """The latest state, held still.

        Raises:
            ModelMismatchError: The index was rebuilt with another model since it was opened.
        """
        manifest = read_manifest(self.place, model_id=self.model_id, name=self._name)
        return Snapshot(_open_table(self._database, manifest, self.place), manifest, self.place)

    def version(self) -> tuple[str, int]:
        """The latest state of the table that this was opened with: another one after each commit, whoever made it.

        0.3 ms at 100,000 pages, none of which is read.
        """
        with self.place.reading():
            self._table.checkout_latest()
            return self._table.name, int(self._table.version)

    def count(self) -> int:
        """Number of pages, in the latest state."""
        return self.snapshot().count()

    def files(self) -> dict[str, FileRecord]:
        """Every file in the index, in the latest state."""
        return self.snapshot().files()

    def dense_candidates(self, query: FloatArray, n: int, *, where: str | None = None) -> list[Candidate]:
        """See `Snapshot.dense_candidates`; what is to be fetched afterwards belongs on one snapshot."""
        return self.snapshot().dense_candidates(query, n, where=where)

    def replace_file(self, file: FilePages) -> None:
        """Commit one file; see `commit`."""
        self.commit([file])

    def remove(self, files: Iterable[str]) -> None:
        """Take files out, with all their pages."""
        self.commit([], removed=files)

    def commit(self, files: Sequence[FilePages], *, removed: Iterable[str] = ()) -> None:
        """Put files in and take files out, in one step.

        Args:
            files: New files, and changed ones, whose earlier pages go.
            removed: Files to take out. Those not there are no concern.

        Raises:
            StorageError: The disk takes no more; the index is as it was.
        """
        self._require_lock()
        gone = sorted({*removed, *(file.file for file in files)})
        with self.place.writing():
            if files:
                merge = self._table.merge_insert(["file", "page"])
                merge = merge.when_matched_update_all().when_not_matched_insert_all()
                merge = merge.when_not_matched_by_source_delete(_in_files(gone))
                merge.execute(pa.concat_tables(self._whole_rows(file) for file in files))
            elif gone:
                self._table.delete(_in_files(gone))
            full_text.keep_current(self._table, growing=True)

    def compact(self, *, force: bool = False) -> None:
        """Let the indexes of words and of dense vectors catch up, merge the many small fragments that commits leave,
        and free what replaced pages took.

        Merging rewrites every vector, so it waits until there are a good number of them, until what is superseded
        takes half of what is alive, or until the index of dense vectors was made anew. Readers are not disturbed.
        What a writer that was killed left behind goes as well.

        Raises:
            StorageError: The disk takes no more; the index is as it was.
        """
        self._require_lock()
        with self.place.writing():
            full_text.keep_current(self._table)
            is_new = nearest.is_behind(self._table)
            if is_new:
                nearest.index(self._table)
        fragments = self._table.stats()["fragment_stats"]["num_fragments"]
        if not (force or is_new) and fragments < COMPACT_AT and not self.is_wasteful():
            return
        with self.place.writing():
            self._optimize()
            if fragments > 1 or is_new:
                time.sleep(READER_GRACE + 0.1)  # until the versions it superseded are old enough to go
                self._optimize()

    def _optimize(self) -> None:
        # Unverified files are those of a commit under way or of one that died. Where this need not be the only writer,
        # LanceDB waits for a week until it takes them for the latter.
        self._table.optimize(
            cleanup_older_than=timedelta(seconds=READER_GRACE), delete_unverified=not self.place.is_remote
        )

    def is_wasteful(self) -> bool:
        """Whether superseded versions and deleted rows take so much that compacting is worth it."""
        return is_wasteful(self._table, self.place.size(self.manifest.table))

    def close(self) -> None:
        """Let the next writer in; harmless when repeated."""
        if self._lock:
            self._lock.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_lock(self) -> None:
        assert self._lock is not None, "the store was opened for reading"
        self._lock.require()

    def _whole_rows(self, file: FilePages) -> pa.Table:
        """The columns of the pages, and beside them those of their file."""
        num = file.rows.num_rows
        constants = (file.file, file.hash, file.size, file.mtime_ns, self.model_id)
        columns: dict[str, Any] = dict(zip(_FILE_COLUMNS, constants, strict=True))
        schema = _schema(self.dim, self.token_dim, self.pool)
        arrays = [
            pa.repeat(pa.scalar(columns[field.name], field.type), num)
            if field.name in columns
            else file.rows.column(field.name).cast(field.type)
            for field in schema
        ]
        return pa.table(arrays, schema=schema)

    def _ready_to_write(self) -> None:
        """What earlier writers left behind goes, and what earlier versions did not write comes."""
        self._drop_strays()
        if "language" not in self._table.schema.names:
            with self.place.writing():
                self._add_languages()

    def _add_languages(self) -> None:
        """Tells the language of every page, and adds them all as a column: one new version, or none if this dies.

        Nothing else is written: 33 ms at 2,000 pages of 800 vectors, beside the 0.3 ms a page to tell them. (A merge of
        the new column takes 4.9 s there, writes every vector again, and leaves the index of words empty.)
        """
        pages: dict[str, list[str]] = {}  # language -> the keys of its pages
        for batch in Snapshot(self._table, self.manifest, self.place).columns(["file", "page", "text"]):
            for row in batch.to_pylist():
                pages.setdefault(language_of(row["text"]), []).append(f"{row['file']}\n{row['page']}")
        pages.pop(UNTOLD, None)
        # Lance's SQL has no CASE: a text said once or not at all, of which one at most is.
        key = "concat(file, chr(10), CAST(page AS STRING))"
        said = [f"repeat({quoted(code)}, CAST({is_in(key, keys)} AS BIGINT))" for code, keys in pages.items()]
        self._table.add_columns({"language": f"concat({', '.join([quoted(UNTOLD), *said])})"})

    def _drop_strays(self) -> None:
        """Tables that no manifest names: of an index that was replaced, or of one that never came to be."""
        for table in stray_tables(self.place, keep=self.manifest.table):
            self._database.drop_table(table)
        for file in stray_files(self.place):
            self.place.remove(file)


def stray_tables(place: Place, keep: str = "") -> list[str]:
    """Tables in the place of an index that neither it nor a rebuild under way is made of.

    Args:
        place: Of the index.
        keep: One more that belongs to it.
    """
    manifests = (_manifest_or_none(place, MANIFEST), read_staged(place))
    named = {keep, *(manifest.table for manifest in manifests if manifest)}
    return [table for table in place.tables() if table not in named]


def stray_files(place: Place) -> list[str]:
    """Manifests that were never put into place, and one of a rebuild that is through and lies there still."""
    staged = [STAGED] if place.has(STAGED) and read_staged(place) is None else []
    return [*place.leftovers(), *staged]


def mend_manifest(place: Place) -> Manifest:
    """Writes the manifest anew from the table that is there, where there is just one.

    Raises:
        PolylensError: There are none or several, or it cannot be opened.
        LibraryBusyError: Another process is writing to it.
    """
    beyond = f"{place} cannot be repaired: make the index anew with `polylens index --rebuild`"
    tables = stray_tables(place)
    if len(tables) != 1:
        raise PolylensError(f"{beyond} ({len(tables)} tables lie there and no manifest says which is the index)")
    with contextlib.closing(place.lock()):
        try:
            table = place.connect().open_table(tables[0])
            [model_id] = table.search().select(["model_id"]).limit(1).to_arrow().column("model_id").to_pylist()
            dim = table.schema.field("dense").type.list_size
            token_dim = table.schema.field("multivector").type.value_type.list_size
            pool = int((table.schema.metadata or {}).get(_POOL.encode(), 1))  # earlier versions did not write it
        except (ValueError, KeyError, OSError, RuntimeError, AttributeError) as error:
            raise PolylensError(f"{beyond} ({error})") from error
        created = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest(
            format=FORMAT, model_id=model_id, dim=dim, token_dim=token_dim, table=tables[0], created=created, pool=pool
        )
        with place.writing():
            _write_manifest(place, manifest)
    return manifest


def read_staged(place: Place) -> Manifest | None:
    """What the index in the making says of itself; None where there is none that could be taken up."""
    staged, current = _manifest_or_none(place, STAGED), _manifest_or_none(place, MANIFEST)
    is_published = staged and current and staged.table == current.table
    return None if is_published else staged


def _manifest_or_none(place: Place, name: str) -> Manifest | None:
    try:
        return read_manifest(place, name=name)
    except StorageUnavailableError:  # nothing is known of it then
        raise
    except PolylensError:
        return None


def _lock_new(place: Place) -> Lock:
    """The place of an index that may not be there yet, locked."""
    place.prepare()
    return place.lock()


def page_table(rows: Sequence[PageRow], dim: int, token_dim: int = TOKEN_DIM) -> pa.Table:
    """Pages -> the columns in which they are stored.

    Args:
        rows: Pages of one file.
        dim: Width of the dense vectors.
        token_dim: Width of the vectors of a multi-vector.
    """
    for row in rows:
        assert row.dense.shape == (dim,), f"dense vector of {row.dense.shape}, the index takes ({dim},)"
        assert row.multivector.shape == (len(row.multivector), token_dim), row.multivector.shape
        assert np.isfinite(row.dense).all() and np.isfinite(row.multivector).all(), "a vector is not finite"
    none = np.zeros((0, token_dim), np.float16)
    tokens = np.concatenate([none, *(row.multivector.astype(np.float16, copy=False) for row in rows)])
    ends = np.cumsum([0, *(len(row.multivector) for row in rows)], dtype=np.int32)
    dense = np.concatenate([np.zeros(0, np.float32), *(row.dense.astype(np.float32, copy=False) for row in rows)])
    columns = {
        "page": pa.array([row.page for row in rows], pa.int32()),
        "kind": pa.array([row.kind for row in rows], pa.string()),
        "text": pa.array([full_text.normalised(row.text) for row in rows], pa.string()),
        "language": pa.array([row.language for row in rows], pa.string()),
        "dense": pa.FixedSizeListArray.from_arrays(pa.array(dense), dim),
        "multivector": pa.ListArray.from_arrays(
            pa.array(ends), pa.FixedSizeListArray.from_arrays(pa.array(tokens.reshape(-1)), token_dim)
        ),
    }
    return pa.table(columns)


def read_manifest(path: str | Path | Place, *, model_id: str | None = None, name: str = MANIFEST) -> Manifest:
    """What the index in a place says of itself, or with `name=STAGED` the one in the making.

    Raises:
        LibraryNotFoundError: There is none.
        ModelMismatchError: It was made with a model other than `model_id`.
    """
    place = place_of(path)
    try:
        said: Mapping[str, Any] = json.loads(place.read(name))
        if said.get("format") != FORMAT:
            raise PolylensError(
                f"the index in {place} has format {said.get('format')!r}, this version reads format {FORMAT}; "
                "make it anew with `polylens index --rebuild`"
            )
        manifest = Manifest(**said)
    except FileNotFoundError as error:
        raise LibraryNotFoundError(f"no index in {place}; make one with `polylens index FOLDER`") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise PolylensError(
            f"{place}/{name} is damaged ({error}); make the index anew with `polylens index --rebuild`"
        ) from error
    if model_id is not None and manifest.model_id != model_id:
        same_name = model_id.rpartition("@")[0] == manifest.model_name
        way = "That model has other weights now: make" if same_name else f"Choose {manifest.model_id!r}, or make"
        raise ModelMismatchError(
            f"the index in {place} was made with the model {manifest.model_id!r}, got {model_id!r}; their vectors "
            f"cannot be compared. {way} the index anew with `polylens index --rebuild`"
        )
    return manifest


_FILE_COLUMNS = ["file", "hash", "size", "mtime_ns", "model_id"]
_PAGE_COLUMNS = ["page", "kind", "text", "language", "dense", "multivector"]
_POOL = "polylens.pool"


def _schema(dim: int, token_dim: int, pool: int) -> pa.Schema:
    return pa.schema(
        [
            ("file", pa.string()),
            ("page", pa.int32()),
            ("kind", pa.string()),
            ("text", pa.string()),
            ("dense", pa.list_(pa.float32(), dim)),
            ("multivector", pa.list_(pa.list_(pa.float16(), token_dim))),
            ("hash", pa.string()),
            ("size", pa.int64()),
            ("mtime_ns", pa.int64()),
            ("model_id", pa.string()),
            ("language", pa.string()),  # last, where an index of an earlier version gets it
        ],
        metadata={_POOL: str(pool)},  # for `mend_manifest`
    )


def _in_files(files: Sequence[str]) -> str:
    return is_in("file", files)


def multivectors(column: Any, token_dim: int) -> Iterator[HalfArray]:
    """The rows of a `list<fixed_size_list<half>[token_dim]>` column as arrays, without copying.

    Args:
        column: Of one record batch.
        token_dim: Width of the vectors.
    """
    starts = column.offsets.to_numpy()
    vectors = column.values.flatten().to_numpy(zero_copy_only=False).reshape(-1, token_dim)
    for start, end in itertools.pairwise(starts):
        yield vectors[start:end]


def _open_table(database: Any, manifest: Manifest, place: Place) -> Any:
    try:
        with place.reading():
            return database.open_table(manifest.table)
    except StorageUnavailableError:
        raise
    except (ValueError, OSError, RuntimeError) as error:
        raise PolylensError(
            f"the index in {place} cannot be read ({error}); make it anew with `polylens index --rebuild`"
        ) from error


def _write_manifest(place: Place, manifest: Manifest, name: str = MANIFEST) -> None:
    place.write(name, json.dumps(asdict(manifest), ensure_ascii=False, indent=2).encode())
