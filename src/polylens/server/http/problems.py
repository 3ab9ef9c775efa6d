"""Errors as response bodies, in the published form and, for clients that expect it, also in OpenAI's.

Every client of the published interface reads `detail`, which therefore is a plain string.
"""

from __future__ import annotations

import math
import reprlib
from itertools import islice
from typing import Any

from polylens.errors import FieldError, PolylensError, http_status, wire_code
from polylens.server.http.wire import to_json

SHOWN = 100  # characters of an invalid value that a response repeats

FIELDS = {"image": "input", "query": "query", "document": "documents"}
"""What an error calls an image -> the field of the request that it came in."""

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


def problem(error: PolylensError, request_id: str, *, as_openai: bool) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers for an error.

    Args:
        error: The error to report.
        request_id: The id of the request in the log.
        as_openai: Whether to add OpenAI's `error` object to the published fields.
    """
    status = http_status(error)
    body: dict[str, Any] = {"detail": _detail(error), "code": wire_code(error), "request_id": request_id}
    if status == 422:
        body["errors"] = [_field(error)]
    if as_openai:
        body["error"] = {
            "message": body["detail"],
            "type": OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error"),
            "param": body["errors"][0]["field"] if status == 422 else None,
            "code": body["code"],
        }
    headers = {}
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers["Retry-After"] = str(math.ceil(retry_after))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return status, to_json(body), headers


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
