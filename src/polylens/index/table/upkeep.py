"""Upkeep of an index: its indices of words and vectors, small fragments merged, superseded versions freed.

Whoever has the lock does it, while others go on committing. It never waits until every page is indexed: others may add
faster than it indexes. What it cannot do, since others came between, the next one does.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from polylens.errors import LibraryBusyError
from polylens.index.ranking import dense, full_text
from polylens.index.storage.base import Storage
from polylens.index.storage.lock import Lock, Presence, busy
from polylens.index.table import token_index
from polylens.index.table.conflicts import retried
from polylens.index.table.token_index import Told
from polylens.index.table.waste import is_wasteful

COMPACT_AT = 100  # fragments; 63 of them measured as fast to search as one
TRIES = 4  # to compact while others commit
UPKEEP_SECONDS = 600.0  # to wait for another's upkeep, by what cannot be done meanwhile
LOOK_SECONDS = 1.0


def is_upkeep_due(table: Any, storage: Storage) -> bool:
    """Whether an index lacks pages, or there are many small fragments, or much that is superseded.

    Args:
        table: LanceDB's table of pages, at its latest version.
        storage: Where the index lies.
    """
    lacks_pages = full_text.is_behind(table) or dense.is_behind(table) or token_index.is_behind(table)
    return lacks_pages or _needs_compacting(table, storage)


def keep_up(
    table: Any, storage: Storage, lock: Lock, presence: Presence | None, *, grace: float, force: bool, told: Told
) -> None:
    """Bring the indices up to date, and compact where that is due.

    Args:
        table: LanceDB's table of pages.
        storage: Where the index lies.
        lock: The lock of the index, which this process has.
        presence: That this writer is there; None where the lock keeps the others out.
        grace: Seconds for which a superseded version stays readable.
        force: Whether to compact in any case.
        told: Called with the pages whose token vectors are indexed, and all that are to be.
    """
    is_new = index_new_pages(table, growing=False)
    if force or is_new or _needs_compacting(table, storage):
        compact(table, lock, presence, grace=grace, is_new=is_new)
    if token_index.is_behind(table):  # after compacting, which gives pages other rows
        lock.require()
        token_index.keep_current(table, storage, told)


def _needs_compacting(table: Any, storage: Storage) -> bool:
    return _num_fragments(table) >= COMPACT_AT or is_wasteful(table, storage.size(table.name))


def index_new_pages(table: Any, *, growing: bool) -> bool:
    """Bring the indices up to date, and say whether that of dense vectors was made anew.

    Args:
        table: LanceDB's table of pages.
        growing: Whether more pages are to come: then only that of words, and less often.
    """

    def attempt() -> bool:
        table.checkout_latest()
        full_text.keep_current(table, growing=growing)
        is_behind = not growing and dense.is_behind(table)
        if is_behind:
            dense.index(table)
        return is_behind

    return retried(attempt, table.name, tries=TRIES)


def compact(table: Any, lock: Lock, presence: Presence | None, *, grace: float, is_new: bool) -> None:
    """Merge small fragments and free what is superseded.

    Merging rewrites every vector. Readers are not disturbed. Commits of other writers go on: one that rewrites the same
    fragments makes this one try again, and the other way round.

    Args:
        table: LanceDB's table of pages.
        lock: The lock of the index, which this process has.
        presence: That this writer is there; None where the lock keeps the others out.
        grace: Seconds for which a superseded version stays readable.
        is_new: Whether the index of dense vectors was made anew, so that the old one is to be freed.

    Raises:
        LibraryBusyError: Others came between each time, or the lock was lost.
    """
    with _alone(presence) as is_alone:

        def optimize() -> None:
            lock.require()
            table.checkout_latest()
            # Unverified files are those of a commit under way or of one that died. Where this need not be the only
            # writer, LanceDB waits for a week until it takes them for the latter.
            table.optimize(cleanup_older_than=timedelta(seconds=grace), delete_unverified=is_alone)

        table.checkout_latest()
        fragments = _num_fragments(table)
        retried(optimize, table.name, tries=TRIES)
        if fragments > 1 or is_new:
            time.sleep(grace + 0.1)  # until the versions it superseded are old enough to go
            retried(optimize, table.name, tries=TRIES)


@contextlib.contextmanager
def upkeep_lock(storage: Storage, held: Lock | None) -> Iterator[Lock | None]:
    """A block that has the lock of an index, or None where another process has it.

    Args:
        storage: Where the index lies.
        held: The lock, where this process has it already.

    Raises:
        LibraryBusyError: It was held, and is lost.
    """
    if held is not None:
        held.require()
        yield held
        return
    try:
        lock = storage.lock("upkeep")
    except LibraryBusyError:
        yield None
        return
    with contextlib.closing(lock):
        yield lock


@contextlib.contextmanager
def awaited_lock(storage: Storage, held: Lock | None) -> Iterator[Lock]:
    """A block that has the lock of an index; waits while another process compacts. Arguments as for `upkeep_lock`.

    Raises:
        LibraryBusyError: It does so for too long, or another makes the index anew.
    """
    ends = time.monotonic() + UPKEEP_SECONDS
    while True:
        with upkeep_lock(storage, held) as lock:
            if lock is not None:
                yield lock
                return
        holder = storage.holder()
        if time.monotonic() > ends or (holder is not None and holder.purpose == "write"):
            raise LibraryBusyError(busy(holder, str(storage)))
        time.sleep(random.uniform(0.0, LOOK_SECONDS))


def _alone(presence: Presence | None) -> contextlib.AbstractContextManager[bool]:
    return contextlib.nullcontext(True) if presence is None else presence.alone()


def _num_fragments(table: Any) -> int:
    return int(table.stats()["fragment_stats"]["num_fragments"])
