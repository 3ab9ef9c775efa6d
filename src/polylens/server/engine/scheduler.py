"""The scheduler of one model: each batch takes what is waiting, and no input waits for a batch to fill.

A batch that fails is bisected until the input that it failed on is found; the others get their results. A worker that
dies or hangs is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from polylens.errors import OverloadedError, WorkerError
from polylens.models.description import Output
from polylens.models.protocol import Item
from polylens.server.concurrency import in_thread
from polylens.server.engine.queues import SHARES, Job, PriorityQueue, QueueName
from polylens.server.engine.worker import Answer, Died, Speeds, Worker, WorkerConfig
from polylens.types import Embedding

log = logging.getLogger("polylens.server")

CPU_BATCH_TOKENS = 512
"""Tokens per forward pass on a CPU. A single text of 128 tokens already reaches nine tenths of its speed, and one batch
is the longest that a request of a single input has to wait for."""

GPU_BATCH_TOKENS = 16_384
"""Tokens per forward pass on a GPU, which needs far more at once to be busy."""

INTERACTIVE_BATCHES = 2
"""A request of at most this many batches goes to the interactive queue, a longer one to the bulk queue."""

MEMORY = 0.8
"""Weight of the earlier seconds per token in their moving average, when a new batch is measured."""

PATIENCE = 20.0
"""A worker counts as hung after this many times the expected time, on top of `stall_seconds`: attention over a long
input costs more per token than the average says."""

RETRY_SECONDS = 5.0
"""The seconds between two attempts to start a process that does not start."""

IDLE_SECONDS = 1.0
"""The seconds between two checks that an idle process is still alive."""

State = Literal["idle", "loading", "ready", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerConfig:
    """The parameters by which a scheduler runs its workers."""

    batch_tokens: int
    max_wait: float  # seconds of work that a queue may hold
    stall_seconds: float


@dataclass(slots=True)
class Figures:
    """The counters of a scheduler's work."""

    batches: int = 0
    tokens: int = 0
    seconds: float = 0.0
    restarts: int = 0
    failures: int = 0  # inputs that the model failed on
    refusals: int = 0  # requests refused because a queue was full


