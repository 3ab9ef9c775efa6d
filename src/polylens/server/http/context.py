"""One request while it is answered: who asks, the memory it holds, the result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from polylens.errors import OverloadedError, TooLargeError


@dataclass(slots=True)
class RequestContext:
    """One request under way.

    Args:
        owner: Name of its key.
        memory: Where what it holds is counted.
    """

    owner: str
    memory: MemoryBudget
    held: int = 0

    def hold(self, nbytes: int) -> None:
        """Counts bytes that stay in memory until the answer is there.

        Raises:
            TooLargeError: The request alone would hold too much.
            OverloadedError: All requests together would.
        """
        self.memory.take(self.held, nbytes)
        self.held += nbytes


class MemoryBudget:
    """Bytes that requests hold: bodies, fetched files, rendered pages.

    Args:
        of_one: Most bytes of one request.
        of_all: Most bytes of all requests under way.
    """

    def __init__(self, of_one: int, of_all: int) -> None:
        self.of_one, self.of_all, self.held = of_one, of_all, 0

    @contextmanager
    def request(self, owner: str) -> Iterator[RequestContext]:
        """The context of a request; its bytes are free again when the block ends."""
        context = RequestContext(owner, self)
        try:
            yield context
        finally:
            self.held -= context.held

    def take(self, before: int, nbytes: int) -> None:
        """Counts bytes of a request that holds `before` already."""
        if before + nbytes > self.of_one:
            raise TooLargeError(
                f"the request holds more than {self.of_one:,} bytes of files and pages in memory; send several"
            )
        if self.held + nbytes > self.of_all:
            raise OverloadedError("the server holds as much in memory as it may; try again in a moment")
        self.held += nbytes


@dataclass(frozen=True, slots=True)
class Result:
    """What goes back, and what it is counted as."""

    value: Any
    tokens: int
    model: str = ""
    inputs: int = 0
