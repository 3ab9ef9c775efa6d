"""Texts that come while a worker computes images are computed beside them, and whatever fails there is tried again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from tests.support.root import ROOT
from tests.support.waiting import HANG

from polylens.checkpoints.loading import read_header
from polylens.errors import WorkerError
from polylens.models.description import Output
from polylens.models.protocol import Item
from polylens.server.engine.scheduler import ModelScheduler, SchedulerConfig
from polylens.server.engine.worker import Answer, Died, Speeds, Worker, WorkerConfig
from polylens.types import Embedding

T = TypeVar("T")
NANO = ROOT / "src/polylens/assets/nano"
CONFIG = WorkerConfig(
    folder=Path("none"), modalities=("text", "image"), device="cpu", dtype="float32", threads=1, texts_apart=True
)


def text(tokens: int = 4) -> Item:
    return Item(token_ids=np.ones(tokens, dtype=np.int64), pool=(0, tokens))


PAGE = replace(text(500), patches=torch.zeros(1, 1, dtype=torch.uint8))


class Pretend(Worker):
    """A worker without a process, whose images take until a text has been tried beside them."""

    fails: type[Exception] | None = None

    def __init__(self, config: WorkerConfig) -> None:
        super().__init__(config)
        self.seen: list[tuple[str, bool]] = []
        self.has_begun, self.was_tried = threading.Event(), threading.Event()

    def start(self) -> Speeds:
        return Speeds(text=1e-6, image=1e-6)

    @property
    def alive(self) -> bool:
        return True

    def stop(self) -> None:
        self.was_tried.set()

    def run(
        self, items: Sequence[Item], outputs: Sequence[Output], timeout: float, *, apart: bool = False
    ) -> list[Answer]:
        del outputs, timeout
        is_page = items[0].patches is not None
        self.seen.append(("page" if is_page else f"{len(items)} texts", apart))
        if is_page:
            self.has_begun.set()
            assert self.was_tried.wait(HANG)
        elif apart:
            self.was_tried.set()
            if self.fails is not None:
                raise self.fails("not beside an image")
        return [[Embedding(np.ones(3, np.float32), np.ones((1, 3), np.float32), 1.0)] for _ in items]


def run(worker: Pretend, work: Callable[[ModelScheduler], Awaitable[T]]) -> T:
    async def main() -> T:
        config = SchedulerConfig(batch_tokens=64, max_wait=60.0, stall_seconds=HANG)
        tested = ModelScheduler([worker.config], config, lambda _: worker)
        try:
            return await work(tested)
        finally:
            await tested.stop()

    return asyncio.run(main())


async def while_a_page_is_computed(tested: ModelScheduler, worker: Pretend, *texts: Item) -> list[Any]:
    """The results of the page and of texts that came when it had been begun."""
    page = tested.submit(PAGE, "bulk", owner="a", wants_tokens=False)
    while not worker.has_begun.is_set():
        await asyncio.sleep(0.001)
    waiting = [tested.submit(each, "interactive", owner="a", wants_tokens=False) for each in texts]
    return list(await asyncio.gather(page, *waiting, return_exceptions=True))


def test_a_text_does_not_wait_for_a_page() -> None:
    worker = Pretend(CONFIG)
    found = run(worker, lambda tested: while_a_page_is_computed(tested, worker, text(), text()))
    assert worker.seen == [("page", False), ("2 texts", True)]
    assert all(len(each) == 1 for each in found)


def test_beside_nothing_a_text_takes_the_ordinary_way() -> None:
    worker = Pretend(CONFIG)

    async def one(tested: ModelScheduler) -> None:
        await tested.submit(text(), "interactive", owner="a", wants_tokens=False)

    run(worker, one)
    assert worker.seen == [("1 texts", False)]


@pytest.mark.parametrize("failure", [WorkerError, Died])
def test_what_fails_beside_a_page_is_tried_again_by_itself(failure: type[Exception]) -> None:
    worker = Pretend(CONFIG)
    worker.fails = failure
    found = run(worker, lambda tested: while_a_page_is_computed(tested, worker, text()))
    assert worker.seen == [("page", False), ("1 texts", True), ("1 texts", False)]
    assert all(len(each) == 1 for each in found)


def test_a_real_worker_gives_the_same_vectors_either_way() -> None:
    processor = read_header(NANO).processor
    adapter, prompt = processor.role(None, None)
    items = [processor.text(words, task=adapter, prompt_name=prompt, max_length=None) for words in ("a harbour", "b")]
    worker = Worker(replace(CONFIG, folder=NANO))
    worker.start()
    try:
        one, other = (worker.run(items, ["dense"] * 2, HANG, apart=apart) for apart in (False, True))
    finally:
        worker.stop()
    for mine, theirs in zip(one, other, strict=True):
        assert not isinstance(mine, float) and not isinstance(theirs, float)
        assert np.array_equal(mine[0].dense, theirs[0].dense)
