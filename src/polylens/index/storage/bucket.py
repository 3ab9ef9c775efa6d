"""An index on object storage: a bucket of S3, or of anything that speaks its language.

Objects appear whole and are never changed, so a table of LanceDB is as safe there as on a disk, and any number of
machines may read it. Object storage has no lock that is released when its holder dies; `lease` has what stands for it.

LanceDB and obstore are built on the same client (object_store, in Rust) and read the same environment: AWS_REGION,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and so on.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

from polylens.errors import InputError, PolylensError, StorageUnavailableError
from polylens.index.storage.base import INDICES, Storage
from polylens.index.storage.lease import Lease, current_holder
from polylens.index.storage.lock import Holder, Purpose

_CLIENT: Any = {"connect_timeout": "5s", "timeout": "60s"}
_RETRIES: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}

_CHANGES = 8  # tries to change a small file that others change as well
_CONDITIONAL: set[tuple[str, str]] = set()  # endpoints and buckets that were found to honour conditional puts

_ADDRESS = re.compile(r"s3://(?P<name>[^/]+)(?:/(?P<prefix>.*))?")
_REFUSALS = re.compile(
    "InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|ExpiredToken"
    "|lacked the necessary privileges|lacked valid authentication credentials"  # object_store, of 403 and 401
)
_OF_STORAGE = re.compile(r'store: "S3"|Generic S3 error|HTTP error|Error performing|<Code>')


class BucketStorage(Storage):
    """A prefix in a bucket of object storage.

    Args:
        address: `s3://BUCKET/PREFIX`; without a prefix the whole bucket.

    Raises:
        InputError: The address is not of this form, or obstore is not installed.
    """

    is_remote = True

    def __init__(self, address: str) -> None:
        found = _ADDRESS.fullmatch(address)
        if not found:
            raise InputError(f"an index on object storage is named s3://BUCKET/PREFIX, got {address!r}")
        try:
            from obstore.store import S3Store
        except ModuleNotFoundError as missing:
            raise InputError(
                f"{address} needs {missing.name}, which is not installed; it comes with pip install 'polylens[s3]'"
            ) from missing
        self.name = found["name"]
        self.prefix = (found["prefix"] or "").strip("/")
        options: Any = {**_CLIENT, "allow_http": _endpoint().startswith("http://")}
        self._objects = S3Store(self.name, prefix=self.prefix or None, client_options=options, retry_config=_RETRIES)

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}".rstrip("/")

    def prepare(self) -> None:
        """Does nothing: a prefix need not be created, and a bucket is its owner's to create."""

    def lock(self, purpose: Purpose = "write") -> Lease:
        self._require_conditional_puts()
        return Lease(self, purpose)

    def join(self) -> _Unseen:
        self._require_conditional_puts()
        return _Unseen()

    def has_writers(self) -> bool:
        return False

    def shortcoming(self) -> str:
        """Why it cannot have several writers: it takes a put whose condition does not hold. Tried once per process."""
        if (_endpoint(), self.name) in _CONDITIONAL:
            return ""
        probe = f"probe.{uuid.uuid4().hex}"
        try:
            is_put = self.put_if(probe, b"first", None) is not None
            conditions = {"If-None-Match": None, "If-Match": f'"{"0" * 32}"'}
            ignored = [name for name, tag in conditions.items() if self.put_if(probe, name.encode(), tag) is not None]
        finally:
            self.remove(probe)
        if ignored or not is_put:
            return (
                f"{self} ignores conditional puts ({' and '.join(ignored) or 'it refuses those that hold'}), so two "
                "writers would undo each other's commits. It can be searched, not written to; copy the index to a "
                "storage that honours them, as Amazon S3 and MinIO do"
            )
        _CONDITIONAL.add((_endpoint(), self.name))
        return ""

    def _require_conditional_puts(self) -> None:
        if reason := self.shortcoming():
            raise StorageUnavailableError(reason)

    def holder(self) -> Holder | None:
        return current_holder(self)

    def connect(self) -> Any:
        import lancedb

        options = {**_CLIENT, "allow_http": "true"} if _endpoint().startswith("http://") else _CLIENT
        return lancedb.connect(str(self), storage_options=options)

    def tables(self) -> list[str]:
        import obstore

        with self.reading():
            folders = obstore.list_with_delimiter(self._objects)["common_prefixes"]
        return sorted(folder.removesuffix(".lance") for folder in folders if folder.endswith(".lance"))

    def size(self, table: str | None = None) -> int:
        import obstore

        prefix = None if table is None else f"{table}.lance"
        with self.reading():
            objects = obstore.list(self._objects, prefix).collect()
        return sum(each["size"] for each in objects if table is None or not _is_of_an_index(each["path"]))

    def names(self, below: str) -> list[str]:
        return sorted(name.removeprefix(f"{below}/") for name, *_ in self.objects(below))

    def objects(self, below: str | None = None, *, first: bool = False) -> Iterator[tuple[str, int, str, datetime]]:
        """Everything that lies there: its name, bytes, the tag of its state, and when it was put.

        Args:
            below: Only what lies below this name.
            first: Only the first few dozen, by name.
        """
        import obstore

        with self.reading():
            for batch in obstore.list(self._objects, below):
                yield from ((each["path"], each["size"], each["e_tag"] or "", each["last_modified"]) for each in batch)
                if first:
                    return

    @property
    def endpoint(self) -> str:
        """The address of the storage; "" for Amazon's."""
        return _endpoint()

    def read(self, name: str) -> bytes:
        return self.get(name)[0]

    def get(self, name: str) -> tuple[bytes, str, datetime]:
        """An object, the tag of its state, and when it was put by the storage's clock.

        Raises:
            FileNotFoundError: There is no such object.
            StorageUnavailableError: The storage does not answer, or refuses.
        """
        import obstore

        with self.reading():
            found = obstore.get(self._objects, name)
            return bytes(found.bytes()), found.meta["e_tag"] or "", found.meta["last_modified"]

    def write(self, name: str, content: bytes) -> None:
        import obstore

        with self.writing():
            obstore.put(self._objects, name, content)

    def put_if(self, name: str, content: bytes, tag: str | None) -> str | None:
        """Put an object if it is still in a known state.

        Args:
            name: The object's name.
            content: Its new content.
            tag: The tag of its known state; None if there must be no such object yet.

        Returns:
            The tag of its new state; None where another writer was quicker.

        Raises:
            StorageUnavailableError: The storage does not answer, or refuses.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self.writing():
            try:
                put = obstore.put(self._objects, name, content, mode={"e_tag": tag} if tag else "create")
            except (AlreadyExistsError, PreconditionError):
                return None
            return put["e_tag"] or ""

    def change(self, name: str, edit: Callable[[bytes | None], bytes]) -> None:
        for attempt in range(_CHANGES):
            try:
                content, tag, _ = self.get(name)
                changed = edit(content)
            except FileNotFoundError:
                tag, changed = "", edit(None)
            if self.put_if(name, changed, tag or None) is not None:
                return
            time.sleep(random.uniform(0.0, 0.05 * 2**attempt))  # full jitter
        raise StorageUnavailableError(f"{self}/{name} is changed by too many processes at once; try again")

    def rename(self, old: str, new: str) -> None:
        self.write(new, self.read(old))
        self.remove(old)

    def remove(self, name: str) -> None:
        import obstore

        with self.writing():
            obstore.delete(self._objects, name)

    def partial_files(self) -> list[str]:
        return []  # an object appears whole or not at all

    def has(self, name: str) -> bool:
        try:
            self.read(name)
        except FileNotFoundError:
            return False
        return True

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, RuntimeError, OSError, ValueError) as error:  # LanceDB has the storage's words in all three
            said = str(error)
            is_missing = isinstance(error, FileNotFoundError) and "NoSuchBucket" not in said
            is_of_storage = isinstance(error, BaseError) or _OF_STORAGE.search(said)
            if isinstance(error, PolylensError) or is_missing or not is_of_storage:
                raise
            raise StorageUnavailableError(f"{self} cannot be used: {_reason(said, self.name)}") from error

    def reading(self) -> AbstractContextManager[None]:
        return self.writing()


def _is_of_an_index(path: str) -> bool:
    return any(f"/{folder}/" in path for folder in INDICES)


class _Unseen:
    """A writer of an index in a bucket: nobody there knows of the others."""

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        yield False

    def close(self) -> None:
        """Nothing is to be given back."""


def _endpoint() -> str:
    """The address of the storage; "" for Amazon's."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _reason(said: str, bucket: str) -> str:
    """What a client's error means, in one line with what would do."""
    at = _endpoint() or "Amazon"
    if "NoSuchBucket" in said:
        return f"there is no bucket {bucket} at {at}; make it first, or correct its name or AWS_ENDPOINT_URL"
    if "169.254.169.254" in said or "CredentialsNotLoaded" in said:
        return "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if _REFUSALS.search(said):
        code = re.search(r"<Code>(\w+)</Code>", said)  # the answer to a HEAD has none
        named = f" ({code[1]})" if code else ""
        return (
            f"{at} refuses{named}; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do with the "
            f"bucket {bucket}"
        )
    if "PermanentRedirect" in said or "301 Moved" in said:
        return f"the bucket {bucket} is in another region; set AWS_REGION"
    if "error sending request" in said or "timed out" in said:
        return f"{at} does not answer; check the network and AWS_ENDPOINT_URL"
    return said.splitlines()[0][:300]
