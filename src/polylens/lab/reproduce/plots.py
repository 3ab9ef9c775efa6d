"""The plots of the report as SVG: points with intervals, curves, histograms.

matplotlib draws each role, such as text or the first series, in a placeholder colour, which is then replaced by a
variable of the page's style. So the page sets the colours, for light and dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import MultipleLocator, PercentFormatter

from polylens.evaluate.metrics import Estimate

SERIES = 4  # colours that the page has, `--s0` and so on
_WIDTH, _HEIGHT = 7.2, 2.7  # inches; the page scales them. The height is that of curves and histograms
_ROW, _LANE = 0.18, 0.12  # inches per row of points, and per series in it
_BINS = 40

_ROLES = ("text", "soft", "line", "surface", *(f"s{number}" for number in range(SERIES)))
_COLOURS = {role: f"#0100{number:02x}" for number, role in enumerate(_ROLES)}
_STYLE = {
    "svg.fonttype": "none",  # texts stay texts, in the page's font
    "svg.hashsalt": "plots",  # the same plot is the same text
    "font.size": 9,
    "text.color": _COLOURS["text"],
    **{f"{axis}tick.color": _COLOURS["line"] for axis in "xy"},
    **{f"{axis}tick.labelcolor": _COLOURS["soft"] for axis in "xy"},
    **{f"{axis}tick.major.size": 0 for axis in "xy"},
    "grid.color": _COLOURS["line"],
    "legend.labelcolor": _COLOURS["soft"],
    "legend.frameon": False,
    "lines.markersize": 5,
    "lines.linewidth": 1.6,
    "axes.prop_cycle": cycler(color=[_COLOURS[f"s{number}"] for number in range(SERIES)]),
    **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
}


@dataclass(frozen=True, slots=True)
class Dots:
    """A point with its interval for each row and series."""

    title: str
    rows: tuple[str, ...]
    series: dict[str, tuple[Estimate, ...]]
    """Name -> one figure per row."""
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Lines:
    """The share that is kept at each width."""

    title: str
    dims: tuple[int, ...]
    """From the whole width down."""
    trained: tuple[int, ...]
    """The widths that training knew; their points are filled."""
    series: dict[str, tuple[float, ...]]
    """Name -> one figure per width."""


@dataclass(frozen=True, slots=True)
class Histograms:
    """The distribution of cosines: the share of each series in each bin."""

    title: str
    series: dict[str, npt.NDArray[np.float64]]


Plot = Dots | Lines | Histograms


def draw(plot: Plot) -> str:
    """A plot as an `<svg>` element, for a page whose style has the colours `--s0` to `--s3` and those of its text.

    Example:
        >>> draw(Lines("kept", (4, 2), (4, 2), {"text": (1.0, 0.5)})).startswith("<svg ")
        True
    """
    with matplotlib.rc_context(_STYLE):
        height = 1.0 + (_ROW + _LANE * len(plot.series)) * len(plot.rows) if isinstance(plot, Dots) else _HEIGHT
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        if isinstance(plot, Dots):
            _dots(axes, plot)
        elif isinstance(plot, Lines):
            _lines(axes, plot)
        else:
            _histograms(axes, plot)
        axes.set_title(plot.title, loc="left", fontweight="bold", fontsize=10, pad=24)
        if plot.series:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=SERIES, borderaxespad=0)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True)
    return _embeddable(file.getvalue(), plot.title)


def _dots(axes: Axes, plot: Dots) -> None:
    places = np.arange(len(plot.rows), dtype=float)
    for lane, (name, estimates) in enumerate(plot.series.items()):
        means = np.array([each.mean for each in estimates])
        ends = np.clip([[each.low for each in estimates], [each.high for each in estimates]], plot.low, plot.high)
        offset = _LANE / (_ROW + _LANE * len(plot.series)) * (lane - (len(plot.series) - 1) / 2)
        axes.errorbar(means, places + offset, xerr=np.abs(ends - means), fmt="o", label=name)
    axes.set(xlim=(plot.low, plot.high), ylim=(len(plot.rows) - 0.5, -0.5))
    axes.set_yticks(places, plot.rows)
    axes.xaxis.set_major_locator(MultipleLocator(0.2))
    axes.grid(axis="x")


def _lines(axes: Axes, plot: Lines) -> None:
    for number, (name, values) in enumerate(plot.series.items()):
        colour = _COLOURS[f"s{number % SERIES}"]
        axes.plot(plot.dims, values, color=colour, label=name)
        for trained, fill in ((True, colour), (False, _COLOURS["surface"])):
            points = [point for point in zip(plot.dims, values, strict=True) if (point[0] in plot.trained) == trained]
            axes.plot(*_columns(points), "o", color=colour, markerfacecolor=fill)
    axes.set_xscale("log", base=2)
    axes.set_xticks(plot.dims, list(map(str, plot.dims)))
    axes.minorticks_off()
    axes.yaxis.set_major_locator(MultipleLocator(0.2))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.grid(axis="y")


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _histograms(axes: Axes, plot: Histograms) -> None:
    low = min(-0.2, *(float(values.min()) for values in plot.series.values()))
    edges = np.linspace(low, 1.0, _BINS + 1)
    for number, (name, values) in enumerate(plot.series.items()):
        colour, mean = _COLOURS[f"s{number % SERIES}"], float(values.mean())
        shares = np.histogram(np.clip(values, low, 1.0), edges)[0] / len(values)
        axes.stairs(shares, edges, fill=True, alpha=0.16, color=colour)
        axes.stairs(shares, edges, linewidth=1.6, color=colour, label=f"{name} (mean {mean:.2f})")
        axes.axvline(mean, linestyle="--", linewidth=1, color=colour)
    axes.set(xlim=(low, 1.0), yticks=[])
    axes.xaxis.set_major_locator(MultipleLocator(0.2))
    axes.grid(axis="x")


def _embeddable(svg: str, title: str) -> str:
    """The `<svg>` element for a page of several: in the page's colours and font, without addresses and repeated ids."""
    svg = re.sub(
        r"<metadata>.*?</metadata>|<defs>\s*<(clipPath|style).*?</defs>", "", svg[svg.index("<svg") :], flags=re.DOTALL
    )
    svg = re.sub(r' clip-path="[^"]*"|(?<=<g) id="[^"]*"', "", svg).replace("xlink:href", "href")
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    svg = f'<svg {box[0]} role="img" aria-label="{escape(title)}"' + svg[svg.index(">") :]
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", svg)
    for role, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{role})")
    return svg.strip()
