"""Slides: a title, a few points with figures, and decoration."""

from __future__ import annotations

import random

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.canvas import BLACK, GREY, WHITE, Canvas, Colour, Pen, pen
from polylens.lab.synthetic.content import Content
from polylens.lab.synthetic.design import ACCENTS, Design, draw_design
from polylens.lab.synthetic.page import Fact, SyntheticPage, Term

WIDTH, HEIGHT = 1232, 700


def slide(rng: random.Random, language: str, split: Split) -> SyntheticPage:
    """Draws one slide of a talk."""
    design = draw_design(
        rng,
        "slide",
        split,
        ground=("white", "dark", "tint"),
        title=("bar", "plain", "underlined"),
        points=("dots", "numbers", "cards"),
        picture=("bars", "circles", "none"),
        figure=("left", "right"),
    )
    content, hand = Content(rng, language, split), pen(rng, language, split)
    dark = design["ground"] == "dark"
    paper: Colour = {"white": WHITE, "dark": (28, 32, 44), "tint": (244, 240, 230)}[design["ground"]]
    ink, quiet = (WHITE, (170, 176, 190)) if dark else (BLACK, GREY)
    canvas = Canvas(WIDTH, HEIGHT, paper)
    topic, place, points = content.topic(), content.proper(1), content.subjects(rng.randint(3, 5))
    heading = f"{topic.text}: {place.text}"
    if design["title"] == "bar":
        canvas.block(0, 0, WIDTH, 128, design.accent)
    strong = WHITE if dark or design["title"] == "bar" else design.accent
    canvas.text(hand, 64, 86, heading, 44, ink=strong, bold=True, widest=WIDTH - 128)
    if design["title"] == "underlined":
        canvas.rule(64, 118, 260, 118, design.accent if not dark else WHITE, 5)
    room = WIDTH - 64 - (64 if design["picture"] == "none" else 440)
    facts = _points(canvas, hand, design, content, points, room, ink, quiet)
    if design["picture"] != "none":
        _picture(canvas, rng, design["picture"], design.accent)
    foot = content.filler(3)
    canvas.text(hand, 64, HEIGHT - 28, " ".join(foot), 16, ink=quiet, widest=500)
    canvas.text(hand, WIDTH - 64, HEIGHT - 28, str(rng.randint(2, 48)), 16, ink=quiet, align="right")
    return canvas.page("slide", language, design.id, title=(topic, place), facts=facts)


def _points(
    canvas: Canvas,
    hand: Pen,
    design: Design,
    content: Content,
    points: list[Term],
    right: float,
    ink: Colour,
    quiet: Colour,
) -> list[Fact]:
    """Draws the points: a name, its figure, a few words each."""
    facts, step = [], 480 / len(points)
    for i, point in enumerate(points, start=1):
        y = 160 + (i - 1) * step
        value = content.figure(content.amount(3, 9000))
        percent = "\u00a0%" if len(value.text) < 3 else ""
        if design["points"] == "cards":
            fill = (44, 50, 66) if design["ground"] == "dark" else (255, 255, 255)
            canvas.block(64, y + 4, right, y + step - 10, fill, quiet)
        elif design["points"] == "dots":
            canvas.draw.ellipse((70, y + 24, 82, y + 36), fill=ink)
        else:
            canvas.text(hand, 90, y + 40, str(i), 28, ink=quiet, bold=True, align="right")
        figures = canvas.length(hand, value.text + percent, 30, bold=True)
        if design["figure"] == "left":
            canvas.text(hand, 108, y + 40, value.text + percent, 30, ink=ink, bold=True)
            canvas.text(hand, 108 + figures + 20, y + 40, point.text, 28, ink=ink, widest=right - 140 - figures)
        else:
            canvas.text(hand, right - 20, y + 40, value.text + percent, 30, ink=ink, bold=True, align="right")
            canvas.text(hand, 108, y + 40, point.text, 28, ink=ink, widest=right - 160 - figures)
        canvas.text(hand, 108, y + 74, " ".join(content.filler(4)), 19, ink=quiet, widest=right - 130)
        facts.append(Fact((point,), value))
    return facts


def _picture(canvas: Canvas, rng: random.Random, kind: str, accent: Colour) -> None:
    """Draws shapes without words on the right."""
    left, top, right, bottom = WIDTH - 390, 190, WIDTH - 70, 590
    if kind == "bars":
        for i in range(5):
            x = left + i * (right - left) / 5
            canvas.block(x, bottom - rng.uniform(0.2, 1) * (bottom - top), x + 44, bottom, accent)
        canvas.rule(left - 10, bottom, right, bottom, GREY, 2)
        return
    for _ in range(5):
        x, y, r = rng.uniform(left + 80, right - 80), rng.uniform(top + 80, bottom - 80), rng.uniform(24, 80)
        canvas.draw.ellipse((x - r, y - r, x + r, y + r), fill=rng.choice(list(ACCENTS.values())))
