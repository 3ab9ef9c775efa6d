"""A copy of an index in a bucket on the disk of whoever searches it.

What lies in a bucket is never changed, only added and removed. So a reader keeps the files of the newest version, and a
search asks the bucket for no more than the manifest and the name of the newest version: two round trips. An index that
is larger than the copies may be together is read from the bucket, and so is one that is still being copied.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from polylens.caches import cache_folder
from polylens.errors import InputError
from polylens.index.storage.bucket import BucketStorage
from polylens.index.storage.folder import folder_size
from polylens.index.storage.lock import in_turn

VARIABLE = "POLYLENS_INDEX_CACHE_GB"
"""Names how many gigabytes the copies of all indexes may take together; 0 keeps none."""
DEFAULT_GB = 8.0

AT_ONCE = 64 * 2**20  # bytes that a search waits for; more is copied beside it
_THREADS = 16
_USED = "used"  # whose time says when a copy was last searched
_LARGEST = 2**64 - 1
_NOT_COPIED = ("/_transactions/", "/latest_version_hint.json")  # what only writers read, and the one file that changes
_OLD_SECONDS = 60.0  # after which nobody reads what a later version superseded


class Mirror:
    """The copy of one index.

    Args:
        bucket: Where the index lies.
        most: Bytes that all copies may take together; None is what the environment says.

    Raises:
        InputError: The environment says no number.
    """

    def __init__(self, bucket: BucketStorage, *, most: int | None = None) -> None:
        self._bucket = bucket
        self._most = most_bytes() if most is None else most
        self._all = cache_folder() / "indexes"
        self.folder = self._all / hashlib.sha256(f"{bucket.endpoint} {bucket}".encode()).hexdigest()[:24]
        self._mutex = threading.Lock()
        self._copier: threading.Thread | None = None
        self._is_too_large: set[str] = set()
        self._open: tuple[str, int, Any] | None = None  # the name of the table, its version, and LanceDB's table

    def table(self, name: str) -> Any | None:
        """LanceDB's table at its newest version, from the copy; None where there is none that is whole.

        Args:
            name: The table's name.

        Raises:
            StorageUnavailableError: The bucket does not answer, or refuses.
        """
        if not self._most or name in self._is_too_large:
            return None
        newest = self._newest(name)
        with self._mutex:
            if self._open is not None and self._open[:2] == (name, newest):
                return self._open[2]
            if self._copier is not None and self._copier.is_alive():
                return None
            missing = self._missing(name, newest)
            if missing is None:
                self._is_too_large.add(name)
                return None
            if sum(missing.values()) > AT_ONCE:
                self._copier = threading.Thread(target=self._copy, args=(missing,), name="polylens-mirror", daemon=True)
                self._copier.start()
                return None
            if not self._copy(missing):
                return None
            opened = self._opened(name, newest)
            self._open = None if opened is None else (name, newest, opened)
            return opened

    def _newest(self, name: str) -> int:
        """The newest version of a table: the first name of those that there are, as they count down."""
        versions = [_version(path) for path, *_ in self._bucket.objects(f"{name}.lance/_versions", first=True)]
        return max(versions, default=0)

    def _missing(self, name: str, newest: int) -> dict[str, int] | None:
        """The sizes of the objects that are to be copied; None where all of them would be too many bytes.

        The newest version was looked up before, so that everything it consists of is among them.
        """
        sizes = {
            path: size
            for path, size, *_ in self._bucket.objects(f"{name}.lance")
            if _version(path) <= newest and not any(part in path for part in _NOT_COPIED)
        }
        if sum(sizes.values()) > self._most:
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / _USED).touch()
        with in_turn(self.folder / "changes"):
            self._remove_others(sizes)
            self._make_room(sum(sizes.values()))
            return {path: size for path, size in sizes.items() if not _is_there(self.folder / path, size)}

    def _remove_others(self, sizes: Mapping[str, int]) -> None:
        """Remove what the bucket has no more, once nobody can be reading it."""
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder).as_posix()
            is_of_a_table = ".lance/" in name and path.is_file()
            if is_of_a_table and name not in sizes and path.stat().st_mtime < time.time() - _OLD_SECONDS:
                path.unlink(missing_ok=True)

    def _make_room(self, needed: int) -> None:
        """Remove the copies of other indexes that were searched longest ago, as far as they take too much."""
        others = [each for each in self._all.iterdir() if each.is_dir() and each != self.folder]
        others.sort(key=lambda each: (each / _USED).stat().st_mtime if (each / _USED).exists() else 0.0)
        taken = {each: folder_size(each) for each in others}
        for each in others:
            if needed + sum(taken.values()) <= self._most:
                return
            shutil.rmtree(each, ignore_errors=True)
            del taken[each]

    def _copy(self, missing: Mapping[str, int]) -> bool:
        """Copy objects, those that name versions last; False where one has gone meanwhile."""
        data = [path for path in missing if "/_versions/" not in path]
        try:
            with ThreadPoolExecutor(_THREADS) as pool:
                list(pool.map(self._copy_one, data))
                list(pool.map(self._copy_one, missing.keys() - set(data)))
        except OSError:  # compacted away, or no room: the bucket answers
            return False
        return True

    def _copy_one(self, path: str) -> None:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
        try:
            beside.write_bytes(self._bucket.read(path))
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)

    def _opened(self, name: str, newest: int) -> Any | None:
        import lancedb

        try:
            table = lancedb.connect(self.folder).open_table(name)
        except (ValueError, OSError, RuntimeError):  # another process has just removed some of it
            return None
        return table if int(table.version) == newest else None


def most_bytes() -> int:
    """Bytes that the copies may take together, as the environment says.

    Raises:
        InputError: It says no number.
    """
    said = os.environ.get(VARIABLE) or str(DEFAULT_GB)
    try:
        gigabytes = float(said)
        if not 0 <= gigabytes < float("inf"):
            raise ValueError
    except ValueError:
        raise InputError(f"{VARIABLE} must be a number of gigabytes, 0 for none, got {said!r}") from None
    return round(gigabytes * 1e9)


def mirror_of(storage: Any) -> Mirror | None:
    """The copy of an index in a bucket; None for one that lies on a disk."""
    return Mirror(storage) if isinstance(storage, BucketStorage) else None


def _version(path: str) -> int:
    """The version that a manifest is of, by its name, which counts down; 0 for any other object."""
    folder, _, name = path.rpartition("/")
    stem, _, suffix = name.partition(".")
    if not folder.endswith("_versions") or suffix != "manifest" or not stem.isdigit():
        return 0
    return _LARGEST - int(stem) if len(stem) == 20 else int(stem)


def _is_there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
