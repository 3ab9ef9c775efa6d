"""Inputs are prepared in the background while the model computes, in order, and never more than a few at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from polylens.runtime.prefetch import read_ahead

Given = TypeVar("Given")
Made = TypeVar("Made")


def one_ahead(things: Iterable[Made]) -> Iterator[Made]:
    """Makes the next thing in a thread while the caller works with the one before.

    Two things are in memory at most: the caller's, and the next. An error in the making is raised where its thing is
    due.

    Args:
        things: Made as they are asked for, such as by a generator; only the thread advances them.

    Example:
        >>> list(one_ahead(number**2 for number in range(3)))
        [0, 1, 4]
    """
    with read_ahead(things, nbytes=lambda _: 1, max_bytes=1) as ready:  # things are counted: one waits at most
        yield from ready


def in_threads(make: Callable[[Given], Made], things: Iterable[Given], count: int) -> Iterator[Made]:
    """Makes one thing of each given one in several threads; they come out in order.

    At most `count` of them are made, or being made, beyond the one that the caller has.

    Args:
        make: Called in the threads.
        things: What it makes something of, one after the other.
        count: Threads; 1 uses none but the caller's.

    Example:
        >>> list(in_threads(str, range(3), 2))
        ['0', '1', '2']
    """
    if count == 1:
        yield from map(make, things)
        return
    with ThreadPoolExecutor(count, thread_name_prefix="polylens-inputs") as threads:
        coming: deque[Future[Made]] = deque()
        for thing in things:
            coming.append(threads.submit(make, thing))
            if len(coming) > count:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
