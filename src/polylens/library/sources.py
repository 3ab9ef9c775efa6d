"""Where the files of a library lie: in a folder of this machine, or as objects below a prefix in a bucket."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from polylens.documents.opening import kind_of
from polylens.documents.reader_processes import readers
from polylens.documents.scan import MAX_FILE_BYTES, UNSUPPORTED, Contents, is_watched, scan
from polylens.types import Kind


class Source(Protocol):
    """The files that an index is brought up to date with."""

    def __str__(self) -> str:
        """Its name as a user writes it."""

    def contents(self) -> Contents:
        """The files that have pages, with sizes and times, and those that are left out."""

    def digest(self, file: str) -> str:
        """The hash of a file's content.

        Raises:
            OSError: It cannot be read.
        """

    def inspect(self, file: str) -> tuple[int, Kind]:
        """The number of a file's pages, or 1 where only opening it would tell, and its kind.

        Raises:
            DocumentError: It cannot be read.
        """

    def locate(self, file: str) -> Path | str:
        """The path of a file, or its address `s3://BUCKET/KEY`."""


class FolderSource:
    """A folder of this machine.

    Args:
        folder: Its path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def contents(self) -> Contents:
        return scan(self.folder)

    def digest(self, file: str) -> str:
        with (self.folder / file).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    def inspect(self, file: str) -> tuple[int, Kind]:
        with readers().open(self.folder / file) as document:
            return document.num_pages, document.kind

    def locate(self, file: str) -> Path:
        return self.folder / file


class Objects(Protocol):
    """What a source needs of a bucket; `storage.bucket.BucketStorage` is one."""

    def __str__(self) -> str:
        """Its address."""

    def objects(self) -> Iterator[tuple[str, int, str, datetime]]:
        """Everything that lies there: its name, bytes, the tag of its state, and when it was put."""


class BucketSource:
    """The objects below a prefix. Their contents are told apart by the tags that the storage gives them.

    Args:
        objects: Those below the prefix.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._tags: dict[str, str] = {}

    def __str__(self) -> str:
        return str(self._objects)

    def contents(self) -> Contents:
        contents = Contents()
        for key, size, tag, modified in self._objects.objects():
            if not is_watched(key):
                continue
            if kind_of(key) is None:
                contents.passed_over.append((key, UNSUPPORTED))
            elif size > MAX_FILE_BYTES:
                contents.passed_over.append((key, f"is larger than {MAX_FILE_BYTES // 2**20} MB"))
            else:
                times = {"st_mtime_ns": round(modified.timestamp() * 1e9)}
                contents.files[key] = os.stat_result((0, 0, 0, 1, 0, 0, size, 0, 0, 0), times)
                self._tags[key] = tag.strip('"')
        return contents

    def digest(self, file: str) -> str:
        return f"etag {self._tags[file]}"

    def inspect(self, file: str) -> tuple[int, Kind]:
        kind = kind_of(file)
        assert kind is not None, "it was listed"
        return 1, kind

    def locate(self, file: str) -> str:
        return f"{self._objects}/{file}"
