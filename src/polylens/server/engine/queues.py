"""The jobs that wait for one model: two queues with fair shares, so that a long request never starves a short one.

Nothing here waits or locks: only the scheduler calls it, from its event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Literal

from polylens.models.description import Output
from polylens.models.protocol import Item
from polylens.server.engine.worker import Answer

QueueName = Literal["interactive", "bulk"]

SHARES: dict[QueueName, int] = {"interactive": 3, "bulk": 1}
"""The shares of the tokens of a batch while both queues have jobs."""


@dataclass(slots=True, eq=False)
class Job:
    """One input, or one pair for a reranker, that waits for the model or is in it."""

    item: Item
    output: Output
    """What is wanted of the model; "multi" is both vectors."""
    owner: str
    """The name of the key that sent the input; owners take turns within a queue."""
    future: asyncio.Future[Answer]
    """The model's answer, or an error. It is cancelled if the client went away."""
    was_apart: bool = False
    """Whether it was tried beside a batch of images and failed; the next attempt is an ordinary one."""
    deaths: int = 0
    """The number of processes that died with this as their only input."""

    @property
    def tokens(self) -> int:
        return self.item.num_tokens

    @property
    def is_text(self) -> bool:
        return self.item.patches is None


class FairQueue:
    """Jobs of several owners, who take turns; each owner's own come first in, first out."""

    def __init__(self) -> None:
        self.waiting: dict[str, deque[Job]] = {}
        self.served = 0.0
        """The tokens taken so far, divided by the queue's share: the queue with the smaller figure is next."""

    def put(self, job: Job) -> None:
        self.waiting.setdefault(job.owner, deque()).append(job)

    def peek(self) -> Job | None:
        """The next job; jobs of clients that went away are dropped."""
        while self.waiting:
            owner, jobs = next(iter(self.waiting.items()))
            while jobs and jobs[0].future.done():
                jobs.popleft()
            if jobs:
                return jobs[0]
            del self.waiting[owner]
        return None

    def take(self) -> Job:
        """Removes the job that `peek` returned; the next owner is next."""
        owner, jobs = next(iter(self.waiting.items()))
        job = jobs.popleft()
        del self.waiting[owner]
        if jobs:
            self.waiting[owner] = jobs  # behind all others: dictionaries keep their order
        return job


class PriorityQueue:
    """The interactive and the bulk queue of one model."""

    def __init__(self) -> None:
        self._queues: dict[QueueName, FairQueue] = {name: FairQueue() for name in SHARES}

    def put(self, job: Job, name: QueueName) -> None:
        """Queues a job."""
        queue = self._queues[name]
        if not queue.waiting:  # time spent empty earns no credit
            busy = [other.served for other in self._queues.values() if other.waiting]
            queue.served = max([queue.served, *busy]) if busy else queue.served
        queue.put(job)

    def take(self, budget: int) -> list[Job]:
        """The jobs of the next batch.

        Args:
            budget: Limit in tokens; a larger job makes a batch of its own.

        Returns:
            At least one job if any is waiting.
        """
        batch: list[Job] = []
        left = budget
        while True:
            ready = [(name, queue) for name, queue in self._queues.items() if queue.peek() is not None]
            if not ready:
                return batch
            name, queue = min(ready, key=lambda entry: entry[1].served)
            job = queue.peek()
            assert job is not None
            if batch and job.tokens > left:
                return batch
            queue.take()
            queue.served += job.tokens / SHARES[name]
            left -= job.tokens
            batch.append(job)

    def take_texts(self, budget: int) -> list[Job]:
        """The texts of the interactive queue that may be computed beside a batch of images.

        Args:
            budget: Limit in tokens; a longer text makes a batch of its own.
        """
        batch: list[Job] = []
        waiting = self._queues["interactive"].waiting
        for owner, jobs in list(waiting.items()):
            for job in [job for job in jobs if job.is_text and not job.was_apart and not job.future.done()]:
                if batch and job.tokens > budget:
                    return batch
                jobs.remove(job)
                batch.append(job)
                budget -= job.tokens
            if not jobs:
                del waiting[owner]
        return batch

    def drain(self) -> list[Job]:
        """Removes and returns all jobs."""
        return self.take(budget=10**18)
