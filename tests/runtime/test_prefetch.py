"""Preparing ahead: order, errors at their place, a bound in bytes, and threads that end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from polylens.runtime.prefetch import Prefetcher


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("polylens-prepare")]


def one_byte(_: object) -> int:
    return 1


@pytest.mark.parametrize("count", [1, 4])
def test_results_keep_the_order_of_the_jobs(count: int) -> None:
    """However long each takes: here the first of four jobs waits until the other three are through."""
    others = threading.Barrier(count)

    def prepare(number: int) -> int:
        if count > 1 and number < 4:
            others.wait(timeout=30)
        return number * number

    with Prefetcher(prepare, range(40), nbytes=one_byte, max_bytes=100, threads=count) as ready:
        assert list(ready) == [number * number for number in range(40)]


def test_later_jobs_go_on_while_the_first_is_slow() -> None:
    last = threading.Event()

    def prepare(number: int) -> int:
        if number == 3:
            last.set()
        if number == 0:
            assert last.wait(timeout=30)
        return number

    with Prefetcher(prepare, range(4), nbytes=one_byte, max_bytes=100, threads=2) as ready:
        assert list(ready) == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_arrives_at_its_job_and_costs_no_other(count: int) -> None:
    def prepare(number: int) -> int:
        if number % 3 == 1:
            raise ValueError(f"job {number}")
        return number

    found: list[object] = []
    with Prefetcher(prepare, range(8), nbytes=one_byte, max_bytes=4, threads=count) as ready:
        while True:
            try:
                found.append(next(ready))
            except ValueError as error:
                found.append(str(error))
            except StopIteration:
                break
    assert found == [0, "job 1", 2, 3, "job 4", 5, 6, "job 7"]


def test_an_error_while_drawing_comes_last() -> None:
    def jobs() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the disk is gone")

    with Prefetcher(str, jobs(), nbytes=one_byte, max_bytes=100, threads=2) as ready:
        assert [next(ready), next(ready)] == ["1", "2"]
        with pytest.raises(OSError, match="the disk is gone"):
            next(ready)
        assert list(ready) == []


@pytest.mark.parametrize("count", [1, 3])
def test_no_more_waits_than_the_bound_and_one_result_per_thread(count: int) -> None:
    lock, held, most = threading.Lock(), 0, 0

    def prepare(number: int) -> int:
        nonlocal held, most
        with lock:
            held += 10
            most = max(most, held)
        return number

    with Prefetcher(prepare, range(60), nbytes=lambda _: 10, max_bytes=50, threads=count) as ready:
        for _ in ready:
            with lock:
                held -= 10
    assert held == 0 and 50 <= most <= 50 + 10 * (count + 1)  # one more may be taken but not yet counted as taken


def test_a_result_larger_than_the_bound_comes_through() -> None:
    with Prefetcher(str, range(5), nbytes=lambda _: 1_000, max_bytes=1, threads=2) as ready:
        assert list(ready) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("interruption", [None, KeyboardInterrupt, ValueError])
def test_threads_end_and_files_close_with_the_block(interruption: type[BaseException] | None) -> None:
    is_closed = threading.Event()

    def jobs() -> Iterator[int]:
        try:
            yield from range(1_000)
        finally:
            is_closed.set()

    def use() -> None:
        with Prefetcher(str, jobs(), nbytes=one_byte, max_bytes=8, threads=3) as ready:
            assert next(ready) == "0" and threads()
            if interruption is not None:
                raise interruption

    if interruption is None:
        use()
    else:
        with pytest.raises(interruption):
            use()
    assert not threads() and is_closed.is_set()
