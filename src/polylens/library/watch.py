"""Folders that are kept searchable while their files come, change, move and go.

What the system says of a folder is only a reason to look; what has changed is found by `Library.update`, which
compares the folder with the index. So an event too many costs a look, one too few at most a minute: a look is due
then in any case, for disks of other machines and systems that tell of nothing.
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
from polylens.library.library import Change, Library, Progress, Report

DEBOUNCE = 0.3  # seconds without another event after which a look is worth it
DEBOUNCE_MOST = 2.0  # seconds of events without end after which it is as well
SETTLE = 2.0  # seconds for which a file must not have changed; a copy under way changes all the time
PATIENCE = 60.0  # seconds after which one that never rests, such as a log, is read all the same
RESCAN = 60.0  # seconds after which a folder is looked at in any case, or
RESCAN_SHARE = 50  # times as long as a look takes
BUSY = 3.0  # seconds after which to try again where another process is writing
REST_MOST = 30.0  # seconds of rest after a look that took long


class Listener(Protocol):
    """Who is told what happens to libraries; called from the thread of `Follower.run`."""

    def progress(self, library: Library, progress: Progress) -> None:
        """An update is under way."""

    def updated(self, library: Library, report: Report) -> None:
        """An update is through."""

    def problem(self, library: Library, error: Exception) -> None:
        """A library could not be brought up to date, and will be tried again. Said again only if it changes."""


class Stopped(Exception):
    """Raised out of an update that is to end."""


class Settling:
    """Tells files that are ready from those still being written.

    Args:
        clock: Gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}  # since when a file has been seen at work

    def is_ready(self, file: str, status: os.stat_result) -> bool:
        """Whether a file has not changed for a while, or has kept us waiting for long enough."""
        now = self._clock()
        rested = not 0 <= now - status.st_mtime < SETTLE  # a time in the future says nothing
        if not rested and now - self._since.setdefault(file, now) < PATIENCE:
            return False
        self._since.pop(file, None)
        return True


class Events:
    """Which of several folders something happened in; a thread that waits for the system.

    Args:
        folders: To watch, with all below them.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)
        self._changed: set[Path] = set()
        self._is_awake = False
        self._condition = threading.Condition()
        self._stop = threading.Event()
        self.problems: dict[Path, Exception] = {}
        """Folders of which the system tells nothing, and why."""
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
        """Let `take` return at once from here on. From any thread, and from a signal's handler."""
        self._is_awake = True  # before the notice: whoever is about to wait must see one of the two
        threading.Thread(target=self._notify, name="polylens-wake").start()  # a handler must not wait for a lock

    def take(self, seconds: float) -> set[Path]:
        """The folders in which something happened since the last call; waits for the first, at most so long."""
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
                rust_timeout=500,  # after which a wish to stop is noticed
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
    except ValueError:  # by another name, through a link: better one look too many
        return True


class Follower:
    """Keeps libraries up to date until it is stopped.

    Args:
        libraries: The folders, each with its index. They may share an embedder.
        listener: Who is told.
    """

    def __init__(self, libraries: Sequence[Library], listener: Listener) -> None:
        self._libraries = list(libraries)
        self._listener = listener
        self._events = Events([library.folder for library in libraries])
        self._settling = {library: Settling() for library in libraries}
        self._has_index: set[Library] = set()
        self._said: dict[Library, str] = {}
        self._stopping = False

    def run(self) -> None:
        """Looks, and looks again whenever something happens. Blocks until `stop`; what is finished then is kept."""
        due = dict.fromkeys(self._libraries, 0.0)  # when to look at each in any case, on the monotonic clock
        earliest = dict.fromkeys(self._libraries, 0.0)  # and before when not to
        with self._events as events, contextlib.suppress(Stopped):
            while not self._stopping:
                self._tell_of_blindness()
                for library in self._libraries:
                    if due[library] <= time.monotonic() and not self._stopping:
                        rest, again = self._look(library)
                        now = time.monotonic()
                        earliest[library], due[library] = now + rest, now + again
                changed = events.take(min(due.values()) - time.monotonic())
                for library in self._libraries:
                    if library.folder in changed:
                        due[library] = min(due[library], max(time.monotonic(), earliest[library]))

    def stop(self) -> None:
        """Ends `run`, after the pages at hand. From any thread, and from a signal's handler."""
        self._stopping = True
        self._events.wake()

    def _look(self, library: Library) -> tuple[float, float]:
        """Brings one library up to date; seconds for which to rest, and after which to look in any case."""
        try:
            if library in self._has_index and not library.index_path.exists():  # a disk that was taken away
                raise LibraryNotFoundError(f"the index in {library.index_path} has gone; is its disk still there?")
            report = library.update(
                lambda progress: self._progress(library, progress), is_ready=self._settling[library].is_ready
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

    def _progress(self, library: Library, progress: Progress) -> None:
        self._listener.progress(library, progress)
        if self._stopping:
            raise Stopped

    def _problem(self, library: Library, error: Exception) -> None:
        if self._said.get(library) != str(error):
            self._said[library] = str(error)
            self._listener.problem(library, error)

    def _tell_of_blindness(self) -> None:
        """Without events the looks that are due in any case remain."""
        for library in self._libraries:
            if error := self._events.problems.pop(library.folder, None):
                reason = f"the system does not tell of changes ({error}); the folder is looked at every {RESCAN:.0f} s"
                self._listener.problem(library, OSError(reason))


def in_words(change: Change) -> str:
    """A change as a line.

    Example:
        >>> in_words(Change("moved", "b.pdf", 2, before="a.pdf"))
        'moved a.pdf -> b.pdf'
    """
    if change.what in ("moved", "copied"):
        return f"{change.what} {change.before} -> {change.file}"
    if change.what == "removed":
        return f"removed {change.file}"
    return f"{change.what} {change.file}, {change.pages} page{'s' * (change.pages != 1)}"
