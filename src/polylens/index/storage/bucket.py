"""An index on object storage: a bucket of S3, or of anything that speaks its language.

Objects appear whole and are never changed, so a table of LanceDB is as safe there as on a disk, and any number of
machines may read it. What a bucket has not is a lock that falls open when its holder dies. Here it is a *lease*: one
object that its holder renews, by a put that the storage refuses if anyone else has put since (`If-Match`).

LanceDB and obstore are built on the same client (object_store, in Rust) and read the same environment: AWS_REGION,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and so on.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from polylens.errors import InputError, LibraryBusyError, PolylensError, StorageUnavailableError
from polylens.index.storage.lock import Holder, busy
from polylens.index.storage.places import Place

LEASE_SECONDS = 60.0  # without a renewal after which the next writer may take over
RENEW_SECONDS = 10.0

LOCK = "lock"

_CLIENT: Any = {"connect_timeout": "5s", "timeout": "60s"}
_RETRIES: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}

_ADDRESS = re.compile(r"s3://(?P<name>[^/]+)(?:/(?P<prefix>.*))?")
_REFUSALS = re.compile(
    "InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|ExpiredToken"
    "|lacked the necessary privileges|lacked valid authentication credentials"  # object_store, of 403 and 401
)
_OF_STORAGE = re.compile(r'store: "S3"|Generic S3 error|HTTP error|Error performing|<Code>')


class Bucket(Place):
    """A prefix in a bucket.

    Args:
        address: `s3://BUCKET/PREFIX`; without a prefix the whole bucket.

    Raises:
        InputError: It is no such address, or obstore is not installed.
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
                f"{address} needs {missing.name}, which is not installed; it comes with pip install -e '.[s3]'"
            ) from missing
        self.name = found["name"]
        self.prefix = (found["prefix"] or "").strip("/")
        options: Any = {**_CLIENT, "allow_http": _endpoint().startswith("http://")}
        self._objects = S3Store(self.name, prefix=self.prefix or None, client_options=options, retry_config=_RETRIES)

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}".rstrip("/")

    def prepare(self) -> None:
        """A prefix need not be made, and a bucket is its owner's to make."""

    def lock(self) -> Lease:
        return Lease(self)

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
        return sum(each["size"] for each in objects if table is None or "/_indices/" not in each["path"])

    def read(self, name: str) -> bytes:
        return self.get(name)[0]

    def get(self, name: str) -> tuple[bytes, str, datetime]:
        """An object with its tag, by which it is told from its other states, and its time by the storage's clock.

        Raises:
            FileNotFoundError: It is not there.
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
        """Put an object there if it is in a state that is known.

        Args:
            name: Of the object.
            content: What it will be.
            tag: Its state; None where it must not be there.

        Returns:
            The tag of its new state; None where somebody was quicker.

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

    def rename(self, old: str, new: str) -> None:
        self.write(new, self.read(old))
        self.remove(old)

    def remove(self, name: str) -> None:
        import obstore

        with self.writing():
            obstore.delete(self._objects, name)

    def leftovers(self) -> list[str]:
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


def _endpoint() -> str:
    """Where the storage is asked; "" for Amazon's."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _reason(said: str, bucket: str) -> str:
    """What a client says, in a line with what would do."""
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


class Lease:
    """The right to write to an index in a bucket, from the constructor to `close`; a thread renews it.

    The object `lock` names its holder, and is never deleted: deleting could hit another's. A holder that was killed
    renews it no more, and whoever comes `LEASE_SECONDS` later takes it over.

    Args:
        bucket: Where the index lies.

    Raises:
        LibraryBusyError: Another has it.
        StorageUnavailableError: The storage does not answer, or refuses.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._said = {**asdict(Holder.here()), "holder": uuid.uuid4().hex}  # this one, told from all others
        self._mutex = threading.Lock()
        self._end = threading.Event()
        self._tag: str | None = self._take()
        self._renewed = time.time()
        self._thread = threading.Thread(target=self._keep, name="polylens-lease", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Make sure that it is still held.

        Raises:
            LibraryBusyError: It was lost to another, as happens to a machine that slept.
            StorageUnavailableError: It could not be renewed for so long that this is not known.
        """
        # The wall clock: the other one stands still while a machine sleeps.
        if self._tag is not None and not 0 <= time.time() - self._renewed < LEASE_SECONDS / 2:
            self._renew()
        if self._tag is None:
            holder = current_holder(self._bucket)
            raise LibraryBusyError(
                f"this process was held up for so long that another took over; {busy(holder, str(self._bucket))}"
            )

    def close(self) -> None:
        """Let the next writer in; harmless when repeated."""
        self._end.set()
        self._thread.join()
        with self._mutex, contextlib.suppress(StorageUnavailableError):  # then it has to run out
            if self._tag is not None:
                self._bucket.put_if(LOCK, b"{}", self._tag)
                self._tag = None

    def _take(self) -> str:
        try:
            content, tag, renewed = self._bucket.get(LOCK)
        except FileNotFoundError:
            content, tag, renewed = b"", None, datetime.now(UTC)
        holder = _holder(content)
        silent = self._now() - renewed if holder else timedelta(0)
        if holder and silent < timedelta(seconds=LEASE_SECONDS):
            raise LibraryBusyError(
                f"{busy(holder, str(self._bucket))}. It last said so {silent.total_seconds():.0f} s ago; if it was "
                f"killed, the same command takes over {LEASE_SECONDS:.0f} s after that"
            )
        taken = self._bucket.put_if(LOCK, self._content(), tag)
        if taken is None:
            raise LibraryBusyError(busy(current_holder(self._bucket), str(self._bucket)))
        return taken

    def _now(self) -> datetime:
        """The time by the storage's clock, by which it also says when an object was put: clocks of machines differ."""
        name = f"{LOCK}.{self._said['holder']}"
        self._bucket.write(name, b"")
        _, _, now = self._bucket.get(name)
        self._bucket.remove(name)
        return now

    def _keep(self) -> None:
        while self._tag is not None and not self._end.wait(RENEW_SECONDS):
            with contextlib.suppress(StorageUnavailableError):  # it may answer the next time
                self._renew()

    def _renew(self) -> None:
        with self._mutex:
            if self._tag is None:
                return
            started = time.time()
            tag = self._bucket.put_if(LOCK, self._content(), self._tag)
            self._tag = tag if tag is not None else self._own_tag()
            self._renewed = started

    def _own_tag(self) -> str | None:
        """The tag of the lease where it is ours after all: a put that went through, though its answer was lost."""
        try:
            content, tag, _ = self._bucket.get(LOCK)
        except FileNotFoundError:
            return None
        return tag if self._said["holder"].encode() in content else None

    def _content(self) -> bytes:
        # A tag is a hash of the content, so each renewal says something new.
        return json.dumps({**self._said, "renewal": uuid.uuid4().hex}, ensure_ascii=False).encode("utf-8", "replace")


def current_holder(bucket: Bucket) -> Holder | None:
    """Who is writing to an index right now, as far as this machine's clock is right; None where nobody is.

    Args:
        bucket: Where it lies.
    """
    try:
        content, _, renewed = bucket.get(LOCK)
    except FileNotFoundError:
        return None
    is_over = datetime.now(UTC) - renewed > timedelta(seconds=LEASE_SECONDS)
    return None if is_over else _holder(content)


def _holder(content: bytes) -> Holder | None:
    """Whom a lease names; None where it was given back."""
    try:
        said = json.loads(content)
        return Holder(**{field.name: said[field.name] for field in fields(Holder)})
    except (ValueError, KeyError, TypeError):
        return None