class ModelScheduler:
    """One model, its queues and its workers.

    Args:
        workers: For each process the model that it loads, and its device.
        config: How the processes are run.
        make_worker: The function that makes the handle on a process; tests pass another.
    """

    def __init__(
        self,
        workers: Sequence[WorkerConfig],
        config: SchedulerConfig,
        make_worker: Callable[[WorkerConfig], Worker] = Worker,
    ) -> None:
        self.config = config
        self.figures = Figures()
        self.admitted_tokens: dict[QueueName, int] = dict.fromkeys(SHARES, 0)
        """The number of tokens of the requests under way in each queue."""
        self._admitted_image_tokens: dict[QueueName, int] = dict.fromkeys(SHARES, 0)
        self._workers = [make_worker(worker) for worker in workers]
        self._states: list[State] = ["idle"] * len(workers)
        self._reason = ""
        self._queues = PriorityQueue()
        self._arrived = [asyncio.Event() for _ in self._workers]
        self._text_arrived = [asyncio.Event() for _ in self._workers]
        self._has_images = [False] * len(workers)
        """Whether each worker computes a batch with images, which takes long."""
        self._threads = ThreadPoolExecutor(max_workers=2 * len(workers), thread_name_prefix="polylens-scheduler")
        self._tasks: list[asyncio.Task[None]] = []
        self._speeds = Speeds()
        self._running: set[Job] = set()
        self._stopping = False

    @property
    def state(self) -> State:
        """The best of the workers' states: one worker that is ready is enough."""
        order: tuple[State, ...] = ("ready", "loading", "failed", "idle", "stopped")
        return min(self._states, key=order.index)

    @property
    def reason(self) -> str:
        """The reason why the last worker did not start; "" where none failed."""
        return self._reason

    @property
    def pids(self) -> list[int]:
        """The process ids of the running workers."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def start(self) -> None:
        """Starts the workers in the background; `state` tells when one is ready. Starting twice is starting once."""
        if not self._tasks and not self._stopping:
            self._states = ["loading"] * len(self._workers)
            self._tasks = [asyncio.create_task(self._serve(number)) for number in range(len(self._workers))]
            apart = [number for number, worker in enumerate(self._workers) if worker.config.texts_apart]
            self._tasks += [asyncio.create_task(self._serve_texts(number)) for number in apart]

    async def stop(self) -> None:
        """Stops the workers; requests that still wait are refused."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        for worker in self._workers:
            worker.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=True)
        self._states = ["stopped"] * len(self._workers)
        for job in [*self._queues.drain(), *self._running]:
            _settle(job, OverloadedError("the server is shutting down"))

    def queue_of(self, tokens: int) -> QueueName:
        """The queue for a request of this many tokens."""
        return "interactive" if tokens <= INTERACTIVE_BATCHES * self.config.batch_tokens else "bulk"

    @contextlib.contextmanager
    def admitted(self, tokens: int, *, image_tokens: int = 0) -> Iterator[QueueName]:
        """Reserves room in a queue for a request, until the block ends.

        Args:
            tokens: The number of tokens of all inputs of the request.
            image_tokens: The number of tokens among them that belong to images.

        Yields:
            The queue for the request. An empty queue takes any request.

        Raises:
            OverloadedError: The queue holds more work than can be done in time; `retry_after` says when to try again.
        """
        if self.state in ("failed", "stopped"):
            raise OverloadedError(f"the model is not available: {self._reason}", retry_after=RETRY_SECONDS)
        queue = self.queue_of(tokens)
        waiting = self.admitted_tokens[queue]
        images = self._admitted_image_tokens[queue] + image_tokens
        seconds = self._until_done(self._speeds.seconds(waiting + tokens - images, images), queue)
        if waiting and seconds > self.config.max_wait:
            self.figures.refusals += 1
            raise OverloadedError(
                f"the server is busy: {waiting} tokens are waiting, about {seconds:.0f} s of work, and the limit is "
                f"{self.config.max_wait:.0f} s",
                retry_after=max(1.0, seconds - self.config.max_wait),
            )
        self.admitted_tokens[queue] += tokens
        self._admitted_image_tokens[queue] += image_tokens
        try:
            yield queue
        finally:
            self.admitted_tokens[queue] -= tokens
            self._admitted_image_tokens[queue] -= image_tokens

    def submit(
        self, item: Item, queue: QueueName, *, owner: str, wants_tokens: bool
    ) -> asyncio.Future[list[Embedding]]:
        """Queues one input of a request that was admitted.

        Returns:
            Its embeddings: one, or one per chunk. Cancel it when nobody waits for it any longer.
        """
        return self._submit(item, queue, owner, "multi" if wants_tokens else "dense")

    def submit_pair(self, pair: Item, queue: QueueName, *, owner: str) -> asyncio.Future[float]:
        """Queues one pair of a request that was admitted, for a model that scores pairs.

        Returns:
            Its score. Cancel it when nobody waits for it any longer.
        """
        return self._submit(pair, queue, owner, "score")

    def _submit(self, item: Item, queue: QueueName, owner: str, output: Output) -> asyncio.Future[Any]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if self._stopping:
            future.set_exception(OverloadedError("the server is shutting down"))
            return future
        self.start()
        self._queues.put(Job(item, output, owner, future), queue)
        for event in (*self._arrived, *self._text_arrived):
            event.set()
        return future

    def _until_done(self, seconds: float, queue: QueueName) -> float:
        """The seconds until a queue has done its work; it gets only its share of the time if the other has work too."""
        others = any(self.admitted_tokens[name] for name in SHARES if name != queue)
        share = SHARES[queue] / sum(SHARES.values()) if others else 1.0
        return seconds / len(self._workers) / share

    async def _serve(self, number: int) -> None:
        """Runs one worker: starts it, gives it batch after batch, and replaces its process when that has died."""
        arrived = self._arrived[number]
        await self._start(number)
        while True:
            arrived.clear()
            batch = self._queues.take(self.config.batch_tokens)
            if batch:
                await self._run(number, batch)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(arrived.wait(), IDLE_SECONDS)
            if not self._workers[number].alive:
                await self._replace(number, "the model's process ended while it had nothing to do")

    async def _serve_texts(self, number: int) -> None:
        """Gives one worker the texts that come while it computes images, so that they need not wait for those.

        Whatever goes wrong with them is left to `_serve`, which tries them again.
        """
        arrived = self._text_arrived[number]
        while True:
            arrived.clear()
            batch = self._queues.take_texts(self.config.batch_tokens) if self._has_images[number] else []
            if not batch:
                await arrived.wait()
                continue
            self._running.update(batch)
            started = time.perf_counter()
            try:
                results = await self._compute(number, batch, apart=True)
            except (Died, WorkerError):
                for job in batch:
                    job.was_apart = True
                    self._queues.put(job, "interactive")
                self._arrived[number].set()
            else:
                self._count(sum(job.tokens for job in batch), 0, time.perf_counter() - started)
                for job, answer in zip(batch, results, strict=True):
                    _settle(job, answer)
            finally:
                self._running.difference_update(batch)

    async def _start(self, number: int) -> None:
        while True:
            try:
                speeds = await in_thread(self._threads, self._workers[number].start)
                break
            except Died as died:
                self._states[number], self._reason = "failed", str(died)
                log.error("a model's process did not start: %s", died)
                for job in self._queues.drain() if self.state == "failed" else ():
                    _settle(job, OverloadedError(f"the model is not available: {died}", retry_after=RETRY_SECONDS))
                await asyncio.sleep(RETRY_SECONDS)
        if self._speeds == Speeds():
            self._speeds = speeds
        self._states[number], self._reason = "ready", ""

    async def _run(self, number: int, batch: list[Job]) -> None:
        """Runs a batch until every job in it has a result or an error."""
        self._running.update(batch)
        try:
            await self._run_or_split(number, batch)
        finally:
            self._running.difference_update(batch)

    async def _run_or_split(self, number: int, batch: list[Job]) -> None:
        texts, images = _tokens_by_kind(batch)
        started = time.perf_counter()
        self._has_images[number] = images > 0
        self._text_arrived[number].set()
        try:
            try:
                results = await self._compute(number, batch)
            finally:
                self._has_images[number] = False
        except Died as died:
            await self._replace(number, str(died))
            await self._after_death(number, batch, died)
            return
        except WorkerError as error:
            if len(batch) == 1:
                self._fail(batch[0], error)
                return
            middle = len(batch) // 2
            await self._run_or_split(number, batch[:middle])
            await self._run_or_split(number, batch[middle:])
            return
        self._count(texts, images, time.perf_counter() - started)
        for job, answer in zip(batch, results, strict=True):
            _settle(job, answer)

    async def _compute(self, number: int, batch: Sequence[Job], *, apart: bool = False) -> list[Answer]:
        timeout = self.config.stall_seconds + PATIENCE * self._speeds.seconds(*_tokens_by_kind(batch))
        items, outputs = [job.item for job in batch], [job.output for job in batch]
        return await in_thread(self._threads, self._workers[number].run, items, outputs, timeout, apart=apart)

    async def _after_death(self, number: int, batch: list[Job], died: Died) -> None:
        """Tries each job of the batch by itself.

        A process may die for unrelated reasons: only a job that kills two in a row, or on which one hangs, is refused.
        """
        if len(batch) == 1:
            batch[0].deaths += 1
            if died.hung or batch[0].deaths > 1:
                self._fail(batch[0], died)
                return
        for job in batch:
            if not job.future.done():
                await self._run_or_split(number, [job])

    async def _replace(self, number: int, reason: str) -> None:
        self.figures.restarts += 1
        log.error("replacing a model's process: %s", reason)
        self._states[number], self._reason = "loading", reason
        self._workers[number].stop()
        await self._start(number)

    def _fail(self, job: Job, error: WorkerError | Died) -> None:
        self.figures.failures += 1
        _settle(job, WorkerError(str(error)))

    def _count(self, texts: int, images: int, seconds: float) -> None:
        self.figures.batches += 1
        self.figures.tokens += texts + images
        self.figures.seconds += seconds
        self._speeds = updated(self._speeds, texts, images, seconds)


