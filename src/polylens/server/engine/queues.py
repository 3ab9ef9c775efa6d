"""What waits for one model: two lanes with fair shares, so that a long request never starves a short one.

Nothing here waits or locks: the engine calls it from its event loop alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Literal

from polylens.models.protocol import Item
from polylens.types import Embedding

LaneName = Literal["interactive", "bulk"]

SHARES: dict[LaneName, int] = {"interactive": 3, "bulk": 1}
"""Of the tokens of a batch while both lanes have some waiting."""


@dataclass(slots=True, eq=False)
class Job:
    """One input on its way through the model."""

    item: Item
    wants_tokens: bool
    """Whether anyone will look at its multi-vector."""
    owner: str
    """Whose it is; owners take turns within a lane."""
    future: asyncio.Future[list[Embedding]]
    """Its embeddings, or why there are none. Cancelled where the client went away."""
    deaths: int = 0
    """Processes that ended while they had nothing but this."""

    @property
    def tokens(self) -> int:
        return self.item.num_tokens


class Lane:
    """Jobs of several owners, who take turns; each owner's own come first in, first out."""

    def __init__(self) -> None:
        self.waiting: dict[str, deque[Job]] = {}
        self.served = 0.0
        """Tokens taken so far over the lane's share: the lane that has had less is next."""

    def put(self, job: Job) -> None:
        self.waiting.setdefault(job.owner, deque()).append(job)

    def peek(self) -> Job | None:
        """The next job that somebody still waits for; those of clients that went away are dropped."""
        while self.waiting:
            owner, jobs = next(iter(self.waiting.items()))
            while jobs and jobs[0].future.done():
                jobs.popleft()
            if jobs:
                return jobs[0]
            del self.waiting[owner]
        return None

    def take(self) -> Job:
        """Removes the job that `peek` showed; the next owner's turn has come."""
        owner, jobs = next(iter(self.waiting.items()))
        job = jobs.popleft()
        del self.waiting[owner]
        if jobs:
            self.waiting[owner] = jobs  # behind all others: dictionaries keep their order
        return job


class Lanes:
    """The queue of one model."""

    def __init__(self) -> None:
        self._lanes: dict[LaneName, Lane] = {name: Lane() for name in SHARES}

    def put(self, job: Job, name: LaneName) -> None:
        """Queues a job."""
        lane = self._lanes[name]
        if not lane.waiting:  # time spent empty earns no credit
            busy = [other.served for other in self._lanes.values() if other.waiting]
            lane.served = max([lane.served, *busy]) if busy else lane.served
        lane.put(job)

    def take(self, budget: int) -> list[Job]:
        """The jobs of the next batch.

        Args:
            budget: Most tokens; a job above it goes alone.

        Returns:
            At least one job where any waits.
        """
        batch: list[Job] = []
        left = budget
        while True:
            ready = [(name, lane) for name, lane in self._lanes.items() if lane.peek() is not None]
            if not ready:
                return batch
            name, lane = min(ready, key=lambda entry: entry[1].served)
            job = lane.peek()
            assert job is not None
            if batch and job.tokens > left:
                return batch
            lane.take()
            lane.served += job.tokens / SHARES[name]
            left -= job.tokens
            batch.append(job)

    def drain(self) -> list[Job]:
        """Takes everything out."""
        return self.take(budget=10**18)
