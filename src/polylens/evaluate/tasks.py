"""What all benchmarks that consist of tasks do: they refuse tasks that they have not, and say how far they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from polylens.errors import InputError


@dataclass(frozen=True, slots=True)
class Progress:
    """What a caller is told after each batch."""

    task: str
    done: int
    total: int
    """Pages or texts, of all tasks."""


def require_some_of(known: Sequence[str], names: Sequence[str], what: str = "tasks") -> None:
    """Refuses names that are none of those that are known, and no names at all.

    Args:
        known: What there is.
        names: What is asked for.
        what: What it is called in the refusal.

    Raises:
        InputError: Names the first of them.
    """
    for name in names or [""]:
        if name not in known:
            raise InputError(f"{what} must be some of {', '.join(known)}, got {name!r}")
