"""What is in a folder: the files worth a look, and what is passed over."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from polylens.documents.ignore import IGNORE_FILE, read_ignore
from polylens.documents.opening import kind_of
from polylens.errors import DocumentError

MAX_FILE_BYTES = 512 * 1024 * 1024  # larger files are left out, as are those of unknown kinds
IGNORED_FOLDERS = frozenset({"__pycache__", "node_modules"})


@dataclass(slots=True)
class Contents:
    """What `scan` found."""

    files: dict[str, os.stat_result] = field(default_factory=dict)
    """By name, relative and POSIX; with size and time."""
    unreadable: list[str] = field(default_factory=list)
    """Folders that could not be entered: what is in them is not known."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """Name and reason, for each that could not be looked at."""
    skipped: int = 0
    """Of no kind that has pages, or too large."""


def scan(folder: Path) -> Contents:
    """Looks at a folder and all below it. Links to folders are not followed, hidden and ignored files not looked at.

    Raises:
        DocumentError: The folder itself cannot be entered.
        InputError: Its `.polylensignore` cannot be used.
    """
    contents = Contents()
    ignore = read_ignore(folder)

    def cannot_enter(error: OSError) -> None:
        name = Path(error.filename).relative_to(folder).as_posix()
        if name == ".":
            raise DocumentError(f"{folder} cannot be entered ({error.strerror})") from error
        contents.unreadable.append(name)
        contents.failed.append((printable(name) + "/", f"cannot be entered ({error.strerror})"))

    for root, folders, names in os.walk(folder, onerror=cannot_enter):
        above = "" if Path(root) == folder else Path(root).relative_to(folder).as_posix() + "/"
        folders[:] = [name for name in _visible(folders) if not ignore.covers_folder(above + name)]
        for name in _visible(names):
            if ignore.covers_file(above + name):
                continue
            status = _status(Path(root, name), above + name, contents)
            if status:
                contents.files[above + name] = status
    return contents


def is_watched(file: str) -> bool:
    """Whether a change of this file or folder may concern an index, by its name.

    Args:
        file: Relative, POSIX.

    Example:
        >>> [is_watched(file) for file in ("a/b.pdf", ".polylens/lock", "a/.b.pdf", ".polylensignore")]
        [True, False, False, True]
    """
    return file == IGNORE_FILE or all(map(_is_visible, file.split("/")))


def _visible(names: list[str]) -> list[str]:
    return sorted(filter(_is_visible, names))


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name not in IGNORED_FOLDERS


def _status(path: Path, file: str, contents: Contents) -> os.stat_result | None:
    """Size and time of a file worth a look; None for any other, which is counted or reported."""
    if kind_of(path) is None:
        contents.skipped += 1
        return None
    try:
        status = path.stat()
    except OSError as error:  # a link to nowhere, or in a circle
        contents.failed.append((printable(file), f"cannot be read ({error.strerror})"))
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
        contents.skipped += 1
        return None
    if file != printable(file):
        contents.failed.append((printable(file), "its name is not valid UTF-8; rename it"))
        return None
    return status


def printable(file: str) -> str:
    """A name without the bytes in it that are no text."""
    return file.encode("utf-8", "replace").decode()
