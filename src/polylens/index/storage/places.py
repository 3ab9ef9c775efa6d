"""Where an index lies: in a folder of this machine, or under `s3://BUCKET/PREFIX` on object storage.

Either way it is the same LanceDB table with a manifest beside it, which `store` reads and writes.
"""

from __future__ import annotations

import contextlib
import errno
import os
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from polylens.errors import InputError, StorageError
from polylens.index.storage.disk import bytes_of, writing
from polylens.index.storage.lock import Holder, Lock, WriterLock, holder_of

ELSEWHERE = "elsewhere"
"""In the folder that would hold an index: a file that says where it lies instead."""


class Place(ABC):
    """Where an index lies: tables of LanceDB, and small files beside them, each of which appears whole."""

    is_remote: bool
    """Whether it is on object storage: then a writer that is held up for long loses its lock, and may not know yet."""

    @abstractmethod
    def __str__(self) -> str:
        """As a person names it."""

    @abstractmethod
    def prepare(self) -> None:
        """Make it, where it is missing and can be made.

        Raises:
            InputError: It cannot be written to.
            StorageError: There is no room.
        """

    @abstractmethod
    def lock(self) -> Lock:
        """The right to write to it.

        Raises:
            LibraryBusyError: Another writer has it.
            InputError: It cannot be written to.
        """

    @abstractmethod
    def holder(self) -> Holder | None:
        """Who is writing to it right now; None where nobody is."""

    @abstractmethod
    def connect(self) -> Any:
        """LanceDB's connection to its tables."""

    @abstractmethod
    def tables(self) -> list[str]:
        """The names of its tables, sorted."""

    @abstractmethod
    def size(self, table: str | None = None) -> int:
        """Bytes that all of it takes, or a table without its indices."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A small file.

        Raises:
            FileNotFoundError: It is not there.
        """

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Put a small file there, in one step; one that is there is replaced."""

    @abstractmethod
    def rename(self, old: str, new: str) -> None:
        """Let a small file take another's place, which changes in one step. The old name may stay if this dies."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a small file; harmless where there is none."""

    @abstractmethod
    def leftovers(self) -> list[str]:
        """Small files that a writer left half-made."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[None]:
        """Turns what the storage says while it is written to into an error of ours.

        Raises:
            StorageError: There is no room, or the storage fails or refuses.
        """

    def reading(self) -> AbstractContextManager[None]:
        """The same while it is read."""
        return contextlib.nullcontext()

    @abstractmethod
    def has(self, name: str) -> bool:
        """Is there a small file of this name?"""


class Folder(Place):
    """A folder of this machine."""

    is_remote = False

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def prepare(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # An index is nothing to put under version control.
            (self.path / ".gitignore").write_text("*\n", encoding="utf-8")
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise StorageError(f"{self.path} cannot be written to ({error.strerror}); make room first") from error
            raise InputError(f"{self.path} cannot be written to ({error.strerror})") from error

    def lock(self) -> WriterLock:
        return WriterLock(self.path / "lock")

    def holder(self) -> Holder | None:
        return holder_of(self.path / "lock")

    def connect(self) -> Any:
        import lancedb

        return lancedb.connect(self.path)

    def tables(self) -> list[str]:
        return sorted(table.stem for table in self.path.glob("*.lance"))

    def size(self, table: str | None = None) -> int:
        return bytes_of(self.path) if table is None else bytes_of(self.path / f"{table}.lance", without="_indices")

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        beside = self.path / f".{name}.{os.getpid()}"
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path / name)

    def rename(self, old: str, new: str) -> None:
        (self.path / old).replace(self.path / new)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def leftovers(self) -> list[str]:
        return sorted(file.name for file in self.path.glob(".*.json.*"))

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def writing(self) -> AbstractContextManager[None]:
        return writing(self.path)


def place_of(where: str | Path | Place) -> Place:
    """A place by its name: `s3://BUCKET/PREFIX`, or else a folder.

    Raises:
        InputError: It is an address of another kind, or what object storage needs is not installed.
    """
    if isinstance(where, Place):
        return where
    if not is_remote(where):
        return Folder(Path(where))
    from polylens.index.storage.bucket import Bucket

    return Bucket(str(where))


def is_remote(where: str | Path) -> bool:
    """Whether this names something other than a folder.

    Example:
        >>> is_remote("s3://papers/index"), is_remote("papers/index"), is_remote(Path("papers"))
        (True, False, False)
    """
    return isinstance(where, str) and "://" in where


def elsewhere(folder: str | Path) -> str | None:
    """Where the index lies that is not in this folder; None where nothing was said of it.

    Args:
        folder: That would hold it, or no folder at all.
    """
    try:
        return (Path(folder) / ELSEWHERE).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def remember(folder: Path, place: Place) -> None:
    """Say in this folder where the index lies, for `elsewhere`. One that cannot be written to says nothing.

    Args:
        folder: That would hold it.
        place: That does.
    """
    if elsewhere(folder) == str(place):
        return
    here = Folder(folder)
    with contextlib.suppress(InputError, OSError):  # then it has to be named each time
        here.prepare()
        here.write(ELSEWHERE, f"{place}\n".encode())
