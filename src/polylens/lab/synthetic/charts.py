"""Charts by matplotlib, drawn in memory: vertical and horizontal bars, lines, pies."""

from __future__ import annotations

import random
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.canvas import pen
from polylens.lab.synthetic.content import Content
from polylens.lab.synthetic.design import ACCENTS, Design, draw_design
from polylens.lab.synthetic.page import Box, Fact, SyntheticPage, Term

WIDTH, HEIGHT = 1008, 672
DPI = 100
_LOOKS = {"bars": "bar chart", "lying": "bar chart", "lines": "line chart", "pie": "pie chart"}


def chart(rng: random.Random, language: str, split: Split) -> SyntheticPage:
    """Draws a chart with a title; the numbers are beside their marks, or on an axis."""
    design = draw_design(
        rng,
        "chart",
        split,
        kind=("bars", "lying", "lines", "pie"),
        grid=(True, False),
        spines=("all", "two", "none"),
        ground=("white", "grey", "cream"),
        title=("left", "center"),
        numbers=(True, True, False),
    )
    content, hand = Content(rng, language, split), pen(rng, language, split)
    plain, bold = (FontProperties(fname=str(face.path)) for face in (hand.regular, hand.bold))
    ground = {"white": "#ffffff", "grey": "#eceef1", "cream": "#fbf6e9"}[design["ground"]]
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor=ground)
    figure.set_layout_engine("constrained", w_pad=0.3, h_pad=0.3)  # inches
    axes = figure.add_subplot(facecolor=ground)
    topic = content.topic()
    draw = {"bars": _bars, "lying": _lying, "lines": _lines, "pie": _pie}[design["kind"]]
    facts = draw(axes, content, design, plain)
    axes.set_title(topic.text, fontproperties=bold, fontsize=24, loc=design["title"], pad=18, color=_hex(design))
    if design["kind"] != "pie":
        axes.spines[["top", "right"]].set_visible(design["spines"] == "all")
        axes.spines[["left", "bottom"]].set_visible(design["spines"] != "none")
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            label.set_fontproperties(plain)
            label.set_fontsize(13)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = _boxes(figure, canvas)
    return SyntheticPage(
        "chart",
        language,
        _LOOKS[design["kind"]],
        design.id,
        (topic,),
        tuple(facts),
        np.asarray(canvas.buffer_rgba())[..., :3].copy(),
        tuple(word for box in boxes for word in box.text.split()),
        boxes,
    )


def _bars(axes: Axes, content: Content, design: Design, plain: FontProperties) -> list[Fact]:
    """Vertical bars over years, of one subject."""
    subject, columns = content.subjects(1)[0], content.years(content.rng.randint(4, 8))
    values = _values(content, len(columns))
    marks = axes.bar(range(len(columns)), values, color=_hex(design), width=content.rng.uniform(0.5, 0.8))
    axes.set_xticks(range(len(columns)), [column.text for column in columns])
    axes.set_ylabel(subject.text, fontproperties=plain, fontsize=16)
    axes.margins(y=0.14)
    figures = _figures(content, values)
    if design["numbers"]:
        axes.bar_label(marks, [f.text for f in figures], padding=4, fontproperties=plain, fontsize=13)
    _scale(axes, content, design, "y")
    return [Fact((subject, column), value) for column, value in zip(columns, figures, strict=True)]


def _lying(axes: Axes, content: Content, design: Design, plain: FontProperties) -> list[Fact]:
    """Horizontal bars, one per subject, in one year."""
    subjects, year = content.subjects(content.rng.randint(4, 8)), content.years(1)[0]
    values = _values(content, len(subjects))
    marks = axes.barh(range(len(subjects)), values, color=_hex(design), height=content.rng.uniform(0.5, 0.8))
    axes.set_yticks(range(len(subjects)), [subject.text for subject in subjects])
    axes.set_xlabel(year.text, fontproperties=plain, fontsize=16)
    axes.margins(x=0.14)
    figures = _figures(content, values)
    if design["numbers"]:
        axes.bar_label(marks, [f.text for f in figures], padding=4, fontproperties=plain, fontsize=13)
    _scale(axes, content, design, "x")
    return [Fact((subject, year), value) for subject, value in zip(subjects, figures, strict=True)]


