"""Lists a folder: the files that have pages, and those that are left out."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from polylens.documents.ignore import IGNORE_FILE, read_ignore
from polylens.documents.opening import kind_of
from polylens.errors import DocumentError

MAX_FILE_BYTES = 512 * 1024 * 1024  # per file; larger files are left out, as are those of unknown kinds
UNSUPPORTED = "is of a kind that is not read"
IGNORED_FOLDERS = frozenset({"__pycache__", "node_modules"})


@dataclass(slots=True)
class Contents:
    """The result of `scan`."""

    files: dict[str, os.stat_result] = field(default_factory=dict)
    """Size and time of each file, by its path relative to the folder, with `/`."""
    unreadable: list[str] = field(default_factory=list)
    """Folders that could not be entered; their files are unknown."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """Name and reason of each file or folder that could not be read."""
    passed_over: list[tuple[str, str]] = field(default_factory=list)
    """File and reason, of each file of an unsupported kind, too large, or no file at all, such as a pipe."""


def scan(folder: Path) -> Contents:
    """Lists a folder and its subfolders. Links to folders are not followed; hidden and ignored files are left out.

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
    """Returns whether a change of this file or folder may affect an index, by its name.

    Args:
        file: Path relative to the folder, with `/`.

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
    """Returns size and time of a file that has pages; None for any other, which is reported."""
    if kind_of(path) is None:
        contents.passed_over.append((printable(file), UNSUPPORTED))
        return None
    try:
        status = path.stat()
    except OSError as error:  # a broken or circular link
        contents.failed.append((printable(file), f"cannot be read ({error.strerror})"))
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
        is_large = stat.S_ISREG(status.st_mode)
        reason = f"is larger than {MAX_FILE_BYTES // 2**20} MB" if is_large else "is a pipe, a socket or a device"
        contents.passed_over.append((printable(file), reason))
        return None
    if file != printable(file):
        contents.failed.append((printable(file), "its name is not valid UTF-8; rename it"))
        return None
    return status


def printable(file: str) -> str:
    """Replaces the bytes of a name that are not valid UTF-8."""
    return file.encode("utf-8", "replace").decode()
