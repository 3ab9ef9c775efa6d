"""What all benchmarks share: checking the names of tasks, and reporting progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from polylens.errors import InputError


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a benchmark is, after each batch."""

    task: str
    done: int
    total: int
    """Pages or texts of all tasks."""


def require_some_of(known: Sequence[str], names: Sequence[str], what: str = "tasks") -> None:
    """Checks that at least one name is given and that all names are known.

    Args:
        known: The names that exist.
        names: The names that are asked for.
        what: What the names are called in the error message.

    Raises:
        InputError: A name is unknown, or there is none.
    """
    for name in names or [""]:
        if name not in known:
            raise InputError(f"{what} must be among {', '.join(known)}, got {name!r}")
