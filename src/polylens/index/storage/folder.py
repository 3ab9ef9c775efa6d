"""An index in a folder of this machine."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from polylens.atomic import SUFFIX as PARTIAL
from polylens.atomic import write_beside
from polylens.errors import InputError, StorageError
from polylens.index.storage.base import INDICES, Storage
from polylens.index.storage.disk_errors import translated
from polylens.index.storage.lock import Holder, Purpose, SharedPresence, WriterLock, holder_of, in_turn, is_locked


class FolderStorage(Storage):
    """A folder of this machine.

    Args:
        path: The folder that holds the index itself, such as `~/Documents/.polylens`.
    """

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

    def lock(self, purpose: Purpose = "write") -> WriterLock:
        return WriterLock(self.path / "lock", purpose)

    def join(self) -> SharedPresence:
        return SharedPresence(self.path / "writers")

    def has_writers(self) -> bool:
        return is_locked(self.path / "writers")

    def change(self, name: str, edit: Callable[[bytes | None], bytes]) -> None:
        with in_turn(self.path / "changes"):
            self.write(name, edit(self.read(name) if self.has(name) else None))

    def holder(self) -> Holder | None:
        return holder_of(self.path / "lock")

    def connect(self) -> Any:
        import lancedb

        return lancedb.connect(self.path)

    def tables(self) -> list[str]:
        return sorted(table.stem for table in self.path.glob("*.lance"))

    def size(self, table: str | None = None) -> int:
        return folder_size(self.path) if table is None else folder_size(self.path / f"{table}.lance", skip=INDICES)

    def names(self, below: str) -> list[str]:
        folder = self.path / below
        return sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        (self.path / name).parent.mkdir(exist_ok=True)
        with write_beside(self.path / name, fsync=True) as beside:
            beside.write_bytes(content)

    def rename(self, old: str, new: str) -> None:
        (self.path / old).replace(self.path / new)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def partial_files(self) -> list[str]:
        return sorted(file.name for file in self.path.glob(f"*.json{PARTIAL}"))

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def writing(self) -> AbstractContextManager[None]:
        return translated(self.path)


def folder_size(folder: Path, *, skip: Collection[str] = ()) -> int:
    """Bytes that the files in a folder and below it take; files that vanish meanwhile count nothing.

    Args:
        folder: Where to count.
        skip: Names of folders directly in it that are left out.
    """
    total = 0
    for root, folders, names in os.walk(folder):
        if Path(root) == folder:
            folders[:] = [name for name in folders if name not in skip]
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118 - many small calls
            except OSError:
                continue
    return total
