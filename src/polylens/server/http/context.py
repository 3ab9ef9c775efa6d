"""The context of one request: whose it is, the memory it holds, its result."""

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
        owner: The name of its key.
        memory: The budget from which the request takes the bytes that it holds.
    """

    owner: str
    memory: MemoryBudget
    held: int = 0

    def hold(self, nbytes: int) -> None:
        """Counts bytes that stay in memory until the response is made.

        Raises:
            TooLargeError: The request alone would hold too much.
            OverloadedError: All requests together would hold too much.
        """
        self.memory.take(self.held, nbytes)
        self.held += nbytes


class MemoryBudget:
    """The bytes that requests may hold: bodies, fetched files, rendered pages.

    Args:
        of_one: The limit in bytes per request.
        of_all: The limit in bytes for all requests under way.
    """

    def __init__(self, of_one: int, of_all: int) -> None:
        self.of_one, self.of_all, self.held = of_one, of_all, 0

    @contextmanager
    def request(self, owner: str) -> Iterator[RequestContext]:
        """The context of a request; its bytes are released when the block ends."""
        context = RequestContext(owner, self)
        try:
            yield context
        finally:
            self.held -= context.held

    def take(self, before: int, nbytes: int) -> None:
        """Counts bytes of a request that already holds `before`."""
        if before + nbytes > self.of_one:
            raise TooLargeError(
                f"the request holds more than {self.of_one:,} bytes of files and pages in memory; send several"
            )
        if self.held + nbytes > self.of_all:
            raise OverloadedError(
                "the requests under way hold as much memory as the server allows; try again in a moment"
            )
        self.held += nbytes


@dataclass(frozen=True, slots=True)
class Result:
    """The result of an endpoint, and what it is counted as."""

    value: Any
    tokens: int
    model: str = ""
    inputs: int = 0
