"""The steps of a run on someone's data: from its last checkpoint to its end, or until time is up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from polylens.train.distributed import any_of
from polylens.train.journal import Journal
from polylens.train.progress import Progress

LOG_EVERY = 10  # steps

Drawn = TypeVar("Drawn")
"""What a step takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps(Generic[Drawn]):
    """What happens at each step, and what between them."""

    total: int
    checkpoint_every: int  # steps; the last one has a checkpoint too
    take: Callable[[Drawn, int], dict[str, float]]
    """One update, with the number of the step from 1; its losses by name, `total` among them."""
    sources: Callable[[Drawn], str]
    """What the journal says a step's data are."""
    evaluate: Callable[[], dict[str, float]]
    """How the model does as it stands; asked at the start and at each checkpoint."""
    save: Callable[[int], None]
    """Writes a checkpoint with so many steps behind it."""

    def go(
        self,
        plan: Iterable[Drawn],
        start: int,
        *,
        journal: Journal | None,
        report: Callable[[Progress], None],
        max_seconds: float | None,
    ) -> bool:
        """Goes through the plan; False where time ran out first.

        Args:
            plan: What each step takes, from the first of the run.
            start: Steps that the run has behind it: they are drawn and not taken.
            journal: None in a process that only helps another.
            report: Called after each step.
            max_seconds: Stop after a checkpoint once this much time has passed.
        """
        began = time.monotonic()
        if journal and start == 0:
            journal.note(0, self.evaluate())
        for step, drawn in enumerate(plan, start=1):
            if step <= start:
                continue
            tick = time.monotonic()
            losses = self.take(drawn, step)
            report(Progress(step, self.total, losses["total"], time.monotonic() - tick))
            checkpoint = step % self.checkpoint_every == 0 or step == self.total
            if journal and (step % LOG_EVERY == 0 or checkpoint):
                rounded = {name: round(value, 6) for name, value in losses.items()}
                scores = self.evaluate() if checkpoint else {}
                journal.note(step, {**rounded, **scores}, source=self.sources(drawn))
            if checkpoint:
                self.save(step)
            if checkpoint and max_seconds is not None and step < self.total:
                late = time.monotonic() - began > max_seconds
                if any_of(late):  # clocks differ, and one that stops alone leaves the others waiting
                    return False
        return True


def cosine_rate(peak: float, done: float, step: int, warmup_steps: int) -> float:
    """Learning rate: a linear warm-up, and a cosine to zero.

    Args:
        peak: At its highest.
        done: Share of the cosine that lies behind, from 0 to 1.
        step: From 1; it decides the warm-up.
        warmup_steps: At least one.

    Example:
        >>> [round(cosine_rate(1.0, step / 10, step, 2), 2) for step in (1, 2, 5, 10)]
        [0.49, 0.9, 0.5, 0.0]
    """
    return peak * 0.5 * (1 + math.cos(math.pi * done)) * min(1.0, step / warmup_steps)
