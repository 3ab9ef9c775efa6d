"""Claims of the papers, and the verdict of a measurement on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from polylens.evaluate.metrics import Estimate
from polylens.lab.reproduce.plots import Plot

Verdict = Literal["yes", "no", "unclear", "left out"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A claim of a paper, and our result."""

    name: str
    published: str
    """The published figure, or the statement where no figure is printed."""
    source: str
    ours: dict[str, Estimate]
    """Measured quantity -> its estimate."""
    shows: Verdict
    sentence: str
    """Our result in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """The claims of one measurement."""

    title: str
    method: str
    """The quantity and the data of the measurement."""
    claims: tuple[Claim, ...]
    plots: tuple[Plot, ...] = ()


def decide(estimate: Estimate, above: float = 0.0) -> Verdict:
    """The verdict on whether a figure lies above a threshold, by its interval.

    Args:
        estimate: A figure with its 95 % interval.
        above: The threshold.

    Example:
        >>> decide(Estimate(0.2, 0.1, 0.3)), decide(Estimate(0.0, 0.0, 0.0)), decide(Estimate(0.1, -0.1, 0.3))
        ('yes', 'no', 'unclear')
    """
    if estimate.low > above:
        return "yes"
    return "no" if estimate.high <= above else "unclear"


def sentence_for(verdict: Verdict, yes: str, no: str, unclear: str) -> str:
    """The sentence for a verdict; `unclear` also stands for "left out"."""
    return {"yes": yes, "no": no}.get(verdict, unclear)


def figure(estimate: Estimate) -> str:
    """An estimate with its interval, as text.

    Example:
        >>> figure(Estimate(-0.0125, -0.05, 0.0251))
        '-0.013 (-0.050 to 0.025)'
    """
    return f"{estimate.mean:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
