"""Folders that are kept searchable while their files come, change, move and go.

An event of the file system is only a reason to scan the folder; what has changed is found by `Library.update`, which
compares the folder with the index. So a superfluous event costs one scan, and a missing one at most a minute: every
folder is rescanned then in any case, for network drives and systems that report no events.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import watchfiles

from polylens.documents.scan import is_watched
from polylens.errors import LibraryBusyError, LibraryNotFoundError, PolylensError
from polylens.library.library import Library
from polylens.library.progress import Report, UpdateProgress

DEBOUNCE = 0.3  # seconds without another event after which a folder is scanned
DEBOUNCE_MOST = 2.0  # seconds of uninterrupted events after which it is scanned all the same
SETTLE = 2.0  # seconds for which a file must not have changed; a copy under way changes all the time
PATIENCE = 60.0  # seconds after which a file that never settles, such as a log, is read all the same
RESCAN = 60.0  # seconds after which a folder is scanned in any case, or
RESCAN_SHARE = 50  # times as long as a scan takes, where that is longer
BUSY = 3.0  # seconds after which to try again where another process is writing
REST_MOST = 30.0  # most seconds of rest after a scan that took long


class Listener(Protocol):
    """Receives what happens to libraries; called from the thread of `Follower.run`."""

    def progress(self, library: Library, progress: UpdateProgress) -> None:
        """An update is under way."""

    def updated(self, library: Library, report: Report) -> None:
        """An update has ended."""

    def problem(self, library: Library, error: Exception) -> None:
        """A library could not be brought up to date, and will be tried again. Repeated only if the error changes."""


class Stopped(Exception):
    """Ends an update from within its progress callback."""


class Settling:
    """Distinguishes files that are ready from files still being written.

    Args:
        clock: Gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}  # when each file was first seen changing

    def is_ready(self, file: str, status: os.stat_result) -> bool:
        """Whether a file has not changed for `SETTLE` seconds, or has kept changing for `PATIENCE` seconds."""
        now = self._clock()
        rested = not 0 <= now - status.st_mtime < SETTLE  # a time in the future says nothing
        if not rested and now - self._since.setdefault(file, now) < PATIENCE:
            return False
        self._since.pop(file, None)
        return True


class Events:
    """Collects in which of several folders something happened; one thread per folder waits for the system's events.

    Args:
        folders: The folders to watch, with all below them.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)
        self._changed: set[Path] = set()
        self._is_awake = False
        self._condition = threading.Condition()
        self._stop = threading.Event()
        self.problems: dict[Path, Exception] = {}
        """Folders for which the system reports no events, and why."""
        self._threads = [
            threading.Thread(target=self._watch, args=(folder,), name="polylens-watch", daemon=True)
            for folder in self._folders
        ]

    def __enter__(self) -> Events:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wake(self) -> None:
        """Let `take` return at once from here on. May be called from any thread and from a signal handler."""
        self._is_awake = True  # before the notice: whoever is about to wait must see one of the two
        threading.Thread(target=self._notify, name="polylens-wake").start()  # a handler must not wait for a lock

    def take(self, seconds: float) -> set[Path]:
        """The folders in which something happened since the last call; waits at most `seconds` for the first event."""
        with self._condition:
            if not self._changed and not self._is_awake and seconds > 0:
                self._condition.wait(seconds)
            changed, self._changed = self._changed, set()
            return changed

    def _notify(self, folder: Path | None = None) -> None:
        with self._condition:
            self._changed.update([folder] if folder else [])
            self._condition.notify_all()

    def _watch(self, folder: Path) -> None:
        try:
            for _ in watchfiles.watch(
                folder,
                watch_filter=lambda _, path: _concerns(folder, path),
                debounce=round(DEBOUNCE_MOST * 1000),
                step=round(DEBOUNCE * 1000),
                stop_event=self._stop,
                rust_timeout=500,  # milliseconds after which a stop is noticed
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                self._notify(folder)
        except (OSError, RuntimeError) as error:  # the folder is gone; the system watches no more of them
            self.problems[folder] = error
            self._notify(folder)


def _concerns(folder: Path, path: str) -> bool:
    try:
        return is_watched(Path(path).relative_to(folder).as_posix())
    except ValueError:  # by another name, through a link: better one scan too many
        return True


class Follower:
    """Keeps libraries up to date until it is stopped.

    Args:
        libraries: The folders, each with its index. They may share an embedder.
        listener: Receives progress, reports and problems.
        ocr: As for `Library.update`.
    """

    def __init__(self, libraries: Sequence[Library], listener: Listener, *, ocr: str | None = None) -> None:
        self._libraries = list(libraries)
        self._listener = listener
        self._ocr = ocr
        self._events = Events([library.folder for library in libraries])
        self._settling = {library: Settling() for library in libraries}
        self._has_index: set[Library] = set()
        self._said: dict[Library, str] = {}
        self._stopping = False

    def run(self) -> None:
        """Scan every folder, and again whenever it changes. Blocks until `stop`; what is finished then is kept."""
        due = dict.fromkeys(self._libraries, 0.0)  # when to scan each in any case, on the monotonic clock
        earliest = dict.fromkeys(self._libraries, 0.0)  # and before when not to
        with self._events as events, contextlib.suppress(Stopped):
            while not self._stopping:
                self._report_missing_events()
                for library in self._libraries:
                    if due[library] <= time.monotonic() and not self._stopping:
                        rest, again = self._update(library)
                        now = time.monotonic()
                        earliest[library], due[library] = now + rest, now + again
                changed = events.take(min(due.values()) - time.monotonic())
                for library in self._libraries:
                    if library.folder in changed:
                        due[library] = min(due[library], max(time.monotonic(), earliest[library]))

    def stop(self) -> None:
        """End `run` after the pages at hand. May be called from any thread and from a signal handler."""
        self._stopping = True
        self._events.wake()

    def _update(self, library: Library) -> tuple[float, float]:
        """Bring one library up to date. Returns the seconds to rest, and those after which to scan in any case."""
        try:
            if library in self._has_index and not library.index_path.exists():  # a disk that was taken away
                raise LibraryNotFoundError(f"the index in {library.index_path} has gone; is its disk still there?")
            report = library.update(
                lambda progress: self._progress(library, progress),
                is_ready=self._settling[library].is_ready,
                ocr=self._ocr,
            )
        except LibraryBusyError as error:
            self._problem(library, error)
            return BUSY, BUSY
        except (PolylensError, OSError) as error:
            self._problem(library, error)
            return BUSY, RESCAN
        if library.index_path.exists():  # unless the folder cannot be written to, and its index is elsewhere
            self._has_index.add(library)
        self._said.pop(library, None)
        self._listener.updated(library, report)
        rest = min(report.scan_seconds, REST_MOST)
        return rest, max(SETTLE, rest) if report.waiting else max(RESCAN, RESCAN_SHARE * report.scan_seconds)

    def _progress(self, library: Library, progress: UpdateProgress) -> None:
        self._listener.progress(library, progress)
        if self._stopping:
            raise Stopped

    def _problem(self, library: Library, error: Exception) -> None:
        if self._said.get(library) != str(error):
            self._said[library] = str(error)
            self._listener.problem(library, error)

    def _report_missing_events(self) -> None:
        """Report the folders for which there are no events. Only the periodic rescans remain for them."""
        for library in self._libraries:
            if error := self._events.problems.pop(library.folder, None):
                reason = f"the system reports no changes ({error}); the folder is rescanned every {RESCAN:.0f} s"
                self._listener.problem(library, OSError(reason))
