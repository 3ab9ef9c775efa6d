"""Waiting for a condition. How long it may take is no part of what is tested: a busy machine is slow, not wrong."""

from __future__ import annotations

import time
from collections.abc import Callable

HANG = 240
"""Seconds after which something is taken to hang. Nothing that is tested comes near it."""

PROGRAM_HANG = 900
"""The same for a program that trains, or installs and indexes, for a minute where nothing else runs."""


def until(
    holds: Callable[[], object], what: Callable[[], object] = lambda: "the condition", seconds: float = HANG
) -> None:
    """Returns as soon as a condition holds.

    Args:
        holds: The condition, asked 50 times per second.
        what: Describes what was waited for, and what there is instead; asked only if the wait is given up.
        seconds: After them it is given up.

    Raises:
        AssertionError: It did not hold within that time.
    """
    given_up = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > given_up:
            raise AssertionError(f"did not come within {seconds} s: {what()}")
        time.sleep(0.02)
