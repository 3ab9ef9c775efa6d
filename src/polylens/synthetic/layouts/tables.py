"""Statistics in a table: names down the side, years or months along the top."""

from __future__ import annotations

import random

from polylens.synthetic.canvas import BLACK, GREY, WHITE, Canvas, Colour, pen
from polylens.synthetic.design import draw_design
from polylens.synthetic.lexicon import Split
from polylens.synthetic.matter import Matter
from polylens.synthetic.page import Fact, Page

WIDTH, HEIGHT = 1008, 756


def table(rng: random.Random, language: str, split: Split) -> Page:
    """A page with one table."""
    design = draw_design(
        rng,
        "table",
        split,
        rules=("none", "rows", "all", "frame"),
        head=("filled", "bold", "underlined"),
        zebra=(True, False),
        title=("left", "centre"),
        cells=("right", "centre"),
        note=("above", "below"),
    )
    matter, hand = Matter(rng, language, split), pen(rng, language, split)
    topic, rows, columns = matter.topic(), matter.subjects(rng.randint(5, 8)), matter.years(rng.randint(2, 5))
    canvas = Canvas(WIDTH, HEIGHT)
    side, size = 56.0, 20.0
    middle = design["title"] == "centre"
    canvas.text(
        hand,
        WIDTH / 2 if middle else side,
        82,
        topic.text,
        34,
        ink=design.accent,
        bold=True,
        align="centre" if middle else "left",
        widest=WIDTH - 2 * side,
    )
    note = matter.filler(rng.randint(10, 24))
    top = 126.0
    if design["note"] == "above":
        top = canvas.paragraph(hand, side, top, WIDTH - side, top + 90, note, 17, ink=GREY) + 14
    label = 300.0
    step = (WIDTH - 2 * side - label) / len(columns)
    height = min(52.0, (HEIGHT - top - 110) / (len(rows) + 1))

    def place(column: int) -> tuple[float, str]:
        left = side + label + column * step
        return (left + step - 14, "right") if design["cells"] == "right" else (left + step / 2, "centre")

    foot = top + (len(rows) + 1) * height
    ink: Colour = BLACK
    if design["head"] == "filled":
        canvas.block(side, top, WIDTH - side, top + height, design.accent)
        ink = WHITE
    for i, column in enumerate(columns):
        x, align = place(i)
        canvas.text(hand, x, top + 0.66 * height, column.text, size, ink=ink, bold=True, align=align, widest=step - 20)
    facts = []
    digits, scale = rng.choice((0, 0, 1)), rng.choice((90, 900, 20_000))
    for i, row in enumerate(rows, start=1):
        y = top + i * height
        if design["zebra"] and i % 2 == 0:
            canvas.block(side, y, WIDTH - side, y + height, (240, 242, 246))
        canvas.text(hand, side + 12, y + 0.66 * height, row.text, size, widest=label - 24)
        for j, column in enumerate(columns):
            value = matter.figure(matter.amount(scale / 10, scale, digits), digits)
            x, align = place(j)
            canvas.text(hand, x, y + 0.66 * height, value.text, size, align=align, widest=step - 20)
            facts.append(Fact((row, column), value))
    _rules(canvas, design["rules"], side, top, foot, height, [side + label + i * step for i in range(len(columns))])
    if design["head"] == "underlined":
        canvas.rule(side, top + height, WIDTH - side, top + height, design.accent, 2)
    if design["note"] == "below":
        canvas.paragraph(hand, side, foot + 22, WIDTH - side, HEIGHT - 24, note, 17, ink=GREY)
    return Page(
        "table",
        language,
        "table",
        design.id,
        (topic,),
        tuple(facts),
        canvas.pixels(),
        tuple(canvas.words),
        tuple(canvas.boxes),
    )


def _rules(
    canvas: Canvas, kind: str, side: float, top: float, foot: float, height: float, columns: list[float]
) -> None:
    right = canvas.width - side
    if kind in ("rows", "all"):
        y = top
        while y < foot + 1:
            canvas.rule(side, y, right, y)
            y += height
    if kind in ("frame", "all"):
        canvas.draw.rectangle((side, top, right, foot), outline=GREY)
    if kind == "all":
        for x in columns:
            canvas.rule(x, top, x, foot)
