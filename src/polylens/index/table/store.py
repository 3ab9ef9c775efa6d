"""An index that is written to: one LanceDB table, one row per page, and a manifest beside it.

All pages of a file appear together or not at all, and those of its earlier state go in the same step: `Store.commit`
is one `merge_insert`, hence one new version of the table. (Delete-then-add would be two versions, and a death between
them loses the file. A merge reads only the key columns: 40 ms per commit at 2,000 pages of 800 vectors, as fast as an
append.) Only more than a quarter of a gigabyte, which one file of thousands of pages may have, is deleted and added: a
merge takes twice its memory. A death between the two leaves the file out until the next update.

A rebuild goes into a table and a manifest of its own, `rebuild.json`; meanwhile `index.json` names the old table, which
answers, and the one rename of `Store.publish` replaces it. (In a bucket a rename is a put and a delete. It counts from
the put on, and what a death between the two leaves is no index in the making.)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from polylens.errors import PolylensError
from polylens.index.ranking import dense, full_text
from polylens.index.ranking.filters import is_in
from polylens.index.storage.base import Storage
from polylens.index.storage.lock import Lock
from polylens.index.storage.opening import open_storage
from polylens.index.table.manifest import MANIFEST, STAGED, Manifest, read_manifest, read_staged, write_manifest
from polylens.index.table.repair import orphan_files, orphan_tables
from polylens.index.table.schema import TOKEN_DIM, FilePages, page_schema, whole_rows
from polylens.index.table.snapshot import FileRecord, Snapshot, open_snapshot, open_table
from polylens.index.table.upgrade import add_languages, add_words, lacks_languages, lacks_words
from polylens.index.table.waste import is_wasteful

COMPACT_AT = 100  # fragments; 63 of them measured as fast to search as one
MERGED_BYTES = 256 * 1024 * 1024  # of pages that are merged in one step, which takes twice as much memory
STREAM_PAGES = 64  # pages of a larger commit in memory at a time
READER_GRACE = 2.0  # seconds for which a superseded version stays readable; a search takes a tenth of one


class Store:
    """An index that any number of processes may read and one may write.

    Made by `Store.create` and `Store.open`; close it, or use it in a `with` statement.
    """

    def __init__(self, storage: Storage, manifest: Manifest, lock: Lock | None, name: str = MANIFEST) -> None:
        self.storage = storage
        self.manifest = manifest
        self._name = name
        self._lock = lock
        with storage.reading():
            self._database = storage.connect()
        self._table = open_table(storage, manifest, self._database)

    @staticmethod
    def exists(path: str | Path | Storage) -> bool:
        """Whether there is an index in this storage."""
        return open_storage(path).has(MANIFEST)

    @classmethod
    def create(
        cls, path: str | Path | Storage, model_id: str, dim: int, token_dim: int = TOKEN_DIM, *, pool: int = 1
    ) -> Store:
        """Create an empty index, open for writing. An existing one is replaced, at once and as a whole.

        Args:
            path: The storage of the index itself, such as `FOLDER/.polylens` or `s3://BUCKET/PREFIX`.
            model_id: The model whose vectors it will hold.
            dim: Numbers per dense vector.
            token_dim: Numbers per vector of a multi-vector.
            pool: How many times fewer vectors per multi-vector it will hold than the model gives.

        Raises:
            LibraryBusyError: Another process is writing to it.
            InputError: It cannot be written to.
        """
        storage = open_storage(path)
        lock = _lock_new(storage)
        try:
            return cls._new(storage, model_id, dim, token_dim, pool, lock, MANIFEST)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def stage(
        cls, path: str | Path | Storage, model_id: str, dim: int, token_dim: int = TOKEN_DIM, *, pool: int = 1
    ) -> Store:
        """Create an index beside the existing one, which answers until `publish`; open for writing.

        An unfinished one of the same model is continued.

        Args and errors: as for `create`.
        """
        storage = open_storage(path)
        lock = _lock_new(storage)
        try:
            staged = read_staged(storage)
            wanted = (model_id, dim, token_dim, pool)
            if staged and (staged.model_id, staged.dim, staged.token_dim, staged.pool) == wanted:
                try:
                    store = cls(storage, staged, lock, STAGED)
                    store._ready_to_write()
                    return store
                except PolylensError:  # its table is gone or broken: it begins anew
                    pass
            return cls._new(storage, model_id, dim, token_dim, pool, lock, STAGED)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def _new(cls, storage: Storage, model_id: str, dim: int, token_dim: int, pool: int, lock: Lock, name: str) -> Store:
        table = f"pages_{time.time_ns():x}"
        manifest = Manifest.new(table, model_id, dim, token_dim, pool)
        with storage.writing():
            full_text.keep_current(storage.connect().create_table(table, schema=page_schema(dim, token_dim, pool)))
            lock.require()
            write_manifest(storage, manifest, name)
            store = cls(storage, manifest, lock, name)
            store._drop_orphans()
        return store

    def publish(self) -> None:
        """Replace the existing index by the staged one, in one step; harmless when repeated."""
        self._require_lock()
        if self._name == MANIFEST:
            return
        with self.storage.writing():
            self.storage.rename(STAGED, MANIFEST)
            self._name = MANIFEST
            time.sleep(READER_GRACE)  # for searches under way in what it replaces
            self._drop_orphans()

    @classmethod
    def open(cls, path: str | Path | Storage, *, model_id: str | None = None, write: bool = False) -> Store:
        """Open an existing index.

        Args:
            path: The storage of the index itself.
            model_id: The model whose vectors are to be compared with it; None to take whichever it is.
            write: Whether pages will be committed.

        Raises:
            LibraryNotFoundError: There is no index.
            ModelMismatchError: It was made with a model other than `model_id`.
            LibraryBusyError: It is to be written, and another process is writing to it.
        """
        storage = open_storage(path)
        manifest = read_manifest(storage, model_id=model_id)
        lock = storage.lock() if write else None
        try:
            if write:  # again: it may have been rebuilt meanwhile
                manifest = read_manifest(storage, model_id=model_id)
            store = cls(storage, manifest, lock)
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
        """The latest state, which later commits do not change.

        Raises:
            ModelMismatchError: The index was rebuilt with another model since it was opened.
        """
        manifest = read_manifest(self.storage, model_id=self.model_id, name=self._name)
        return open_snapshot(self.storage, manifest, self._database)

    def count(self) -> int:
        """Number of pages, in the latest state."""
        return self.snapshot().count()

    def files(self) -> dict[str, FileRecord]:
        """Every file in the index, in the latest state."""
        return self.snapshot().files()

    def replace_file(self, file: FilePages) -> None:
        """Commit one file; see `commit`."""
        self.commit([file])

    def remove(self, files: Iterable[str]) -> None:
        """Remove files, with all their pages."""
        self.commit([], removed=files)

    def commit(self, files: Sequence[FilePages], *, removed: Iterable[str] = ()) -> None:
        """Add and remove files, in one step.

        Args:
            files: New files, and changed ones, whose earlier pages are removed.
            removed: Files to remove; names that the index does not have are ignored.

        Raises:
            StorageError: The disk takes no more; the index is as it was.
        """
        self._require_lock()
        gone = sorted({*removed, *(file.file for file in files)})
        with self.storage.writing():
            if sum(file.rows.nbytes for file in files) > MERGED_BYTES:
                self._append(files, gone)
            elif files:
                merge = self._table.merge_insert(["file", "page"])
                merge = merge.when_matched_update_all().when_not_matched_insert_all()
                merge = merge.when_not_matched_by_source_delete(is_in("file", gone))
                merge.execute(pa.concat_tables(whole_rows(file, self.manifest) for file in files))
            elif gone:
                self._table.delete(is_in("file", gone))
            full_text.keep_current(self._table, growing=True)

    def _append(self, files: Sequence[FilePages], gone: Sequence[str]) -> None:
        """Add many pages as a stream: merging them takes twice their memory.

        Earlier pages go first, in a step of their own. Whoever is killed between the two finds those files new.
        """
        if self._table.count_rows(is_in("file", gone)):
            self._table.delete(is_in("file", gone))
        schema = page_schema(self.manifest.dim, self.manifest.token_dim, self.manifest.pool)
        batches = (
            batch for file in files for batch in whole_rows(file, self.manifest).to_batches(max_chunksize=STREAM_PAGES)
        )
        self._table.add(pa.RecordBatchReader.from_batches(schema, batches))

    def compact(self, *, force: bool = False) -> None:
        """Bring the indices of words and of dense vectors up to date, merge small fragments, and free unused space.

        Merging rewrites every vector, so it waits until there are a good number of them, until what is superseded
        takes half of what is alive, or until the index of dense vectors was made anew. Readers are not disturbed.
        What a killed writer left behind is removed as well.

        Raises:
            StorageError: The disk takes no more; the index is as it was.
        """
        self._require_lock()
        with self.storage.writing():
            full_text.keep_current(self._table)
            is_new = dense.is_behind(self._table)
            if is_new:
                dense.index(self._table)
        fragments = self._table.stats()["fragment_stats"]["num_fragments"]
        if not (force or is_new) and fragments < COMPACT_AT and not self.is_wasteful():
            return
        with self.storage.writing():
            self._optimize()
            if fragments > 1 or is_new:
                time.sleep(READER_GRACE + 0.1)  # until the versions it superseded are old enough to go
                self._optimize()

    def _optimize(self) -> None:
        # Unverified files are those of a commit under way or of one that died. Where this need not be the only writer,
        # LanceDB waits for a week until it takes them for the latter.
        self._table.optimize(
            cleanup_older_than=timedelta(seconds=READER_GRACE), delete_unverified=not self.storage.is_remote
        )

    def is_wasteful(self) -> bool:
        """Whether superseded versions and deleted rows take so much that compacting is worth it."""
        return is_wasteful(self._table, self.storage.size(self.manifest.table))

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

    def _ready_to_write(self) -> None:
        """Remove what earlier writers left behind, and add what earlier versions did not write."""
        self._drop_orphans()
        if lacks_languages(self._table):
            with self.storage.writing():
                add_languages(self._table)
        if lacks_words(self._table):
            with self.storage.writing():
                add_words(self._table)

    def _drop_orphans(self) -> None:
        """Drop tables that no manifest names: of an index that was replaced, or of one that never came to be."""
        for table in orphan_tables(self.storage, keep=self.manifest.table):
            self._database.drop_table(table)
        for file in orphan_files(self.storage):
            self.storage.remove(file)


def _lock_new(storage: Storage) -> Lock:
    """Lock the storage of an index that may not exist yet."""
    storage.prepare()
    return storage.lock()
