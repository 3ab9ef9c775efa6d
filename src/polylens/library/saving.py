"""Commits the finished files of an update to the index, a few seconds after they are through."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from polylens.library.progress import Change

if TYPE_CHECKING:
    from polylens.index.table.schema import FilePages
    from polylens.index.table.store import Store

COMMIT_PAGES = 64  # pages, or seconds, after which finished files are written
COMMIT_SECONDS = 5.0


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
                self._store.commit(finished, removed=removed)
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
