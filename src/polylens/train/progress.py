"""What a caller of a training run is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """What a caller is told after each step."""

    step: int
    total: int
    loss: float
    seconds: float
    """Of this step."""
