"""Small parts of the server that need no server: what is held, what is cached, where workers compute."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polylens.errors import InputError, OverloadedError, TooLargeError
from polylens.server.engine import registry
from polylens.server.engine.cache import OVERHEAD, Cache, Entry
from polylens.server.http.context import MemoryBudget
from polylens.server.http.wire import sized
from polylens.server.settings import Settings
from polylens.types import Embedding


def entry(numbers: int = 16) -> Entry:
    return Entry(Embedding(np.ones(numbers, np.float32), np.zeros((0, 0), np.float32)), tokens=3)


class TestMemory:
    def test_one_request_and_all_of_them_are_bounded_and_what_was_held_is_free_again(self) -> None:
        memory = MemoryBudget(of_one=100, of_all=150)
        with memory.request("a") as first:
            first.hold(60)
            first.hold(40)
            with pytest.raises(TooLargeError):
                first.hold(1)
            with memory.request("b") as second:
                second.hold(50)
                with pytest.raises(OverloadedError):
                    second.hold(1)
            assert memory.held == 100
        assert memory.held == 0

    def test_a_request_that_failed_holds_nothing(self) -> None:
        memory = MemoryBudget(of_one=100, of_all=150)
        with pytest.raises(ZeroDivisionError), memory.request("a") as context:
            context.hold(10)
            raise ZeroDivisionError
        assert memory.held == 0


class TestCache:
    def test_those_used_longest_ago_make_room(self) -> None:
        cache = Cache(3 * (64 + OVERHEAD))
        for key in (b"a", b"b", b"c"):
            cache.put(key, entry())
        assert cache.get(b"a") is not None
        cache.put(b"d", entry())
        assert [cache.get(key) is not None for key in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
        assert cache.nbytes == 3 * (64 + OVERHEAD)

    def test_the_same_key_again_counts_once(self) -> None:
        cache = Cache(10_000)
        cache.put(b"a", entry())
        cache.put(b"a", entry(32))
        assert cache.nbytes == 128 + OVERHEAD

    def test_one_that_is_larger_than_all_of_it_is_not_kept(self) -> None:
        cache = Cache(100)
        cache.put(b"a", entry())
        assert (cache.get(b"a"), cache.nbytes) == (None, 0)


class TestSized:
    def test_more_than_there_are(self) -> None:
        with pytest.raises(InputError, match="between 1 and 16"):
            sized(entry().embedding, 17, normalised=True)

    def test_a_vector_of_zeros_stays_one(self) -> None:
        zeros = Embedding(np.zeros(4, np.float32), np.zeros((0, 0), np.float32), norm=0.0)
        assert sized(zeros, 2, normalised=True).tolist() == [0, 0]


def test_workers_take_turns_on_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    three = Settings(workers=3)
    assert registry._places(torch.device("cuda"), three) == ["cuda:0", "cuda:1", "cuda:0"]
    assert registry._places(torch.device("cuda:1"), three) == ["cuda:1"] * 3
    assert registry._places(torch.device("cpu"), three) == ["cpu"] * 3
