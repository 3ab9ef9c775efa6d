"""What an endpoint gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back, and what it is counted as."""

    value: Any
    tokens: int
    model: str = ""
    inputs: int = 0
