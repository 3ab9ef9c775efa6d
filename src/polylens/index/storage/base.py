"""What an index needs of the storage that it lies on: a folder of this machine, or object storage.

Either way it is the same LanceDB table with a manifest beside it, which `table` reads and writes.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any

from polylens.index.storage.lock import Holder, Lock


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
    def lock(self) -> Lock:
        """Take the right to write to it.

        Raises:
            LibraryBusyError: Another writer has it.
            InputError: It cannot be written to.
        """

    @abstractmethod
    def holder(self) -> Holder | None:
        """Who is writing to it right now; None where nobody is."""

    @abstractmethod
    def connect(self) -> Any:
        """Open LanceDB's connection to its tables."""

    @abstractmethod
    def tables(self) -> list[str]:
        """The names of its tables, sorted."""

    @abstractmethod
    def size(self, table: str | None = None) -> int:
        """Bytes that all of it takes, or one table without its indices."""

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
