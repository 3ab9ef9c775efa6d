"""Two ways of doing several things at once that asyncio leaves to its users."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(pool: Executor, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """What a function returns that blocks or computes, called in a thread of a pool of our own."""
    return await asyncio.get_running_loop().run_in_executor(pool, partial(function, *args, **options))


async def together(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order; the first that fails ends the others, and its error is raised when they have ended."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
