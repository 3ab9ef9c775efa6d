"""Two helpers for asyncio: a call in a thread of a given executor, and a group of coroutines that fails as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(executor: Executor, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Calls a function that blocks or computes in a thread of an executor, and returns its result."""
    return await asyncio.get_running_loop().run_in_executor(executor, partial(function, *args, **options))


async def together(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order. The first error cancels the others, and is raised once they have ended."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
