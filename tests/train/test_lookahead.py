"""Inputs that are made in the background: their order, how many there are at once, and their errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from tests.support.waiting import HANG

from polylens.train.lookahead import in_threads, one_ahead
from polylens.train.pair_run import threads_for_inputs


def broken_at(last: int) -> Iterator[int]:
    yield from range(last)
    raise ValueError("the picture is broken")


def test_the_next_thing_is_made_while_the_caller_has_one() -> None:
    made = [threading.Event() for _ in range(5)]

    def things() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    found = []
    for number in one_ahead(things()):
        if number < 4:
            assert made[number + 1].wait(HANG)
        assert not any(event.is_set() for event in made[number + 2 :])
        found.append(number)
    assert found == list(range(5))


def test_threads_work_at_the_same_time_and_keep_the_order() -> None:
    together = threading.Barrier(3, timeout=HANG)
    started: list[int] = []

    def make(number: int) -> int:
        started.append(number)
        together.wait()  # breaks unless three are being made
        return number * number

    found = []
    for square in in_threads(make, iter(range(9)), 3):
        found.append(square)
        assert len(started) <= len(found) + 3
    assert found == [number * number for number in range(9)]


def test_one_thread_makes_a_thing_when_it_is_asked_for() -> None:
    started: list[int] = []
    things = in_threads(lambda number: started.append(number) or number, range(3), 1)
    assert [next(things), list(started)] == [0, [0]]


def test_an_error_comes_where_its_thing_is_due() -> None:
    found = []
    with pytest.raises(ValueError, match="the picture is broken"):
        for number in one_ahead(broken_at(2)):
            found.append(number)
    assert found == [0, 1]


def test_an_error_in_a_thread_comes_where_its_thing_is_due() -> None:
    shares = in_threads(lambda number: 12 // number, [3, 2, 0, 1], 2)
    assert [next(shares), next(shares)] == [4, 6]
    with pytest.raises(ZeroDivisionError):
        next(shares)


def test_a_gpu_gets_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 24)
    gpu = torch.device("cuda")
    assert [threads_for_inputs(gpu, ranks) for ranks in (1, 4, 8, 64)] == [8, 6, 3, 1]
    assert threads_for_inputs(torch.device("cpu"), 1) == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert threads_for_inputs(gpu, 64) == 6
