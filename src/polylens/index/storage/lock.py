"""Locks of an index on a disk, which the operating system releases when their holder dies, by `kill -9` as well.

Any number of writers commit at once (`table.store`). One at a time creates an index, makes it anew, compacts it or
builds its indices: it has the lock. Object storage has no such lock; `lease` has what stands for it there.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol, Self

from polylens.errors import InputError, LibraryBusyError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


MAX_COMMAND = 200  # characters of a command line that are kept
_BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_GLANCES = 3  # tries to lock, as someone who asks for the holder has the lock for a moment
_GLANCE_SECONDS = 0.01

Purpose = Literal["write", "upkeep"]
"""What a lock is held for: "write" keeps every other writer out, as making an index anew does; during "upkeep",
compacting and indexing, others append."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock."""

    pid: int
    host: str
    command: str
    since: str  # ISO 8601, UTC
    purpose: Purpose = "write"

    @classmethod
    def here(cls, purpose: Purpose = "write") -> Self:
        """This process, as a holder from now on."""
        program = Path(sys.argv[0])
        name = program.parent.name if program.name == "__main__.py" else program.name
        command = shlex.join([name, *sys.argv[1:]])[:MAX_COMMAND]
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(os.getpid(), socket.gethostname(), command, since, purpose)

    def __str__(self) -> str:
        return f"process {self.pid}"

    @property
    def details(self) -> str:
        """Such as: `polylens watch papers`, on desk since 2026-05-01T09:30:00+00:00."""
        return f"`{self.command}`, on {self.host} since {self.since}"


class Lock(Protocol):
    """The right to write to an index, from its construction until `close`."""

    def require(self) -> None:
        """Make sure that the lock is still held.

        Raises:
            LibraryBusyError: Another writer took it over.
        """

    def close(self) -> None:
        """Let the next writer in; harmless when repeated."""


class WriterLock:
    """The lock of an index on a disk, held from the constructor to `close`.

    Args:
        path: The lock file. It is made where it is missing and never deleted: deleting would let two in.
        purpose: What it is held for.

    Raises:
        LibraryBusyError: Another process, or another object of this one, holds it.
        InputError: The file cannot be made or locked.
    """

    def __init__(self, path: Path, purpose: Purpose = "write") -> None:
        self._file = _open(path)
        try:
            _lock_soon(self._file)
        except OSError as error:
            holder = _read(self._file)
            os.close(self._file)
            if error.errno not in _BUSY:
                raise InputError(
                    f"{path} cannot be locked ({error.strerror}); is it on a disk of this machine?"
                ) from error
            raise LibraryBusyError(busy(holder, str(path.parent))) from error
        self._sign(purpose)

    def _sign(self, purpose: Purpose) -> None:
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name too
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            os.write(
                self._file, json.dumps(asdict(Holder.here(purpose)), ensure_ascii=False).encode("utf-8", "replace")
            )

    def require(self) -> None:
        """Does nothing: the system does not take a lock away."""

    def close(self) -> None:
        """Let the next writer in; harmless when repeated."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Presence(Protocol):
    """That a writer is there, from its construction until `close`."""

    def alone(self) -> contextlib.AbstractContextManager[bool]:
        """A block that no other writer enters, if there is none now; gives whether that is known."""

    def close(self) -> None:
        """Be there no longer; harmless when repeated."""


class SharedPresence:
    """A writer of an index on a disk: a file that any number of them lock together.

    Args:
        path: The file. It is made where it is missing.

    Raises:
        InputError: The file cannot be made or locked.
    """

    def __init__(self, path: Path) -> None:
        self._file = _open(path)
        try:
            _share(self._file)
        except OSError as error:
            os.close(self._file)
            raise InputError(f"{path} cannot be locked ({error.strerror}); is it on a disk of this machine?") from error

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """A block that no other writer enters, if there is none now; gives whether that is so."""
        if sys.platform == "win32":  # it has no locks that are shared, so nobody knows of the others
            yield False
            return
        try:
            _lock(self._file)
        except OSError:
            is_alone = False
        else:
            is_alone = True
        try:
            yield is_alone
        finally:
            _share(self._file)  # waits for one who is alone, and commits nothing meanwhile

    def close(self) -> None:
        """Be there no longer; harmless when repeated."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@contextlib.contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """A block that one process at a time is in; the others wait. For what takes milliseconds.

    Args:
        path: The lock file.
    """
    file = _open(path)
    try:
        _lock(file, wait=True)
        yield
    finally:
        os.close(file)


def busy(holder: Holder | None, index: str) -> str:
    """Why a second writer is refused.

    Args:
        holder: The first one, where it is known.
        index: Where the index lies.
    """
    does = "is compacting" if holder and holder.purpose == "upkeep" else "is writing to"
    details = f" ({holder.details})" if holder else ""
    return (
        f"{holder or 'another process'} {does} the index in {index}{details}; wait for it to end, or stop it. "
        "Searching goes on meanwhile"
    )


def is_locked(path: Path) -> bool:
    """Whether anyone has a file locked, alone or together with others."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        _lock(file)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def holder_of(path: Path) -> Holder | None:
    """Who is writing to an index right now; None where nobody is.

    Args:
        path: The lock file; it need not be there.
    """
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:  # no index yet, or one that nobody can write to
        return None
    try:
        _lock(file)
    except OSError:
        return _read(file) or Holder(0, "an unknown host", "unknown", "unknown")
    finally:
        os.close(file)
    return None


def _read(file: int) -> Holder | None:
    try:
        os.lseek(file, 0, os.SEEK_SET)
        return Holder(**json.loads(os.read(file, 4096)))
    except (OSError, ValueError, TypeError):
        return None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(f"{path.parent} cannot be written to ({error.strerror})") from error


def _lock_soon(file: int) -> None:
    for glance in range(_GLANCES):
        try:
            return _lock(file)
        except OSError as error:
            if error.errno not in _BUSY or glance == _GLANCES - 1:
                raise
        time.sleep(_GLANCE_SECONDS)


def _lock(file: int, *, wait: bool = False) -> None:
    if sys.platform == "win32":
        os.lseek(file, 1 << 20, os.SEEK_SET)  # far behind the pid, which others must be able to read
        msvcrt.locking(file, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _share(file: int) -> None:
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_SH)
