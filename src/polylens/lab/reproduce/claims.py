"""What a claim is, and when a measurement shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from polylens.evaluate.metrics import Estimate
from polylens.lab.reproduce.plots import Plot

Verdict = Literal["yes", "no", "unclear", "left out"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Something a paper says, and what came out here."""

    name: str
    published: str
    """The figure, or what is said where none is printed."""
    source: str
    ours: dict[str, Estimate]
    """What was measured -> its figure."""
    shows: Verdict
    sentence: str
    """What came out, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """Claims that one measurement answers."""

    title: str
    method: str
    """What was measured, on what."""
    claims: tuple[Claim, ...]
    plots: tuple[Plot, ...] = ()


def decide(estimate: Estimate, above: float = 0.0) -> Verdict:
    """Whether a figure lies above a bar, by its interval.

    Args:
        estimate: A figure with its 95 % interval.
        above: The bar.

    Example:
        >>> decide(Estimate(0.2, 0.1, 0.3)), decide(Estimate(0.0, 0.0, 0.0)), decide(Estimate(0.1, -0.1, 0.3))
        ('yes', 'no', 'unclear')
    """
    if estimate.low > above:
        return "yes"
    return "no" if estimate.high <= above else "unclear"


def worded(verdict: Verdict, yes: str, no: str, unclear: str) -> str:
    """The sentence that belongs to a verdict."""
    return {"yes": yes, "no": no}.get(verdict, unclear)


def figure(estimate: Estimate) -> str:
    """A figure with its interval.

    Example:
        >>> figure(Estimate(-0.0125, -0.05, 0.0251))
        '-0.013 (-0.050 to 0.025)'
    """
    return f"{estimate.mean:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
