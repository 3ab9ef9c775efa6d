"""A file in the folder that would hold an index, which says where the index lies instead."""

from __future__ import annotations

import contextlib
from pathlib import Path

from polylens.errors import InputError
from polylens.index.storage.base import Storage
from polylens.index.storage.folder import FolderStorage

REDIRECT = "elsewhere"
"""The file's name. It is part of the format on disk."""


def read_redirect(folder: str | Path) -> str | None:
    """The address of the index that this folder redirects to; None where it redirects nowhere.

    Args:
        folder: The folder that would hold the index; it need not exist.
    """
    try:
        return (Path(folder) / REDIRECT).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def write_redirect(folder: Path, storage: Storage) -> None:
    """Let this folder redirect to the storage of its index. A folder that cannot be written to is left alone.

    Args:
        folder: The folder that would hold the index.
        storage: Where the index lies.
    """
    if read_redirect(folder) == str(storage):
        return
    here = FolderStorage(folder)
    with contextlib.suppress(InputError, OSError):  # then the index has to be named each time
        here.prepare()
        here.write(REDIRECT, f"{storage}\n".encode())
