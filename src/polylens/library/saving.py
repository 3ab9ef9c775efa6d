"""Keeps the pages of an update's files until each is whole, and commits finished files a few seconds after that."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polylens.errors import PolylensError, StorageError
from polylens.library.progress import Change

if TYPE_CHECKING:
    import pyarrow as pa

    from polylens.index.table.schema import FilePages, PageRow
    from polylens.index.table.store import Store
    from polylens.library.reading import Executor

COMMIT_PAGES = 64  # pages, or seconds, after which finished files are written
COMMIT_SECONDS = 5.0

SPOOL_BYTES = 256 * 1024 * 1024  # of a file's vectors that are kept in memory until the file is whole


class Rows:
    """The pages of one file until all of them have come: a file of many thousands has gigabytes of vectors.

    Args:
        dim: Numbers per dense vector.
        token_dim: Numbers per vector of a multi-vector.
    """

    def __init__(self, dim: int, token_dim: int) -> None:
        self._dim, self._token_dim = dim, token_dim
        self._rows: list[PageRow] = []
        self._num_bytes = self._num_spooled = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._writer: Any = None

    def __len__(self) -> int:
        return self._num_spooled + len(self._rows)

    def append(self, row: PageRow) -> None:
        self._rows.append(row)
        self._num_bytes += row.multivector.nbytes
        if self._num_bytes > SPOOL_BYTES:
            try:
                self._spool()
            except OSError as error:
                raise StorageError(
                    f"{tempfile.gettempdir()} cannot take the vectors of a large file ({error.strerror or error}); "
                    "make room there, or name another folder in TMPDIR"
                ) from error

    def table(self) -> pa.Table:
        """All pages as a table, most of which may lie on disk. Nothing can be appended any more."""
        import pyarrow as pa

        if self._folder is None:
            return self._in_memory()
        self._spool()
        self._writer.close()
        table = pa.ipc.open_stream(pa.memory_map(str(self._file()))).read_all()
        self.clear()  # what is mapped stays until the table goes
        return table

    def clear(self) -> None:
        """Drop the pages."""
        self._rows, self._num_bytes, self._num_spooled = [], 0, 0
        if self._folder is not None:
            self._writer.close()
            self._folder.cleanup()
            self._folder = self._writer = None

    def _in_memory(self) -> pa.Table:
        from polylens.index.table.schema import page_table

        return page_table(self._rows, self._dim, self._token_dim)

    def _spool(self) -> None:
        import pyarrow as pa

        table = self._in_memory()
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="polylens-", ignore_cleanup_errors=True)
            self._writer = pa.ipc.new_stream(str(self._file()), table.schema)
        self._writer.write_table(table)
        self._num_spooled += len(self._rows)
        self._rows, self._num_bytes = [], 0

    def _file(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / "rows"


class Saver:
    """Gathers finished files and removals, and commits them together.

    Args:
        store: The index, open for writing.
        on_saved: Called after each commit with the files that are safe now, and with all changes.
    """

    def __init__(self, store: Store, on_saved: Callable[[tuple[str, ...], tuple[Change, ...]], None]) -> None:
        self._store = store
        self._on_saved = on_saved
        self._finished: list[FilePages] = []
        self._removed: list[str] = []
        self._changes: list[Change] = []
        self._last_commit = time.monotonic()
        self._executor: Executor | None = None

    @contextmanager
    def through(self, executor: Executor | None) -> Iterator[None]:
        """A block in which an executor commits what it embedded, all that is finished at its end included.

        Args:
            executor: None leaves the commits here.
        """
        self._executor = executor
        try:
            yield
            if executor is not None:
                self.commit()
        except BaseException:  # what is finished was paid for; that it cannot be saved either is no news
            if executor is not None:
                with suppress(PolylensError):
                    self.commit()
            raise
        finally:
            self._executor = None

    def put(self, file: FilePages, change: Change | None) -> None:
        """Save a file, now or within a few seconds."""
        self._finished.append(file)
        self._changes += [change] if change else []
        num_pages = sum(file.rows.num_rows for file in self._finished)
        if num_pages >= COMMIT_PAGES or time.monotonic() - self._last_commit > COMMIT_SECONDS:
            self.commit()

    def remove(self, file: str, change: Change | None = None) -> None:
        """Remove a file from the index with the next commit."""
        self._removed.append(file)
        self._changes += [change] if change else []

    def commit(self) -> None:
        """Write what was gathered, in one step."""
        finished, self._finished = self._finished, []
        removed, self._removed = self._removed, []
        changes, self._changes = self._changes, []
        if finished or removed:
            with uninterrupted():
                if self._executor is None:
                    self._store.commit(finished, removed=removed)
                else:
                    self._store.commit_by(partial(self._executor.commit, finished, removed))
                self._on_saved(tuple(file.file for file in finished), tuple(changes))
        self._last_commit = time.monotonic()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A block that Ctrl-C waits for: a commit goes on in another thread, and must be seen to end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT)
    if not callable(previous):  # ignored, left to the system, or set outside Python: nothing to hold back
        yield
        return
    waiting: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda number, frame: waiting.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if waiting:
            previous(*waiting[-1])
