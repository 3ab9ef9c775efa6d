"""Inputs are prepared in threads while the caller works on those that are ready.

Reading, decoding, resizing and tokenising release Python's lock most of the time, so a few threads keep a model busy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

from polylens.runtime.priority import yield_to_others

Job = TypeVar("Job")
Ready = TypeVar("Ready")


MOST_THREADS = 8

CORES_PER_THREAD = 8
"""Cores that compute, where the model runs on the processor: one thread prepares several times as much as they use."""


def num_threads(*, on_processor: bool) -> int:
    """Returns how many threads keep a model busy.

    Args:
        on_processor: Whether the model computes on the same cores; more threads than it needs would take them from it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_THREADS, max(1, cores // CORES_PER_THREAD) if on_processor else cores)


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[Ready]):
    """What came of one job: a value, or the error that it raised."""

    value: Ready | None
    error: Exception | None
    nbytes: int


class Prefetcher(Iterator[Ready], Generic[Job, Ready]):
    """Prepares jobs ahead of whoever iterates, and hands out the results in the order of the jobs.

    A job's error is raised at its turn, and the iteration may go on behind it. Use it in a `with` statement: leaving
    the block, for whatever reason, ends the threads as soon as each is through with the job it has begun.

    Args:
        prepare: Turns a job into a result; called from the threads.
        jobs: The jobs, drawn from the threads one at a time. An error while drawing ends them, and is raised last.
        nbytes: The memory that a result takes.
        max_bytes: No further job is begun while results of that many bytes wait. So they are exceeded by at most one
            result per thread.
        threads: The number of threads. One prepares the jobs strictly one after another.

    Example:
        >>> with Prefetcher(str.upper, ["a", "b"], nbytes=len, max_bytes=100) as ready:
        ...     list(ready)
        ['A', 'B']
    """

    def __init__(
        self,
        prepare: Callable[[Job], Ready],
        jobs: Iterable[Job],
        *,
        nbytes: Callable[[Ready], int],
        max_bytes: int,
        threads: int = 1,
    ) -> None:
        self._prepare = prepare
        self._jobs = iter(jobs)
        self._nbytes = nbytes
        self._max_bytes = max_bytes
        self._drawing = threading.Lock()  # apart from the condition: drawing may take long
        self._changed = threading.Condition()
        self._outcomes: dict[int, _Outcome[Ready]] = {}
        self._held = 0  # bytes of the outcomes
        self._drawn = self._taken = 0  # numbers of jobs
        self._is_drained = self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"polylens-prepare-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def __next__(self) -> Ready:
        with self._changed:
            self._changed.wait_for(self._is_next_known)
            if self._taken not in self._outcomes:
                raise StopIteration
            outcome = self._outcomes.pop(self._taken)
            self._taken += 1
            self._held -= outcome.nbytes
            self._changed.notify_all()
        if outcome.error is not None:
            raise outcome.error
        return outcome.value  # type: ignore[return-value]  # None is a value where `prepare` returns it

    def __enter__(self) -> Prefetcher[Job, Ready]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the threads and waits for them; may be called again. What was not taken is dropped."""
        with self._changed:
            self._is_closed = True
            self._outcomes.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        close = getattr(self._jobs, "close", None)  # a generator's files are closed now and not at some time
        if close is not None:
            close()

    def _is_next_known(self) -> bool:
        is_last = self._is_drained and self._taken >= self._drawn
        return self._is_closed or is_last or self._taken in self._outcomes

    def _work(self) -> None:
        yield_to_others()  # the model comes first
        while True:
            with self._drawing:
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closed or self._held < self._max_bytes)
                    if self._is_closed or self._is_drained:
                        return
                try:
                    job = next(self._jobs)
                except StopIteration:
                    self._drain(None)
                    return
                except Exception as error:  # noqa: BLE001  raised where the results are taken
                    self._drain(error)
                    return
                with self._changed:
                    number = self._drawn
                    self._drawn += 1
            self._keep(number, self._outcome(job))

    def _outcome(self, job: Job) -> _Outcome[Ready]:
        try:
            value = self._prepare(job)
            return _Outcome(value, None, self._nbytes(value))
        except Exception as error:  # noqa: BLE001  raised where the results are taken
            return _Outcome(None, error, 0)

    def _keep(self, number: int, outcome: _Outcome[Ready]) -> None:
        with self._changed:
            if not self._is_closed:
                self._outcomes[number] = outcome
                self._held += outcome.nbytes
                self._changed.notify_all()

    def _drain(self, error: Exception | None) -> None:
        """Notes that no further job comes; an error of drawing one takes the place of the next."""
        with self._changed:
            if error is not None and not self._is_closed:
                self._outcomes[self._drawn] = _Outcome(None, error, 0)
                self._drawn += 1
            self._is_drained = True
            self._changed.notify_all()


def read_ahead(results: Iterable[Ready], *, nbytes: Callable[[Ready], int], max_bytes: int) -> Prefetcher[Ready, Ready]:
    """Runs an iterator in a thread, ahead of whoever iterates. An error of it is raised behind its last result.

    Args:
        results: The iterator.
        nbytes: As for `Prefetcher`.
        max_bytes: As for `Prefetcher`.
    """
    return Prefetcher(_unchanged, results, nbytes=nbytes, max_bytes=max_bytes)


def _unchanged(result: Ready) -> Ready:
    return result
