"""Plots as SVG: points with intervals, curves, histograms. Colours are classes, which the page around them sets.

Lengths are pixels of a drawing `WIDTH` wide, which scales with its page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from polylens.evaluate.metrics import Estimate

WIDTH = 720
NAMES, FIGURES = 190, 52  # what is left of the axes: names of rows, or figures
RIGHT, TOP, BOTTOM = 24, 52, 30
SERIES = 4  # colours that the page has, `s0` and so on
_ROW, _LANE = 18, 11  # of a row of points without its lanes, and of each lane
_PLOT_HEIGHT = 190  # of curves and histograms
_BINS = 40
_GLYPH = 6.6  # of a letter of a legend, a little more than it is


@dataclass(frozen=True, slots=True)
class Dots:
    """A point with its interval for each row and series."""

    title: str
    rows: tuple[str, ...]
    series: dict[str, tuple[Estimate, ...]]
    """Name -> one figure a row."""
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Lines:
    """The share that is kept, by width."""

    title: str
    dims: tuple[int, ...]
    """From the whole width down."""
    trained: tuple[int, ...]
    """Those that training knew; their points are filled."""
    series: dict[str, tuple[float, ...]]
    """Name -> one figure a width."""


@dataclass(frozen=True, slots=True)
class Histograms:
    """How cosines are spread: the share of each series in each bin."""

    title: str
    series: dict[str, npt.NDArray[np.float64]]


Plot = Dots | Lines | Histograms


def draw(plot: Plot) -> str:
    """A plot as an `<svg>` element, for a page that sets the colours of `.s0` to `.s3`.

    Example:
        >>> draw(Lines("kept", (4, 2), (4, 2), {"text": (1.0, 0.5)})).startswith("<svg ")
        True
    """
    if isinstance(plot, Dots):
        return _dots(plot)
    return _lines(plot) if isinstance(plot, Lines) else _histograms(plot)


def _dots(plot: Dots) -> str:
    step = _ROW + _LANE * len(plot.series)
    height = TOP + step * len(plot.rows) + BOTTOM
    across = _scale(plot.low, plot.high, NAMES, WIDTH - RIGHT)
    parts = [*_axis(across, _ticks(plot.low, plot.high), height)]
    for i, row in enumerate(plot.rows):
        middle = TOP + step * (i + 0.5)
        parts.append(_text(NAMES - 12, middle + 4, row, "end"))
        for lane, estimates in enumerate(plot.series.values()):
            y = middle + _LANE * (lane - (len(plot.series) - 1) / 2)
            each = estimates[i]
            low, high = across(max(each.low, plot.low)), across(min(each.high, plot.high))
            parts.append(f'<g class="s{lane % SERIES}"><path class="line" d="M{low:.1f} {y:.1f}H{high:.1f}"/>')
            parts.append(f'<circle class="fill" cx="{across(each.mean):.1f}" cy="{y:.1f}" r="4"/></g>')
    return _svg(plot.title, NAMES, height, [*parts, *_legend(tuple(plot.series), NAMES)])


def _lines(plot: Lines) -> str:
    height = TOP + _PLOT_HEIGHT + BOTTOM
    lowest = min((value for values in plot.series.values() for value in values), default=0.0)
    low = math.floor(lowest * 5) / 5
    high = max(1.0, *(value for values in plot.series.values() for value in values)) if plot.series else 1.0
    across = _scale(math.log2(plot.dims[-1]), math.log2(plot.dims[0]), FIGURES, WIDTH - RIGHT)
    up = _scale(low, high, TOP + _PLOT_HEIGHT, TOP)
    parts = []
    for tick in _ticks(low, high):
        parts.append(f'<path class="grid" d="M{FIGURES} {up(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_text(FIGURES - 12, up(tick) + 4, f"{tick * 100:.0f} %", "end"))
    for dim in plot.dims:
        parts.append(_text(across(math.log2(dim)), height - 8, str(dim), "middle"))
    for lane, values in enumerate(plot.series.values()):
        points = [(across(math.log2(dim)), up(value)) for dim, value in zip(plot.dims, values, strict=True)]
        parts.append(f'<g class="s{lane % SERIES}"><path class="line" d="{_path(points)}"/>')
        for dim, (x, y) in zip(plot.dims, points, strict=True):
            kind = "fill" if dim in plot.trained else "hollow"
            parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        parts.append("</g>")
    return _svg(plot.title, FIGURES, height, [*parts, *_legend(tuple(plot.series), FIGURES)])


def _histograms(plot: Histograms) -> str:
    height = TOP + _PLOT_HEIGHT + BOTTOM
    low = min(-0.2, *(float(values.min()) for values in plot.series.values()))
    edges = np.linspace(low, 1.0, _BINS + 1)
    shares = [
        np.histogram(np.clip(values, low, 1.0), edges)[0] / max(1, len(values)) for values in plot.series.values()
    ]
    across = _scale(low, 1.0, FIGURES, WIDTH - RIGHT)
    up = _scale(0.0, max(float(share.max()) for share in shares), TOP + _PLOT_HEIGHT, TOP)
    parts = [*_axis(across, _ticks(low, 1.0), height)]
    for lane, (values, share) in enumerate(zip(plot.series.values(), shares, strict=True)):
        path = _path([(across(edge), up(value)) for edge, value in _steps(edges, share)])
        mean = across(float(values.mean()))
        parts.append(f'<g class="s{lane % SERIES}"><path class="area" d="{path}Z"/><path class="line" d="{path}"/>')
        parts.append(f'<path class="mean" d="M{mean:.1f} {TOP}V{TOP + _PLOT_HEIGHT}"/></g>')
    legend = tuple(f"{name} (mean {values.mean():.2f})" for name, values in plot.series.items())
    return _svg(plot.title, FIGURES, height, [*parts, *_legend(legend, FIGURES)])


def _steps(edges: npt.NDArray[np.float64], shares: npt.NDArray[np.float64]) -> Iterator[tuple[float, float]]:
    """Corners of the outline, from the ground to the ground."""
    yield float(edges[0]), 0.0
    for left, right, share in zip(edges, edges[1:], shares, strict=False):
        yield float(left), float(share)
        yield float(right), float(share)
    yield float(edges[-1]), 0.0


def _scale(low: float, high: float, start: float, stop: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (stop - start)


def _ticks(low: float, high: float) -> list[float]:
    """Multiples of a fifth."""
    return [i / 5 for i in range(math.ceil(low * 5 - 1e-9), math.floor(high * 5 + 1e-9) + 1)]


def _axis(across: Callable[[float], float], ticks: Sequence[float], height: float) -> Iterator[str]:
    for tick in ticks:
        yield f'<path class="grid" d="M{across(tick):.1f} {TOP - 6}V{height - BOTTOM + 4}"/>'
        yield _text(across(tick), height - 8, f"{tick:.1f}", "middle")


def _legend(names: tuple[str, ...], left: float) -> Iterator[str]:
    x = left + 4.0
    for lane, name in enumerate(names):
        yield f'<g class="s{lane % SERIES}"><circle class="fill" cx="{x:.1f}" cy="32" r="4"/></g>'
        yield _text(x + 9, 36, name, "start")
        x += 9 + len(name) * _GLYPH + 18


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, left: float, height: float, parts: Sequence[str]) -> str:
    heading = f'<text class="title" x="{left}" y="14">{escape(title)}</text>'
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">\n'
        + "\n".join([heading, *parts])
        + "\n</svg>"
    )
