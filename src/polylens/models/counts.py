"""A check that the configurations of all families share."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from polylens.errors import CheckpointError


def require_counts(part: Any) -> None:
    """Checks that every `int` field of a configuration's dataclass is at least 1, because each counts something.

    Raises:
        CheckpointError: A field is not; the message names it.
    """
    for field in fields(part):
        value = getattr(part, field.name)
        if field.type == "int" and (type(value) is not int or value < 1):
            raise CheckpointError(
                f"{field.name} of {type(part).__name__} must be a whole number above 0, the file has {value!r}"
            )
