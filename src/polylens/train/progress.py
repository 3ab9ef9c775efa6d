"""The progress of a training run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """What a training run reports to its caller after each step."""

    step: int
    total: int
    loss: float
    seconds: float
    """Duration of this step."""
