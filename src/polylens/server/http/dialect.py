"""How a dialect of the interface brings its key, and how it is told what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from polylens.server.http.problems import Problem

Told = tuple[int, Any]
"""The status and the body of a response that is no success."""


def bearer(request: Request) -> str | None:
    """The `Authorization` header of a request."""
    return request.headers.get("authorization")


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """What the clients of another interface expect around a request, besides its fields."""

    tell: Callable[[Problem], Told]
    """An error -> the status and the body that they understand."""
    authorization: Callable[[Request], str | None] = bearer
    """A request -> the `Authorization` header that its key amounts to; None without a key."""


def told(problem: Problem, body: Any, statuses: Mapping[str | int, int] | None = None) -> Told:
    """A problem under the status that a dialect has for it.

    Args:
        problem: What went wrong.
        body: The body in the dialect's shape.
        statuses: Code or status of the published interface -> status of the dialect; those that are left out are the
            same.
    """
    known = statuses or {}
    return known.get(problem.code, known.get(problem.status, problem.status)), body
