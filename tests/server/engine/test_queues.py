"""Which jobs make up a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from polylens.models.protocol import Item
from polylens.server.engine.queues import Job, PriorityQueue, QueueName


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def job(loop: asyncio.AbstractEventLoop, tokens: int, owner: str = "a") -> Job:
    item = Item(token_ids=np.zeros(tokens, dtype=np.int64), pool=(0, tokens), task=None)
    return Job(item, "dense", owner, loop.create_future())


def put(
    queues: PriorityQueue, loop: asyncio.AbstractEventLoop, queue: QueueName, sizes: list[int], owner: str = "a"
) -> list[Job]:
    jobs = [job(loop, size, owner) for size in sizes]
    for each in jobs:
        queues.put(each, queue)
    return jobs


def test_first_in_first_out_up_to_the_budget(loop: asyncio.AbstractEventLoop) -> None:
    queues = PriorityQueue()
    jobs = put(queues, loop, "interactive", [4, 3, 2, 5])
    assert queues.take(10) == jobs[:3]
    assert queues.take(10) == jobs[3:]
    assert queues.take(10) == []


def test_one_that_is_larger_than_the_budget_goes_alone(loop: asyncio.AbstractEventLoop) -> None:
    queues = PriorityQueue()
    jobs = put(queues, loop, "bulk", [50, 1])
    assert queues.take(10) == jobs[:1]
    assert queues.take(10) == jobs[1:]


def test_a_short_request_is_in_the_very_next_batch(loop: asyncio.AbstractEventLoop) -> None:
    queues = PriorityQueue()
    put(queues, loop, "bulk", [10] * 2_048)
    for _ in range(20):
        queues.take(100)
    (short,) = put(queues, loop, "interactive", [10], owner="b")
    assert short in queues.take(100)


def test_both_queues_get_their_shares_while_both_wait(loop: asyncio.AbstractEventLoop) -> None:
    queues = PriorityQueue()
    bulk = put(queues, loop, "bulk", [10] * 1_000)
    quick = put(queues, loop, "interactive", [10] * 1_000, owner="b")
    taken = [each for _ in range(40) for each in queues.take(100)]
    assert len(taken) == 400
    assert sum(each in quick for each in taken) == pytest.approx(300, abs=2)
    assert sum(each in bulk for each in taken) == pytest.approx(100, abs=2)


def test_an_empty_queue_saves_no_credit_up(loop: asyncio.AbstractEventLoop) -> None:
    queues = PriorityQueue()
    put(queues, loop, "interactive", [10] * 500)
    for _ in range(50):
        queues.take(100)
    put(queues, loop, "interactive", [10] * 100)
    late = put(queues, loop, "bulk", [10] * 100, owner="b")
    assert sum(each in late for each in queues.take(100)) <= 3  # not the ten that the other queue had before


def test_owners_take_turns_within_a_queue(loop: asyncio.AbstractEventLoop) -> None:
    queues = PriorityQueue()
    put(queues, loop, "bulk", [10] * 100, owner="a")
    other = put(queues, loop, "bulk", [10] * 5, owner="b")
    assert sum(each in other for each in queues.take(100)) == 5


def test_jobs_of_clients_that_went_away_are_dropped(loop: asyncio.AbstractEventLoop) -> None:
    queues = PriorityQueue()
    jobs = put(queues, loop, "interactive", [4, 4, 4])
    jobs[0].future.cancel()
    jobs[1].future.cancel()
    assert queues.take(10) == jobs[2:]


def test_texts_beside_images_are_those_of_the_interactive_queue_whoever_sent_them(
    loop: asyncio.AbstractEventLoop,
) -> None:
    queues = PriorityQueue()
    texts = put(queues, loop, "interactive", [4, 4], owner="a")
    [picture] = put(queues, loop, "interactive", [4], owner="b")
    picture.item = replace(picture.item, patches=torch.zeros(1, 1, dtype=torch.uint8))
    texts += put(queues, loop, "interactive", [4], owner="b")
    [tried] = put(queues, loop, "interactive", [1], owner="c")
    tried.was_apart = True
    [gone] = put(queues, loop, "interactive", [1], owner="d")
    gone.future.cancel()
    long = put(queues, loop, "bulk", [1], owner="e")
    assert queues.take_texts(8) == texts[:2]
    assert queues.take_texts(1) == texts[2:]  # longer than the budget, so by itself
    assert queues.take_texts(8) == []
    assert {id(each) for each in queues.drain()} == {id(each) for each in (picture, tried, *long)}
