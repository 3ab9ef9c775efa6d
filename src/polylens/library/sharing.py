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
        is_shared: Whether others may be at the same work. Then this one begins anywhere in the list, as all of them
            would make the same files at the same time otherwise.
    """

    def __init__(self, is_done: Callable[[Job, dict[str, FileRecord]], bool], *, is_shared: bool) -> None:
        self._is_done = is_done
        self._is_shared = is_shared
        self._saved: dict[str, FileRecord] = {}
        self._left: deque[Job] = deque()

    def note(self, saved: dict[str, FileRecord]) -> None:
        """Learn which files the index has, since other writers were seen."""
        self._saved = saved

    def is_saved(self, job: Job) -> bool:
        """Whether another writer is known to have done a job."""
        return bool(self._saved) and self._is_done(job, self._saved)

    def left(self) -> Iterator[Job]:
        """The jobs that were left to others since this was last asked."""
        while self._left:
            yield self._left.popleft()

    def remaining(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """The jobs to do, but for those that another writer does first. It may be read in another thread."""
        waiting = deque(jobs)
        if self._is_shared and waiting:
            waiting.rotate(random.randrange(len(waiting)))
        while waiting:
            job = waiting.popleft()
            if self.is_saved(job):
                self._left.append(job)
            else:
                yield job
