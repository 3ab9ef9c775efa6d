"""What an index needs of the storage that it lies on: a folder of this machine, or object storage.

Either way it is the same LanceDB table with a manifest beside it, which `table` reads and writes.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from polylens.index.storage.lock import Holder, Lock, Presence, Purpose

T = TypeVar("T")

INDICES = ("_indices", "tokens")
"""Folders of a table that hold its indices: LanceDB's, and that of token vectors."""


class Storage(ABC):
    """Where an index lies: LanceDB tables, and small files beside them, each of which appears whole."""

    is_remote: bool
    """Whether this is object storage: a writer that is held up for long loses its lock there, and may not know yet."""

    @abstractmethod
    def __str__(self) -> str:
        """Its name as a user writes it."""

    @abstractmethod
    def prepare(self) -> None:
        """Create it, where it is missing and can be created.

        Raises:
            InputError: It cannot be written to.
            StorageError: There is no room.
        """

    @abstractmethod
    def lock(self, purpose: Purpose = "write") -> Lock:
        """Take the lock, which one process has at a time.

        Raises:
            LibraryBusyError: Another has it.
            InputError: It cannot be written to.
            StorageUnavailableError: It cannot have several writers; see `join`.
        """

    @abstractmethod
    def join(self) -> Presence:
        """Be one of its writers.

        Raises:
            InputError: It cannot be written to.
            StorageUnavailableError: It ignores conditional writes, so that writers would undo each other's commits.
        """

    def shortcoming(self) -> str:
        """Why it cannot have several writers, as a sentence without its full stop; "" where it can.

        Raises:
            StorageUnavailableError: It does not answer, or nobody may write to it.
        """
        return ""

    @abstractmethod
    def holder(self) -> Holder | None:
        """Who has the lock right now; None where nobody has."""

    @abstractmethod
    def has_writers(self) -> bool:
        """Whether any writer is there. Object storage does not know, and says no."""

    @abstractmethod
    def change(self, name: str, edit: Callable[[bytes | None], bytes]) -> None:
        """Replace a small file by what becomes of it, in one step, however many others change it at the same time.

        Args:
            name: The file's name.
            edit: Gives the new content for the old; None where there is none. It may be called several times.
        """

    @abstractmethod
    def connect(self) -> Any:
        """Open LanceDB's connection to its tables."""

    @abstractmethod
    def tables(self) -> list[str]:
        """The names of its tables, sorted."""

    @abstractmethod
    def size(self, table: str | None = None) -> int:
        """Bytes that all of it takes, or one table without its indices, that of token vectors included."""

    @abstractmethod
    def names(self, below: str) -> list[str]:
        """The names of the files directly in a folder, sorted; none where there is no such folder."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Read a small file.

        Raises:
            FileNotFoundError: There is none.
        """

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a small file in one step; an existing one is replaced."""

    @abstractmethod
    def rename(self, old: str, new: str) -> None:
        """Replace the file `new` by the file `old` in one step. The old name may remain if the process dies."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a small file; harmless where there is none."""

    @abstractmethod
    def partial_files(self) -> list[str]:
        """Small files that a writer began and never finished."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[None]:
        """A block that writes: errors of the storage become errors of this package.

        Raises:
            StorageError: There is no room, or the storage fails or refuses.
        """

    def reading(self) -> AbstractContextManager[None]:
        """A block that reads: errors of the storage become errors of this package.

        Raises:
            StorageUnavailableError: Object storage does not answer, or refuses.
        """
        return contextlib.nullcontext()

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether there is a small file of this name."""


def joined(base: Mapping[str, T], ours: Mapping[str, T], theirs: Mapping[str, T]) -> dict[str, T]:
    """Entries that two writers changed at the same time: what this one changed, and all else as the other left it.

    Args:
        base: The entries as this writer read them.
        ours: As this writer has them now.
        theirs: As they lie there now.

    Example:
        >>> joined({"a": 1, "b": 1}, {"a": 2}, {"a": 1, "b": 1, "c": 3})
        {'a': 2, 'c': 3}
    """
    changed = {key for key in base.keys() | ours.keys() if base.get(key) != ours.get(key)}
    kept = {key: value for key, value in theirs.items() if key not in changed}
    return dict(sorted({**kept, **{key: ours[key] for key in changed & ours.keys()}}.items()))