def _lines(axes: Axes, content: Content, design: Design, plain: FontProperties) -> list[Fact]:
    """A line per subject over years; values are read from the axis."""
    subjects, columns = content.subjects(content.rng.randint(2, 4)), content.years(content.rng.randint(5, 9))
    facts = []
    colours = content.rng.sample(list(ACCENTS), len(subjects))
    scale = content.rng.choice((60, 900, 12_000))
    for subject, colour in zip(subjects, colours, strict=True):
        values = [content.amount(scale / 6, scale) for _ in columns]
        red, green, blue = (part / 255 for part in ACCENTS[colour])
        axes.plot(range(len(columns)), values, marker="o", label=subject.text, color=(red, green, blue), linewidth=2.5)
        figures = _figures(content, values)
        facts += [Fact((subject, column), value) for column, value in zip(columns, figures, strict=True)]
    axes.set_xticks(range(len(columns)), [column.text for column in columns])
    font = plain.copy()
    font.set_size(14)
    axes.legend(prop=font, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, frameon=False)
    _scale(axes, content, design, "y")
    return facts


def _pie(axes: Axes, content: Content, design: Design, plain: FontProperties) -> list[Fact]:
    """Slices with their percentage."""
    subjects = content.subjects(content.rng.randint(3, 6))
    weights = [content.rng.uniform(1, 3) for _ in subjects]
    shares = [round(100 * weight / sum(weights)) for weight in weights]
    colours = [tuple(part / 255 for part in ACCENTS[name]) for name in content.rng.sample(list(ACCENTS), len(subjects))]
    figures = [content.figure(share) for share in shares]
    labels = [subject.text for subject in subjects]
    inside = iter([f"{value.text} %" for value in figures])
    hole = {"width": 0.55} if design["spines"] == "two" else {}
    pie = axes.pie(
        weights,
        labels=labels,
        colors=colours,
        autopct=lambda _: next(inside),
        pctdistance=0.72,
        startangle=content.rng.randint(0, 359),
        counterclock=bool(design["grid"]),
        wedgeprops={"edgecolor": "white", **hole},
    )
    names, numbers = pie[1], pie[2]
    for text in names:
        text.set_fontproperties(plain)
        text.set_fontsize(16)
    for text in numbers:
        text.set_fontproperties(plain)
        text.set_fontsize(14)
        text.set_color("white")
    return [Fact((subject,), value) for subject, value in zip(subjects, figures, strict=True)]


def _values(content: Content, count: int) -> list[float]:
    scale = content.rng.choice((80, 900, 15_000))
    return [content.amount(scale / 8, scale) for _ in range(count)]


def _figures(content: Content, values: list[float]) -> list[Term]:
    return [content.figure(value) for value in values]


def _scale(axes: Axes, content: Content, design: Design, axis: Literal["x", "y"]) -> None:
    """Formats the axis of values as the language writes numbers, and draws a grid where the design has one."""
    which = axes.yaxis if axis == "y" else axes.xaxis
    which.set_major_formatter(lambda value, _: content.figure(value).text)
    axes.set_axisbelow(True)
    if design["grid"]:
        axes.grid(True, axis=axis, alpha=0.4)


def _hex(design: Design) -> str:
    red, green, blue = design.accent
    return f"#{red:02x}{green:02x}{blue:02x}"


def _boxes(figure: Figure, canvas: FigureCanvasAgg) -> tuple[Box, ...]:
    """The boxes of all texts that were drawn, from top to bottom."""
    renderer = canvas.get_renderer()
    boxes, beyond = [], _beyond(figure)
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text not in beyond:
            extent = text.get_window_extent(renderer)
            boxes.append(Box(text.get_text(), extent.x0, HEIGHT - extent.y1, extent.x1, HEIGHT - extent.y0))
    return tuple(sorted(boxes, key=lambda box: (box.top, box.left)))


def _beyond(figure: Figure) -> set[Text]:
    """The labels of ticks beyond the ends of their axis, which are never drawn."""
    labels = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        labels |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    return labels
