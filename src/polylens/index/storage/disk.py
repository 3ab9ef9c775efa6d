"""What a disk says when it takes no more, in words of ours; and how much of it an index wastes."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polylens.errors import StorageError

REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})

WASTE_BYTES = 64 * 1024 * 1024  # that superseded versions may take in any case
WASTE_SHARE = 0.5  # and beyond that, of what the pages themselves take


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the system refuses while an index is written into one error of ours.

    Args:
        path: The folder of the index.

    Raises:
        StorageError: No space, no permission, a failing disk.
    """
    try:
        yield
    except (RuntimeError, OSError) as error:  # LanceDB wraps the system's number in the text of a RuntimeError
        number = _number_of(error)
        if number not in REFUSALS:
            raise
        raise StorageError(
            f"the index in {path} cannot be written ({os.strerror(number)}). What was saved before is safe and can be "
            "searched; make room, then call the same command again"
        ) from error


def _number_of(error: Exception) -> int:
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else 0


def bytes_of(folder: Path, *, without: str = "") -> int:
    """What the files in a folder take on disk; those that vanish meanwhile count nothing.

    Args:
        folder: With all that is below it, but for
        without: a folder directly in it.
    """
    total = 0
    for root, folders, names in os.walk(folder):
        if Path(root) == folder and without in folders:
            folders.remove(without)
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118 - many small calls
            except OSError:
                continue
    return total


def is_wasteful(table: Any, size: int) -> bool:
    """Whether old versions and deleted rows take so much that rewriting what is alive is worth it.

    As a log-structured store does it: waste may grow to a share of what is alive, so that each byte is rewritten a
    bounded number of times, and the disk holds a bounded multiple of what is needed.

    Args:
        table: Of LanceDB.
        size: What its files take, in bytes, without those of its indices.
    """
    stats = table.stats()
    lengths = stats["fragment_stats"]["lengths"]
    rows = lengths["mean"] * stats["fragment_stats"]["num_fragments"]  # deleted ones among them
    alive = stats["total_bytes"] * (stats["num_rows"] / rows if rows else 0.0)
    return size - alive > max(WASTE_BYTES, WASTE_SHARE * alive)
