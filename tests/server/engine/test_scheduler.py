"""The scheduler with real processes and tiny models: poison, death, hanging, overload, shutting down."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from tests.support.waiting import HANG

import polylens
from polylens.errors import OverloadedError, WorkerError
from polylens.models.description import Output
from polylens.models.protocol import Item
from polylens.server.engine import scheduler as module
from polylens.server.engine.scheduler import ModelScheduler, SchedulerConfig
from polylens.server.engine.worker import Answer, Died, Speeds, Worker, WorkerConfig
from polylens.types import Embedding

T = TypeVar("T")
DENSE = np.ones(3, np.float32)
CONFIG = WorkerConfig(folder=Path("none"), modalities=("text",), device="cpu", dtype="float32", threads=1)


def text(tokens: int = 4, first: int = 0) -> Item:
    ids = np.full(tokens, 1, dtype=np.int64)
    ids[0] = first
    return Item(token_ids=ids, pool=(0, tokens), task=None)


def page(tokens: int) -> Item:
    return replace(text(tokens), patches=torch.zeros(1, 1))


POISON, KILLER, SLEEPER = 101, 102, 103


class Pretend(Worker):
    """A worker without a process: some inputs make it fail, die, or hang, and it counts what it does."""

    starts = 0
    batches: list[list[int]]
    timeouts: list[float]

    def __init__(self, config: WorkerConfig) -> None:
        super().__init__(config)
        self.batches = []
        self.timeouts = []
        self.dead = True
        self.refuses_to_start = False

    def start(self) -> Speeds:
        self.starts += 1
        if self.refuses_to_start:
            raise Died("no weights")
        self.dead = False
        return Speeds(text=1e-6, image=1e-6)

    @property
    def alive(self) -> bool:
        return not self.dead

    @property
    def pid(self) -> int | None:
        return None

    def stop(self) -> None:
        self.dead = True

    def run(
        self, items: Sequence[Item], outputs: Sequence[Output], timeout: float, *, apart: bool = False
    ) -> list[Answer]:
        del outputs, apart
        self.timeouts.append(timeout)
        firsts = [int(item.token_ids[0]) for item in items]
        self.batches.append(firsts)
        if POISON in firsts:
            raise WorkerError("cannot stomach this")
        if KILLER in firsts or SLEEPER in firsts:
            self.dead = True
            raise Died("gone")
        return [[Embedding(DENSE * first, DENSE[None], 1.0)] for first in firsts]


def scheduler(make: Callable[[WorkerConfig], Worker] = Pretend, **config: Any) -> ModelScheduler:
    settings = {"batch_tokens": 64, "max_wait": 60.0, "stall_seconds": HANG, **config}
    return ModelScheduler([CONFIG], SchedulerConfig(**settings), make)


def run(scheduler: ModelScheduler, work: Callable[[], Awaitable[T]]) -> T:
    async def all_of_it() -> T:
        scheduler.start()
        try:
            return await asyncio.wait_for(work(), HANG)
        finally:
            await scheduler.stop()

    return asyncio.run(all_of_it())


async def outcomes(scheduler: ModelScheduler, items: Sequence[Item]) -> list[Any]:
    futures = [scheduler.submit(item, "interactive", owner="a", wants_tokens=False) for item in items]
    return await asyncio.gather(*futures, return_exceptions=True)


def kinds(results: Sequence[Any]) -> list[str]:
    return [type(result).__name__ for result in results]


class TestPoison:
    @pytest.mark.parametrize("place", range(8))
    def test_only_the_culprit_answers_an_error(self, place: int) -> None:
        tested = scheduler()
        items = [text(first=POISON if i == place else i) for i in range(8)]
        results = run(tested, lambda: outcomes(tested, items))
        assert kinds(results) == ["WorkerError" if i == place else "list" for i in range(8)]
        assert all(results[i][0].dense[0] == i for i in range(8) if i != place)
        assert tested.figures.failures == 1 and tested.figures.restarts == 0

    def test_two_culprits(self) -> None:
        tested = scheduler()
        items = [text(first=first) for first in (1, POISON, 2, 3, POISON, 4)]
        results = run(tested, lambda: outcomes(tested, items))
        assert kinds(results) == ["list", "WorkerError", "list", "list", "WorkerError", "list"]

    def test_one_that_kills_the_process_kills_it_thrice_and_is_found(self) -> None:
        tested = scheduler()
        items = [text(first=first) for first in (1, 2, KILLER, 3, 4)]
        results = run(tested, lambda: outcomes(tested, items))
        assert kinds(results) == ["list", "list", "WorkerError", "list", "list"]
        assert tested.figures.restarts == 3

    def test_what_comes_after_it_works(self) -> None:
        tested = scheduler()

        async def work() -> list[Any]:
            await outcomes(tested, [text(first=KILLER)])
            return await outcomes(tested, [text(first=7)])

        assert kinds(run(tested, work)) == ["list"]


class TestOverload:
    def test_a_queue_that_is_full_refuses_at_once(self) -> None:
        tested = scheduler(max_wait=1e-3)

        async def work() -> None:
            await outcomes(tested, [text()])  # started, so that its speed is known
            tested._speeds = Speeds(text=1e-4, image=4e-4)
            with tested.admitted(8), pytest.raises(OverloadedError) as refusal, tested.admitted(8):
                pass
            assert refusal.value.retry_after >= 1
            assert "16" not in str(refusal.value) and "8 tokens are waiting" in str(refusal.value)
            with tested.admitted(120) as queue:  # empty again: any request is taken
                assert queue == "interactive"
            assert set(tested.admitted_tokens.values()) == {0}
            assert tested.figures.refusals == 1

        run(tested, work)

    def test_a_full_bulk_queue_leaves_the_other_open(self) -> None:
        tested = scheduler(max_wait=0.1)

        async def work() -> None:
            await outcomes(tested, [text()])
            tested._speeds = Speeds(text=1e-4, image=4e-4)
            with tested.admitted(100_000) as bulk, tested.admitted(4) as quick:
                assert (bulk, quick) == ("bulk", "interactive")

        run(tested, work)


class TestSpeeds:
    """Seconds per token of texts and of images, apart."""

    def test_a_page_gets_the_patience_of_pages(self) -> None:
        made: list[Pretend] = []

        class Slow(Pretend):
            def start(self) -> Speeds:
                super().start()
                made.append(self)
                return Speeds(text=1.0, image=50.0)

        tested = scheduler(Slow, stall_seconds=0.0)

        async def work() -> None:
            await outcomes(tested, [text(4)])
            tested._speeds = Speeds(text=1.0, image=50.0)  # as before that batch, which took no time
            await outcomes(tested, [page(4)])

        run(tested, work)
        assert made[0].timeouts == [module.PATIENCE * 4 * 1.0, module.PATIENCE * 4 * 50.0]

    def test_pages_that_wait_count_for_what_they_take(self) -> None:
        tested = scheduler(max_wait=1.0)

        async def work() -> None:
            await outcomes(tested, [text()])
            tested._speeds = Speeds(text=1e-3, image=1e-1)
            with tested.admitted(8), tested.admitted(8):
                pass
            with (
                tested.admitted(8, image_tokens=8),
                pytest.raises(OverloadedError) as refusal,
                tested.admitted(8, image_tokens=8),
            ):
                pass
            assert "about 2 s of work" in str(refusal.value)
            assert set(tested._admitted_image_tokens.values()) == {0}

        run(tested, work)

    @pytest.mark.parametrize("name", ["tiny-v4", "tiny-clip", "tiny-v3"])
    def test_the_warm_up_measures_what_a_model_takes(self, models: dict[str, Path], name: str) -> None:
        modalities: tuple[Any, ...] = ("text",) if name == "tiny-v3" else ("text", "image")
        worker = Worker(replace(CONFIG, folder=models[name], modalities=modalities))
        try:
            speeds = worker.start()
        finally:
            worker.stop()
        assert speeds.text > 0 and (speeds.image > 0) == ("image" in modalities)


class TestStates:
    def test_it_says_why_it_would_not_start_and_tries_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
        made: list[Pretend] = []

        def make(config: WorkerConfig) -> Worker:
            made.append(Pretend(config))
            made[0].refuses_to_start = True
            return made[0]

        tested = scheduler(make)

        async def work() -> None:
            waiting = tested.submit(text(), "interactive", owner="a", wants_tokens=False)
            with pytest.raises(OverloadedError, match="no weights"):
                await waiting
            assert (tested.state, tested.reason) == ("failed", "no weights")
            with pytest.raises(OverloadedError), tested.admitted(1):
                pass
            made[0].refuses_to_start = False
            while tested.state != "ready":
                await asyncio.sleep(0.01)
            assert kinds(await outcomes(tested, [text()])) == ["list"]

        run(tested, work)

    def test_an_idle_process_that_dies_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
        made: list[Pretend] = []

        def make(config: WorkerConfig) -> Worker:
            made.append(Pretend(config))
            return made[-1]

        tested = scheduler(make)

        async def work() -> None:
            await outcomes(tested, [text()])
            made[0].dead = True
            while made[0].starts < 2:
                await asyncio.sleep(0.01)

        run(tested, work)
        assert tested.figures.restarts == 1

    def test_while_its_process_is_replaced_it_is_not_ready(self) -> None:
        tested = scheduler()
        seen: list[str] = []

        class Watched(Pretend):
            def start(self) -> Speeds:
                seen.append(f"{tested.state}: {tested.reason}")
                return super().start()

        tested._workers = [Watched(CONFIG)]

        async def work() -> None:
            await outcomes(tested, [text(first=KILLER)])
            assert (tested.state, tested.reason) == ("ready", "")

        run(tested, work)
        assert seen == ["loading: ", "loading: gone", "loading: gone"]

    def test_stopping_refuses_what_waits_and_what_comes(self) -> None:
        tested = scheduler()

        async def work() -> list[Any]:
            tested.start()
            futures = [tested.submit(text(), "bulk", owner="a", wants_tokens=False) for _ in range(100)]
            await tested.stop()
            futures.append(tested.submit(text(), "bulk", owner="a", wants_tokens=False))
            return await asyncio.gather(*futures, return_exceptions=True)

        assert set(kinds(asyncio.run(work()))) <= {"OverloadedError", "list"}
        assert tested.state == "stopped"


@pytest.fixture(scope="module")
def real(models: dict[str, Path]) -> WorkerConfig:
    return WorkerConfig(folder=models["tiny-v3"], modalities=("text",), device="cpu", dtype="float32", threads=1)


class TestProcesses:
    """Real ones, on a tiny model."""

    def test_vectors_are_those_of_python(self, real: WorkerConfig) -> None:
        embedder = polylens.load(real.folder, dtype="float32", device="cpu")
        item = embedder.processor.text("a harbour", task=None, prompt_name="", max_length=None)
        tested = ModelScheduler([real] * 2, SchedulerConfig(batch_tokens=64, max_wait=60, stall_seconds=HANG))
        results = run(tested, lambda: outcomes(tested, [item] * 20))
        expected = embedder.encode_text("a harbour")
        assert max(np.abs(result[0].dense - expected).max() for result in results) < 2e-6

    def test_killed_while_idle_and_while_busy(self, real: WorkerConfig) -> None:
        tested = ModelScheduler([real], SchedulerConfig(batch_tokens=8, max_wait=60, stall_seconds=HANG))
        item = text(8, first=5)

        async def work() -> list[Any]:
            await outcomes(tested, [item])
            for _ in range(2):
                futures = [tested.submit(item, "bulk", owner="a", wants_tokens=False) for _ in range(200)]
                await futures[3]
                os.kill(tested.pids[0], signal.SIGKILL)
                results = await asyncio.gather(*futures, return_exceptions=True)
            return results

        assert set(kinds(run(tested, work))) == {"list"}
        assert tested.figures.restarts >= 2

    def test_one_that_hangs_is_ended(self, real: WorkerConfig) -> None:
        tested = ModelScheduler([real], SchedulerConfig(batch_tokens=8, max_wait=60, stall_seconds=0.3))

        async def work() -> list[Any]:
            await outcomes(tested, [text(8, first=5)])
            pid = tested.pids[0]
            os.kill(pid, signal.SIGSTOP)
            results = await outcomes(tested, [text(8, first=5)])
            assert tested.pids[0] != pid
            while not isinstance(results[-1], list):  # on a busy machine the new one may seem to hang as well
                results += await outcomes(tested, [text(8, first=5)])
            return results

        first, *_ = run(tested, work)
        assert isinstance(first, WorkerError) and "no result" in str(first)

    def test_a_model_that_fails_on_an_input_goes_on(self, real: WorkerConfig) -> None:
        tested = ModelScheduler([real], SchedulerConfig(batch_tokens=64, max_wait=60, stall_seconds=HANG))
        results = run(tested, lambda: outcomes(tested, [text(first=3), text(first=10**6), text(first=4)]))
        assert kinds(results) == ["list", "WorkerError", "list"]
        assert tested.figures.restarts == 0

    def test_a_checkpoint_that_does_not_load_says_why(self, tmp_path: Path) -> None:
        config = WorkerConfig(folder=tmp_path, modalities=("text",), device="cpu", dtype=None, threads=1)
        with pytest.raises(Died, match=r"could not be loaded: CheckpointError: .*config\.json"):
            Worker(config).start()

    def test_stopping_ends_the_processes(self, real: WorkerConfig) -> None:
        tested = ModelScheduler([real], SchedulerConfig(batch_tokens=64, max_wait=60, stall_seconds=HANG))

        async def work() -> int:
            await outcomes(tested, [text()])
            return tested.pids[0]

        pid = run(tested, work)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert tested.pids == []
