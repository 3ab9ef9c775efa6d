"""The lock of an index on object storage: a lease, as a bucket has no lock that its holder's death releases.

The lease is one object that its holder renews, by a put that the storage refuses if anyone else has put since
(`If-Match`).
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from typing import Protocol

from polylens.errors import LibraryBusyError, StorageUnavailableError
from polylens.index.storage.lock import Holder, Purpose, busy

LEASE_SECONDS = 60.0  # without a renewal after which the next writer may take over
RENEW_SECONDS = 10.0

LOCK = "lock"


class ObjectStore(Protocol):
    """What a lease needs of a bucket; `bucket.BucketStorage` is one."""

    def get(self, name: str) -> tuple[bytes, str, datetime]:
        """An object, its tag, and when it was put by the storage's clock."""

    def put_if(self, name: str, content: bytes, tag: str | None) -> str | None:
        """Put an object if its tag is still this one; None where it is not."""

    def write(self, name: str, content: bytes) -> None:
        """Put an object."""

    def remove(self, name: str) -> None:
        """Delete an object."""


class Lease:
    """The lock of an index in a bucket, from the constructor to `close`; a thread renews it.

    The object `lock` names its holder, and is never deleted: deleting could hit another's. A killed holder renews it
    no longer, and the first writer to come `LEASE_SECONDS` later takes it over.

    Args:
        bucket: Where the index lies.
        purpose: What it is held for.

    Raises:
        LibraryBusyError: Another has it.
        StorageUnavailableError: The storage does not answer, or refuses.
    """

    def __init__(self, bucket: ObjectStore, purpose: Purpose = "write") -> None:
        self._bucket = bucket
        self._said = {**asdict(Holder.here(purpose)), "holder": uuid.uuid4().hex}  # this one, told from all others
        self._mutex = threading.Lock()
        self._end = threading.Event()
        self._tag: str | None = self._take()
        self._renewed = time.time()
        self._thread = threading.Thread(target=self._keep, name="polylens-lease", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Make sure that the lease is still held.

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
        """The time by the storage's clock, which also says when an object was put: the clocks of machines differ."""
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
        """The tag of the lease where it is ours after all: the put went through, and its answer was lost."""
        try:
            content, tag, _ = self._bucket.get(LOCK)
        except FileNotFoundError:
            return None
        return tag if self._said["holder"].encode() in content else None

    def _content(self) -> bytes:
        # A tag is a hash of the content, so each renewal says something new.
        return json.dumps({**self._said, "renewal": uuid.uuid4().hex}, ensure_ascii=False).encode("utf-8", "replace")


def current_holder(bucket: ObjectStore) -> Holder | None:
    """Who is writing to an index right now, as far as this machine's clock is right; None where nobody is.

    Args:
        bucket: Where the index lies.
    """
    try:
        content, _, renewed = bucket.get(LOCK)
    except FileNotFoundError:
        return None
    is_over = datetime.now(UTC) - renewed > timedelta(seconds=LEASE_SECONDS)
    return None if is_over else _holder(content)


def _holder(content: bytes) -> Holder | None:
    """The holder that a lease names; None where it was given back."""
    try:
        said = json.loads(content)
        return Holder(**{field.name: said[field.name] for field in fields(Holder)})
    except (ValueError, KeyError, TypeError):
        return None
