"""Checks that the configurations of all families share."""

from __future__ import annotations

from collections.abc import Mapping
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


def require_values(place: str, found: Mapping[str, Any], **wanted: object) -> None:
    """Checks that fields of a published configuration have the values that a family can compute with.

    Args:
        place: What the error calls the configuration.
        found: The configuration. A field that it lacks passes.
        **wanted: Field -> its one value.

    Raises:
        CheckpointError: A field has another value; the message names it.
    """
    for field, value in wanted.items():
        if found.get(field, value) != value:
            raise CheckpointError(
                f"{field} of {place} is {found[field]!r}; this family is computed with {value!r} only"
            )
