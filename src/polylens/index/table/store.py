"""An index that is written to: one LanceDB table, one row per page, and a manifest beside it.

All pages of a file appear together or not at all, and those of its earlier state go in the same step: `Store.commit`
is one `merge_insert`, hence one new version of the table. (Delete-then-add would be two versions, and a death between
them loses the file. A merge reads only the key columns: 40 ms per commit at 2,000 pages of 800 vectors, as fast as an
append.) Only more than a quarter of a gigabyte, which one file of thousands of pages may have, is deleted and added: a
merge takes twice its memory. A death between the two leaves the file out until the next update.

Any number of writers commit at the same time (`conflicts`): pages of different files fit together, and of two that
bring the same file one starts again from what the other left. A commit counts once the manifest still names the table
after it: a rebuild may have replaced the index. A table of an earlier version has one writer (`schema.is_keyed`).

A rebuild goes into a table and a manifest of its own, `rebuild.json`; meanwhile `index.json` names the old table, which
answers, and the one rename of `Store.publish` replaces it. (In a bucket a rename is a put and a delete. It counts from
the put on, and what a death between the two leaves is no index in the making.)
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from polylens.errors import LibraryBusyError, LibraryNotFoundError, PolylensError
from polylens.index.ranking import full_text
from polylens.index.ranking.filters import is_in
from polylens.index.storage.base import Storage
from polylens.index.storage.lock import Lock, Presence, busy
from polylens.index.storage.opening import open_storage
from polylens.index.table.conflicts import retried
from polylens.index.table.mandate import Committed, Mandate
from polylens.index.table.manifest import (
    MANIFEST,
    STAGED,
    Manifest,
    manifest_or_none,
    read_manifest,
    read_staged,
    write_manifest,
)
from polylens.index.table.repair import drop_orphans, orphan_files, orphan_tables
from polylens.index.table.schema import TOKEN_DIM, FilePages, is_keyed, page_schema, streamed_rows, whole_rows
from polylens.index.table.snapshot import FileRecord, Snapshot, open_snapshot, open_table, version_of
from polylens.index.table.token_index import Told
from polylens.index.table.upgrade import add_columns, lacks_columns
from polylens.index.table.upkeep import awaited_lock, index_new_pages, is_upkeep_due, keep_up, upkeep_lock
from polylens.index.table.waste import is_wasteful

MERGED_BYTES = 256 * 1024 * 1024  # of pages that are merged in one step, which takes twice as much memory
READER_GRACE = 2.0  # seconds for which a superseded version stays readable; a search takes a tenth of one


class Store:
    """An index that any number of processes may read and write.

    Made by `Store.create` and `Store.open`; close it, or use it in a `with` statement.
    """

    def __init__(
        self,
        storage: Storage,
        manifest: Manifest,
        lock: Lock | None = None,
        presence: Presence | None = None,
        name: str = MANIFEST,
    ) -> None:
        self.storage = storage
        self.manifest = manifest
        self.has_missed = False
        """Whether others changed the index that `publish` replaced, while this one was made."""
        self.has_met = False
        """Whether others had committed to it between the last two commits of this store."""
        self.has_company = False
        """Whether others were seen to commit to it at the same time."""
        self._name = name
        self._lock = lock
        self._presence = presence
        self._replaces: tuple[Manifest, int] | None = None  # with the version of its table when this one was begun
        with storage.reading():
            self._database = storage.connect()
        self._table = open_table(storage, manifest, self._database)
        self._seen = int(self._table.version)

    @staticmethod
    def exists(path: str | Path | Storage) -> bool:
        """Whether there is an index in this storage."""
        return open_storage(path).has(MANIFEST)

    @classmethod
    def create(
        cls,
        path: str | Path | Storage,
        model_id: str,
        dim: int,
        token_dim: int = TOKEN_DIM,
        *,
        pool: int = 1,
        replace: bool = True,
    ) -> Store:
        """Create an empty index, open for writing. An existing one is replaced, at once and as a whole.

        Others may write to it from then on.

        Args:
            path: The storage of the index itself, such as `FOLDER/.polylens` or `s3://BUCKET/PREFIX`.
            model_id: The model whose vectors it will hold.
            dim: Numbers per dense vector.
            token_dim: Numbers per vector of a multi-vector.
            pool: How many times fewer vectors per multi-vector it will hold than the model gives.
            replace: Whether to replace an existing one.

        Raises:
            LibraryBusyError: Another process creates, rebuilds or compacts it, or has just created it (not `replace`).
            InputError: It cannot be written to.
        """
        storage = open_storage(path)
        storage.prepare()
        lock = storage.lock("upkeep")  # others may write as soon as there is a manifest
        try:
            if not replace and cls.exists(storage):
                raise LibraryBusyError(busy(None, str(storage)))
            store = cls._new(storage, model_id, dim, token_dim, pool, lock, MANIFEST)
            store._presence, store._lock = storage.join(), None
            return store
        finally:
            lock.close()

    @classmethod
    def stage(
        cls, path: str | Path | Storage, model_id: str, dim: int, token_dim: int = TOKEN_DIM, *, pool: int = 1
    ) -> Store:
        """Create an index beside the existing one, which answers until `publish`; open for writing.

        An unfinished one of the same model is continued. No other writer comes in until it is closed; those that are
        there already go on with the existing index, see `has_missed`.

        Args and errors: as for `create`.
        """
        storage = open_storage(path)
        storage.prepare()
        lock = storage.lock("write")
        try:
            staged = read_staged(storage)
            replaced = manifest_or_none(storage, MANIFEST)
            version = version_of(storage, replaced)
            wanted = (model_id, dim, token_dim, pool)
            if staged and (staged.model_id, staged.dim, staged.token_dim, staged.pool) == wanted:
                try:
                    store = cls(storage, staged, lock, name=STAGED)
                    store._replaces = None if replaced is None else (replaced, version)
                    store._ready_to_write()
                    return store
                except PolylensError:  # its table is gone or broken: it begins anew
                    pass
            store = cls._new(storage, model_id, dim, token_dim, pool, lock, STAGED)
            store._replaces = None if replaced is None else (replaced, version)
            return store
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
            store = cls(storage, manifest, lock, name=name)
            store._drop_orphans()
        return store

    def publish(self) -> None:
        """Replace the existing index by the staged one, in one step; harmless when repeated."""
        if self._name == MANIFEST:
            return
        assert self._lock is not None, "an index is made anew under the lock"
        self._lock.require()
        with self.storage.writing():
            self.storage.rename(STAGED, MANIFEST)
            self._name = MANIFEST
            # After the rename: whoever commits later sees that the index was replaced, and says so.
            if self._replaces is not None:
                replaced, version = self._replaces
                self.has_missed = version_of(self.storage, replaced) != version
            time.sleep(READER_GRACE)  # for searches under way in what it replaces
            self._drop_orphans()

    @classmethod
    def open(cls, path: str | Path | Storage, *, model_id: str | None = None, write: bool = False) -> Store:
        """Open an existing index.

        Args:
            path: The storage of the index itself.
            model_id: The model whose vectors are to be compared with it; None to take whichever it is.
            write: Whether pages will be committed; others may do so at the same time.

        Raises:
            LibraryNotFoundError: There is no index.
            ModelMismatchError: It was made with a model other than `model_id`.
            LibraryBusyError: It is to be written, and another process makes it anew, or writes to a table of an
                earlier version.
            StorageUnavailableError: It lies on object storage that cannot have several writers, or does not answer.
        """
        storage = open_storage(path)
        manifest = read_manifest(storage, model_id=model_id)
        if not write:
            return cls(storage, manifest)
        presence = storage.join()
        lock: Lock | None = None
        try:
            holder = storage.holder()
            if holder is not None and holder.purpose == "write":
                storage.lock().close()  # refused, with the holder's name and when it can be taken over
            manifest = read_manifest(storage, model_id=model_id)  # again: it may have been rebuilt meanwhile
            store = cls(storage, manifest, presence=presence)
            if not is_keyed(store._table):
                store._lock = lock = storage.lock()
            store._ready_to_write()
            return store
        except BaseException:
            presence.close()
            if lock:
                lock.close()
            raise

    @classmethod
    def acting(cls, mandate: Mandate) -> Store:
        """Open an index in order to commit for the store of another process, which gave the mandate."""
        storage = open_storage(mandate.place)
        store = cls(storage, mandate.manifest, mandate.lock, storage.join(), mandate.name)
        store._seen = mandate.seen
        return store

    def mandate(self) -> Mandate:
        """What another process needs to commit for this one, for as long as this is open."""
        place = str(self.storage if self.storage.is_remote else Path(str(self.storage)).absolute())
        return Mandate(place, self.manifest, self._name, self._lock is not None, self._seen)

    def commit_by(self, commit: Callable[[], Committed]) -> None:
        """Have a process commit that has a mandate of this store."""
        self._require_writer()
        done = commit()
        self._seen, self.has_met = done.version, done.has_met
        self.has_company |= done.has_met

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

    @property
    def may_have_others(self) -> bool:
        """Whether others write to it now, or may do so as nobody knows; see `Presence`."""
        if self._lock is not None or self._presence is None:
            return False
        with self._presence.alone() as is_alone:
            return not is_alone

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

    def commit(self, files: Sequence[FilePages], *, removed: Iterable[str] = ()) -> Committed:
        """Add and remove files, in one step; gives the version that it made.

        Args:
            files: New files, and changed ones, whose earlier pages are removed.
            removed: Files to remove; names that the index does not have are ignored.

        Raises:
            StorageError: The disk takes no more; the index is as it was.
        """
        self._require_writer()
        gone = sorted({*removed, *(file.file for file in files)})

        def attempt() -> None:
            self._table.checkout_latest()
            if files:
                merge = self._table.merge_insert(["file", "page"])
                merge = merge.when_matched_update_all().when_not_matched_insert_all()
                merge = merge.when_not_matched_by_source_delete(is_in("file", gone))
                merge.execute(pa.concat_tables(whole_rows(file, self.manifest) for file in files))
            elif gone:
                self._table.delete(is_in("file", gone))

        is_large = sum(file.rows.nbytes for file in files) > MERGED_BYTES
        with self.storage.writing():
            try:
                self._table.checkout_latest()
                self.has_met = int(self._table.version) != self._seen
                self.has_company |= self.has_met
                retried((lambda: self._append(files, gone)) if is_large else attempt, str(self.storage))
            except (PolylensError, RuntimeError, OSError, ValueError):
                self._require_current()  # the better reason, if it is one
                raise
            self._seen = int(self._table.version)
            self._require_current()
            self._index_words()
        return Committed(self._seen, self.has_met)

    def _index_words(self) -> None:
        """Bring the index of words up to date now and then, unless another process does."""
        if not full_text.is_behind(self._table, growing=True):
            return
        with upkeep_lock(self.storage, self._lock) as lock:
            if lock is not None:
                with contextlib.suppress(LibraryBusyError):  # others came between: one of them will do it
                    index_new_pages(self._table, growing=True)
        self._seen = int(self._table.version)

    def _append(self, files: Sequence[FilePages], gone: Sequence[str]) -> None:
        """Add many pages as a stream: merging them takes twice their memory.

        Earlier pages go first, in a step of their own. Whoever is killed between the two finds those files new. An
        append does not conflict with another of the same pages, so it is done under the lock, one at a time.
        """
        with awaited_lock(self.storage, self._lock):
            self._table.checkout_latest()
            if self._table.count_rows(is_in("file", gone)):
                self._table.delete(is_in("file", gone))
            self._table.add(streamed_rows(files, self.manifest))

    def compact(self, *, force: bool = False, told: Told = lambda _done, _all: None) -> None:
        """Bring the indices of words and of vectors up to date, merge small fragments, and free unused space.

        Merging rewrites every vector, so it waits until there are a good number of them, until what is superseded
        takes half of what is alive, or until the index of dense vectors was made anew. Readers are not disturbed, and
        other writers go on. Where another process does this already, or others come between, it is left to the next
        one. What a killed writer left behind is removed as well, if no other writer is there.

        Args:
            force: Whether to do it in any case.
            told: Called with the pages whose token vectors are indexed, and all that are to be.

        Raises:
            StorageError: The disk takes no more; the index is as it was.
            LibraryBusyError: It was forced, and another process is at it.
        """
        self._require_writer()
        with self.storage.writing():
            self._table.checkout_latest()
            if not (force or is_upkeep_due(self._table, self.storage)):
                return
            with upkeep_lock(self.storage, self._lock) as lock:
                if lock is None and force:
                    raise LibraryBusyError(busy(self.storage.holder(), str(self.storage)))
                if lock is None:
                    return
                try:
                    keep_up(self._table, self.storage, lock, self._presence, grace=READER_GRACE, force=force, told=told)
                except LibraryBusyError:
                    if force:
                        raise

    def is_wasteful(self) -> bool:
        """Whether superseded versions and deleted rows take so much that compacting is worth it."""
        return is_wasteful(self._table, self.storage.size(self.manifest.table))

    def close(self) -> None:
        """Write no more; harmless when repeated."""
        for held in (self._lock, self._presence):
            if held:
                held.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_writer(self) -> None:
        assert self._lock is not None or self._presence is not None, "the store was opened for reading"
        if self._lock is not None:
            self._lock.require()

    def _require_current(self) -> None:
        """Make sure that this is still the index.

        Raises:
            LibraryBusyError: Another process made it anew meanwhile.
        """
        try:
            is_current = read_manifest(self.storage, name=self._name).table == self.manifest.table
        except LibraryNotFoundError:
            is_current = False
        if not is_current:
            raise LibraryBusyError(
                f"the index in {self.storage} was made anew by another process meanwhile, without what this one was "
                "about to save; call the same command again to add that"
            )

    def _ready_to_write(self) -> None:
        """Remove what earlier writers left behind, and add what earlier versions did not write."""
        if orphan_tables(self.storage, keep=self.manifest.table) or orphan_files(self.storage):
            with upkeep_lock(self.storage, self._lock) as lock:
                if lock is not None:
                    self._drop_orphans()
        if lacks_columns(self._table):
            with awaited_lock(self.storage, self._lock), self.storage.writing():
                self._table.checkout_latest()
                add_columns(self._table)

    def _drop_orphans(self) -> None:
        presence = self._presence
        with presence.alone() if presence else contextlib.nullcontext(not self.storage.has_writers()) as is_alone:
            drop_orphans(self.storage, self._database, keep=self.manifest.table, is_alone=is_alone)
