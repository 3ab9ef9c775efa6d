"""Where the index of a folder is found."""

from __future__ import annotations

from pathlib import Path

from polylens.errors import LibraryNotFoundError
from polylens.index.storage.redirect import REDIRECT

INDEX_FOLDER = ".polylens"


def find_library(start: str | Path = ".") -> Path:
    """The nearest folder upwards from `start` that holds an index or redirects to one, as git finds its repository.

    Raises:
        LibraryNotFoundError: There is none.
    """
    start = Path(start).expanduser().resolve()
    for folder in (start, *start.parents):
        if any((folder / INDEX_FOLDER / name).is_file() for name in ("index.json", REDIRECT)):
            return folder
    raise LibraryNotFoundError(f"no index in {start} or above it; make one with `polylens index FOLDER`")
