"""Errors of a disk that an index is written to, as the one error of this package."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polylens.errors import StorageError

REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """A block that writes an index: what the operating system refuses becomes a `StorageError`.

    Args:
        path: The folder of the index.

    Raises:
        StorageError: No space, no permission, a failing disk.
    """
    try:
        yield
    except (RuntimeError, OSError) as error:  # LanceDB wraps the system's number in the text of a RuntimeError
        number = _errno_of(error)
        if number not in REFUSALS:
            raise
        raise StorageError(
            f"the index in {path} cannot be written ({os.strerror(number)}). What was saved before is safe and can be "
            "searched; make room, then call the same command again"
        ) from error


def _errno_of(error: Exception) -> int:
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else 0
