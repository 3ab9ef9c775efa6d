"""Files that appear whole: each is written beside its place and then renamed into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".partial"
"""Ends the name of a file that is being written. A killed process may leave one; the next write replaces it."""


@contextmanager
def write_beside(path: Path, *, fsync: bool = False) -> Iterator[Path]:
    """Yields a path to write to; at the end of the block the file there replaces `path` in one step.

    A reader sees the old file or the new one, never a part. If the block raises, the old file stays. Two processes must
    not write the same path at once.

    Args:
        path: The file; its folder must exist.
        fsync: Whether the content must reach the disk first, so that the file is whole after a power failure, too.

    Raises:
        OSError: The file cannot be written; the message names both paths if it cannot be renamed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with write_beside(Path(folder) / "report.txt") as beside:
        ...         _ = beside.write_text("whole")
        ...     [file.name for file in Path(folder).iterdir()]
        ['report.txt']
    """
    beside = path.with_name(path.name + SUFFIX)
    beside.unlink(missing_ok=True)  # a hard link left by a killed process would pass the write on to its source
    try:
        yield beside
        if fsync:
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(beside, path)  # noqa: PTH105 - as Path.replace, but an error names both paths
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