def updated(speeds: Speeds, texts: int, images: int, seconds: float) -> Speeds:
    """The moving averages after one more batch. A batch of both kinds shifts both speeds by the same factor.

    Args:
        speeds: The averages before the batch.
        texts: The number of tokens of texts in the batch.
        images: The number of tokens of images in the batch.
        seconds: The time that the batch took.

    Example:
        >>> updated(Speeds(text=1.0, image=4.0), 2, 2, 20.0)
        Speeds(text=1.2, image=4.8)
        >>> updated(Speeds(text=1.0, image=4.0), 0, 5, 10.0).text
        1.0
    """
    expected = speeds.seconds(texts, images)
    if not expected:  # nothing is known yet
        mean = seconds / (texts + images)
        return Speeds(text=speeds.text or mean, image=speeds.image or mean)
    factor = MEMORY + (1 - MEMORY) * seconds / expected
    return Speeds(
        text=speeds.text * (factor if texts else 1.0),
        image=speeds.image * (factor if images else 1.0),
    )


def _tokens_by_kind(batch: Sequence[Job]) -> tuple[int, int]:
    """The numbers of tokens of the texts and of the images in a batch; a pair with an image counts as one."""
    images = sum(job.tokens for job in batch if job.item.patches is not None)
    return sum(job.tokens for job in batch) - images, images


def _settle(job: Job, outcome: Answer | Exception) -> None:
    if job.future.done():  # its client went away
        return
    if isinstance(outcome, Exception):
        job.future.set_exception(outcome)
    else:
        job.future.set_result(outcome)
