"""Where classifiers are kept: a folder of one server, or a prefix in a bucket, which several servers share."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from polylens.atomic import write_beside
from polylens.errors import InputError, StorageError, StorageUnavailableError
from polylens.index.storage.opening import is_remote

_log = logging.getLogger(__name__)


class Shelf(Protocol):
    """Small files by name, each of which appears whole."""

    is_shared: bool
    """Whether other servers may change them."""

    def __str__(self) -> str:
        """Its name as a user writes it."""

    def states(self) -> Mapping[str, str]:
        """The files that lie there, sorted, each with a tag of its state; "" where nobody else changes it."""

    def opened(self, name: str) -> AbstractContextManager[tuple[BinaryIO, str]]:
        """A block that reads a file, with the tag of its state.

        Raises:
            FileNotFoundError: There is none.
            OSError: It cannot be read.
            StorageUnavailableError: Object storage does not answer, or refuses.
        """

    def put(self, name: str, content: bytes, tag: str | None) -> bool:
        """Write a file if it is still in a known state, and say whether it was.

        Args:
            name: The file's name.
            content: Its new content.
            tag: The tag of its known state; None where there must be none yet.

        Raises:
            StorageError: It cannot be written.
        """

    def count(self, name: str, edit: Callable[[bytes | None], bytes]) -> None:
        """Replace a file that may be lost by what becomes of it, which others may change at the same time.

        Raises:
            OSError: It cannot be written.
        """

    def remove(self, name: str) -> None:
        """Remove a file; harmless where there is none."""


def open_shelf(place: str | Path) -> Shelf:
    """The shelf of this name: `s3://BUCKET/PREFIX`, or else a folder.

    Raises:
        InputError: The address is of another kind, or what object storage needs is not installed.
    """
    if not is_remote(place):
        return FolderShelf(Path(place))
    if not str(place).startswith("s3://"):
        raise InputError(f"classifiers are kept in a folder or in s3://BUCKET/PREFIX, got {str(place)!r}")
    return BucketShelf(str(place))


class FolderShelf:
    """A folder that one server uses at a time.

    Args:
        folder: It is made when the first file is written.
    """

    is_shared = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def states(self) -> Mapping[str, str]:
        try:
            return {path.name: "" for path in sorted(self._folder.iterdir())}
        except FileNotFoundError:
            return {}
        except OSError as error:  # nothing can be kept there either, which training will say
            _log.warning("classifiers cannot be read from %s: %s", self._folder, error.strerror or error)
            return {}

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[tuple[BinaryIO, str]]:
        with (self._folder / name).open("rb") as file:
            yield file, ""

    def put(self, name: str, content: bytes, tag: str | None) -> bool:  # noqa: ARG002 - one server needs no tags
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with write_beside(self._folder / name, fsync=True) as beside:
                beside.write_bytes(content)
        except OSError as error:
            raise StorageError(
                f"the classifier cannot be kept in {self._folder} ({error.strerror or error}); start the server with "
                "--classifiers and a folder that it can write to"
            ) from error
        return True

    def count(self, name: str, edit: Callable[[bytes | None], bytes]) -> None:
        with write_beside(self._folder / name) as beside:
            beside.write_bytes(edit(None))

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)


class BucketShelf:
    """A prefix in a bucket, by the client and the environment that an index in one has.

    Args:
        address: `s3://BUCKET/PREFIX`.

    Raises:
        InputError: The address is not of this form, or obstore is not installed.
    """

    is_shared = True

    def __init__(self, address: str) -> None:
        from polylens.index.storage.bucket import BucketStorage

        self._bucket = BucketStorage(address)

    def __str__(self) -> str:
        return str(self._bucket)

    def states(self) -> Mapping[str, str]:
        return {name: tag for name, _, tag, _ in sorted(self._bucket.objects()) if "/" not in name}

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[tuple[BinaryIO, str]]:
        content, tag, _ = self._bucket.get(name)
        yield io.BytesIO(content), tag

    def put(self, name: str, content: bytes, tag: str | None) -> bool:
        if reason := self._bucket.shortcoming():
            raise StorageUnavailableError(reason)
        try:
            # The client repeats a put whose answer was lost, and finds what it put itself. Each content is another one.
            return self._bucket.put_if(name, content, tag) is not None or self._bucket.read(name) == content
        except FileNotFoundError:  # it was to be replaced, and has been deleted
            return False

    def count(self, name: str, edit: Callable[[bytes | None], bytes]) -> None:
        self._bucket.change(name, edit)

    def remove(self, name: str) -> None:
        self._bucket.remove(name)
