"""One writer at a time: a lock that the operating system takes back when its holder dies, by kill -9 as well."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from polylens.errors import InputError, LibraryBusyError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class WriterLock:
    """Held from the constructor to `close`.

    Args:
        path: The lock file. It is made where it is missing and never deleted: deleting would let two in.

    Raises:
        LibraryBusyError: Another process, or another object of this one, holds it.
        InputError: The file cannot be made or locked.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise InputError(f"{path.parent} cannot be written to ({error.strerror})") from error
        try:
            _lock(self._file)
        except OSError as error:
            holder = _holder(self._file)
            os.close(self._file)
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                raise InputError(
                    f"{path} cannot be locked ({error.strerror}); is it on a disk of this machine?"
                ) from error
            raise LibraryBusyError(
                f"process {holder} is writing to the index in {path.parent}; wait for it to end, or stop it. "
                "Searching goes on meanwhile"
            ) from error
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, str(os.getpid()).encode())

    def close(self) -> None:
        """Let the next writer in; harmless when repeated."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _holder(file: int) -> str:
    try:
        os.lseek(file, 0, os.SEEK_SET)
        return os.read(file, 32).decode("ascii", "replace") or "(unknown)"
    except OSError:
        return "(unknown)"


def _lock(file: int) -> None:
    if sys.platform == "win32":
        os.lseek(file, 1 << 20, os.SEEK_SET)  # far behind the pid, which others must be able to read
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
