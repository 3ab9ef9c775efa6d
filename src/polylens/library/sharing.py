"""The files of one update among several that run at the same time: what another one saved is not embedded again."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from polylens.index.table.snapshot import FileRecord

Job = TypeVar("Job")


class Sharing(Generic[Job]):
    """The jobs that are left for this update.

    Args:
        is_done: Whether what another writer saved, by file, is what a job is to make.
    """

    def __init__(self, is_done: Callable[[Job, dict[str, FileRecord]], bool]) -> None:
        self._is_done = is_done
        self._saved: dict[str, FileRecord] = {}
        self._left: deque[Job] = deque()

    def note(self, saved: dict[str, FileRecord]) -> None:
        """Learn which files the index has, since other writers were seen."""
        self._saved = saved

    def left(self) -> Iterator[Job]:
        """The jobs that were left to others since this was last asked."""
        while self._left:
            yield self._left.popleft()

    def remaining(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """The jobs to do, but for those that another writer does first. It may be read in another thread.

        Writers that begin together meet at the same files, so whoever sees another goes on elsewhere in the list.
        """
        waiting, has_moved = deque(jobs), False
        while waiting:
            if self._saved and not has_moved:
                waiting.rotate(random.randrange(len(waiting)))
                has_moved = True
            job = waiting.popleft()
            if self._is_done(job, self._saved):
                self._left.append(job)
            else:
                yield job
