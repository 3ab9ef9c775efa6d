"""Commits of several writers at once: what another one's commit made impossible is tried again.

Lance commits by putting the manifest of the next version if nobody has put it yet. Whoever comes second looks at what
the first one changed: pages of other files fit together, and the commit goes on; the same pages conflict. LanceDB tries
again a few times at once, which many writers use up; so there are more tries here, after a random wait each.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from polylens.errors import LibraryBusyError

TRIES = 12
_FIRST_WAIT = 0.05  # seconds at most before the second try; doubled for each one after that
_LONGEST_WAIT = 5.0

# LanceDB has no class of error for either: it says so in the text of a RuntimeError, OSError or ValueError.
_CONFLICT = re.compile(r"[Cc]ommit conflict|[Tt]oo many concurrent|concurrent transaction|preempted by|already exists")
GONE = re.compile(r"Not found: .*\.lance/|Table '.*' was not found")
"""What LanceDB says of files that were compacted away, or of a table that was dropped."""

T = TypeVar("T")


def is_conflict(error: BaseException) -> bool:
    """Whether an error says that another writer's commit, or its compacting, came between."""
    return isinstance(error, (RuntimeError, OSError, ValueError)) and bool(
        _CONFLICT.search(str(error)) or GONE.search(str(error))
    )


def retried(attempt: Callable[[], T], index: str, *, tries: int = TRIES) -> T:
    """What an attempt gives, tried again with full jitter while others come between.

    The wait is drawn between nothing and a bound that doubles each time, so that writers that met once part.

    Args:
        attempt: Commits once. It must start from the latest version each time.
        index: The name of the index.
        tries: Most attempts.

    Raises:
        LibraryBusyError: Others came between each time.
    """
    for number in range(tries):
        try:
            return attempt()
        except (RuntimeError, OSError, ValueError) as error:
            if not is_conflict(error):
                raise
            if number == tries - 1:
                raise LibraryBusyError(
                    f"others write to the index in {index} so often that {tries} attempts to commit failed ({error}); "
                    "nothing that was saved is lost. Call the same command again, or with fewer writers"
                ) from error
        time.sleep(random.uniform(0.0, min(_LONGEST_WAIT, _FIRST_WAIT * 2**number)))
    raise AssertionError("no attempt")
