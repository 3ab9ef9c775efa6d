"""What an update has to do: the files of a folder compared with those that its index knows."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from polylens.errors import DocumentError
from polylens.library.progress import IsReady
from polylens.types import Kind

if TYPE_CHECKING:
    from polylens.index.table.snapshot import FileRecord


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that gave no pages when it was last read."""

    status: os.stat_result
    """The state in which it was read."""
    reason: str
    """Why it cannot be read; "" where it can be, and has no pages."""

    def is_still(self, status: os.stat_result) -> bool:
        """Whether the file has not changed since; renaming it or changing its permissions counts as a change."""
        return _identity(self.status) == _identity(status)


@dataclass(frozen=True, slots=True)
class NewContent:
    """A file whose pages have to be embedded."""

    file: str
    hash: str
    status: os.stat_result
    """Its state when it was hashed."""
    num_pages: int
    """At least 1."""
    kind: Kind


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A file whose content the index knows, under this name or another."""

    file: str
    hash: str
    status: os.stat_result
    of: str
    """The name under which the index has its pages."""
    is_moved: bool
    """Whether there is no file of that name any more."""

    @property
    def is_touched(self) -> bool:
        """Whether only the file's time has changed."""
        return self.of == self.file


@dataclass(slots=True)
class Plan:
    """What an update has to do. Each file of the folder is in one of the lists."""

    unchanged: list[str] = field(default_factory=list)
    new: list[NewContent] = field(default_factory=list)
    """New and changed files, to be embedded."""
    duplicates: list[Duplicate] = field(default_factory=list)
    """Files to take over without embedding them."""
    waiting: list[str] = field(default_factory=list)
    """New and changed files that are not ready to be read."""
    unopened: list[tuple[str, str]] = field(default_factory=list)
    """File and reason, of files that could not be hashed. The index keeps what it has of them."""
    unreadable: list[tuple[str, Unreadable]] = field(default_factory=list)
    """Files that give no pages. What the index has of them is of another content, and goes."""
    vanished: list[str] = field(default_factory=list)
    """Files of the index that the folder no longer has, under any name; sorted."""
    gone: list[str] = field(default_factory=list)
    """Names that the folder no longer has: the vanished files and those that were moved; sorted."""


def plan(
    known: Mapping[str, FileRecord],
    files: Mapping[str, os.stat_result],
    *,
    digest: Callable[[str], str],
    inspect: Callable[[str], tuple[int, Kind]],
    unreadable: Mapping[str, Unreadable] | None = None,
    closed_folders: Sequence[str] = (),
    is_ready: IsReady = lambda _file, _status: True,
    report: Callable[[str], None] = lambda _file: None,
) -> Plan:
    """Compare the files of a folder with those of its index. Only `digest` and `inspect` read files.

    Args:
        known: The files of the index.
        files: The files of the folder, with their sizes and times.
        digest: Gives the hash of a file's content, or raises OSError. Called for files whose size or time has changed.
        inspect: Gives a document's number of pages and its kind, or raises DocumentError. Called for new contents.
        unreadable: Files that gave no pages when they were last read; tried again only once they have changed.
        closed_folders: Folders that could not be listed. Files that the index has below them are not gone.
        is_ready: Whether a new or changed file is ready to be read.
        report: Called with each file that is not obviously unchanged.
    """
    made = Plan()
    by_content = {(record.hash, _suffix(file)): file for file, record in known.items()}
    closed = tuple(f"{folder}/" for folder in closed_folders)
    gone = {file for file in known if file not in files and not file.startswith(closed)}
    for file, status in files.items():
        record = known.get(file)
        if record and record.is_of(status):
            made.unchanged.append(file)
            continue
        report(file)
        before = (unreadable or {}).get(file)
        if before and before.is_still(status):
            made.unreadable.append((file, before))
        elif not is_ready(file, status):
            made.waiting.append(file)
        else:
            try:
                content = digest(file)
            except OSError as error:
                made.unopened.append((file, f"cannot be read ({error.strerror})"))
                continue
            same = file if record and record.hash == content else by_content.get((content, _suffix(file)))
            if same is None:
                _inspect(made, file, content, status, inspect)
            else:
                made.duplicates.append(Duplicate(file, content, status, same, is_moved=same in gone))
    made.gone = sorted(gone)
    made.vanished = sorted(gone - {duplicate.of for duplicate in made.duplicates})
    return made


def _inspect(
    made: Plan, file: str, content: str, status: os.stat_result, inspect: Callable[[str], tuple[int, Kind]]
) -> None:
    """Put a file with new content into the plan, by whether it has pages."""
    try:
        num_pages, kind = inspect(file)
    except DocumentError as error:
        made.unreadable.append((file, Unreadable(status, str(error))))
        return
    if num_pages:
        made.new.append(NewContent(file, content, status, num_pages, kind))
    else:
        made.unreadable.append((file, Unreadable(status, "")))


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _suffix(file: str) -> str:
    return PurePosixPath(file).suffix.lower()
