"""Errors as response bodies, in the published form and, for clients that expect it, also in OpenAI's.

Every client of the published interface reads `detail`. It is a plain string, but for the two statuses under which the
published service was seen to answer with an object.
"""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass
from itertools import islice
from typing import Any

from polylens.errors import FieldError, PolylensError, http_status, wire_code

SHOWN = 100  # characters of an invalid value that a response repeats

FIELDS = {"image": "input", "query": "query", "document": "documents"}
"""What an error calls an image -> the field of the request that it came in."""

NESTED = (400, 500)
"""Statuses whose body is `{"detail": {"message", "request_id", "code"}}`, as measured at the published service."""

OPENAI_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class _Start(reprlib.Repr):
    """Shows the start of a value: problems are written on the event loop, whatever a body of megabytes holds."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxdict = 3, 6, 6

    def repr_str(self, x: str, level: int) -> str:  # noqa: ARG002  reprlib's would show the end as well
        return repr(x[:SHOWN])

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:  # reprlib's would sort all keys
        if x and level <= 0:
            return "{...}"
        parts = [
            f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}"
            for key, value in islice(x.items(), self.maxdict)
        ]
        return "{" + ", ".join([*parts, "..."] if len(x) > self.maxdict else parts) + "}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """What a response says of an error, whatever its shape."""

    status: int
    code: str  # of the published interface
    message: str
    request_id: str  # of the request in the log
    field: dict[str, Any] | None = None  # the entry of `errors`, for status 422
    retry_after: float | None = None  # seconds

    @classmethod
    def of(cls, error: PolylensError, request_id: str) -> Problem:
        """The problem that an error is."""
        status = http_status(error)
        return cls(
            status=status,
            code=wire_code(error),
            message=_detail(error),
            request_id=request_id,
            field=_field(error) if status == 422 else None,
            retry_after=getattr(error, "retry_after", None),
        )

    def headers(self) -> dict[str, str]:
        """The headers of the response."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(math.ceil(self.retry_after))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers


def published(problem: Problem, *, as_openai: bool, flat: bool = False) -> dict[str, Any]:
    """The body of a response in the published shape.

    Args:
        problem: What went wrong.
        as_openai: Whether to add OpenAI's `error` object to the published fields.
        flat: Whether `detail` is a string under every status, for clients that cannot read an object there.
    """
    told = {"code": problem.code, "request_id": problem.request_id}
    if problem.status in NESTED and not flat:
        body: dict[str, Any] = {"detail": {"message": problem.message, **told}}
    else:
        body = {"detail": problem.message, **told}
    if problem.field is not None:
        body["errors"] = [problem.field]
    if as_openai:
        body["error"] = {
            "message": problem.message,
            "type": OPENAI_TYPES.get(
                problem.status, "invalid_request_error" if problem.status < 500 else "server_error"
            ),
            "param": problem.field["field"] if problem.field is not None else None,
            "code": problem.code,
        }
    return body


def _detail(error: PolylensError) -> str:
    return str(error).encode("utf-8", "replace").decode()  # the quoted input may contain a lone surrogate


def _field(error: PolylensError) -> dict[str, Any]:
    if not isinstance(error, FieldError):
        field, index = FIELDS[getattr(error, "name", "image")], getattr(error, "index", None)
        return {
            "field": field if index is None else f"{field}.{index}",
            "message": _detail(error),
            "type": "value_error",
            "input": None,
        }
    shown = _Start().repr(error.value).encode("utf-8", "replace").decode()
    return {"field": error.field, "message": error.message, "type": error.kind, "input": shown[:SHOWN]}
