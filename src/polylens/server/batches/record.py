"""What is kept of a file and of a batch, and how OpenAI's clients get to see it."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

WINDOW_SECONDS = 24 * 3600  # "24h", the one window that there is

Status = Literal["validating", "in_progress", "cancelling", "completed", "failed", "expired", "cancelled"]

UNFINISHED: frozenset[Status] = frozenset({"validating", "in_progress", "cancelling"})


def new_id(prefix: Literal["file-", "batch_"]) -> str:
    """A new name, which is also the name of the file on the disk. Names sort by their age.

    Example:
        >>> len(new_id("file-"))
        37
    """
    return f"{prefix}{time.time_ns():016x}{secrets.token_hex(8)}"


def is_id(value: str) -> bool:
    """Whether a text may be a name of `new_id`, so that nothing else becomes a path."""
    return re.fullmatch(r"(file-|batch_)[0-9a-f]{32}", value) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRecord:
    """A file; its content lies beside the record."""

    id: str
    owner: str
    filename: str
    purpose: str  # "batch" or "batch_output"
    bytes: int
    created_at: int  # seconds since 1970
    expires_at: int

    def shown(self) -> dict[str, Any]:
        """The object `file`."""
        fields = asdict(self)
        del fields["owner"]
        return {"object": "file", "status": "processed", **fields}


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRecord:
    """A batch: one file of requests, of which each line is answered by itself."""

    id: str
    owner: str
    endpoint: str
    input_file_id: str
    created_at: int  # seconds since 1970
    expires_at: int  # after which no line is begun
    metadata: Mapping[str, str] | None = None
    status: Status = "validating"
    times: Mapping[str, int] = field(default_factory=dict)  # such as in_progress_at -> seconds since 1970
    total: int = 0  # lines
    completed: int = 0
    failed: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: Sequence[Mapping[str, Any]] = field(default_factory=list)  # why a batch as a whole failed

    def shown(self) -> dict[str, Any]:
        """The object `batch`."""
        fields = asdict(self)
        for name in ("owner", "times", "total", "completed", "failed", "errors"):
            del fields[name]
        names = ("in_progress", "cancelling", "cancelled", "completed", "failed", "expired")
        return {
            "object": "batch",
            **fields,
            "completion_window": "24h",
            "errors": {"object": "list", "data": list(self.errors)} if self.errors else None,
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            **{f"{name}_at": self.times.get(f"{name}_at") for name in names},
        }
