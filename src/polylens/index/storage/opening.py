"""The storage that a name stands for."""

from __future__ import annotations

from pathlib import Path

from polylens.index.storage.base import Storage
from polylens.index.storage.folder import FolderStorage


def open_storage(uri: str | Path | Storage) -> Storage:
    """The storage of this name: `s3://BUCKET/PREFIX`, or else a folder. A `Storage` is returned as it is.

    Raises:
        InputError: The address is of another kind, or what object storage needs is not installed.
    """
    if isinstance(uri, Storage):
        return uri
    if not is_remote(uri):
        return FolderStorage(Path(uri))
    from polylens.index.storage.bucket import BucketStorage  # obstore is an extra

    return BucketStorage(str(uri))


def is_remote(uri: str | Path) -> bool:
    """Whether this names something other than a folder.

    Example:
        >>> is_remote("s3://papers/index"), is_remote("papers/index"), is_remote(Path("papers"))
        (True, False, False)
    """
    return isinstance(uri, str) and "://" in uri
