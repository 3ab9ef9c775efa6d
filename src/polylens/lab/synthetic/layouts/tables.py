"""Statistics in a table: names down the side, years or months along the top."""

from __future__ import annotations

import random

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.canvas import BLACK, GREY, WHITE, Canvas, Colour, Pen, pen
from polylens.lab.synthetic.content import Content
from polylens.lab.synthetic.design import Design, draw_design
from polylens.lab.synthetic.page import Fact, SyntheticPage, Term

WIDTH, HEIGHT = 1008, 756
SIDE, LABEL = 56.0, 300.0  # the margin, and the column of names
SIZE = 20.0  # pixels per em


def table(rng: random.Random, language: str, split: Split) -> SyntheticPage:
    """Draws a page with one table."""
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
    content, hand = Content(rng, language, split), pen(rng, language, split)
    topic, rows, columns = content.topic(), content.subjects(rng.randint(5, 8)), content.years(rng.randint(2, 5))
    canvas = Canvas(WIDTH, HEIGHT)
    x, align = (WIDTH / 2, "centre") if design["title"] == "centre" else (SIDE, "left")
    canvas.text(hand, x, 82, topic.text, 34, ink=design.accent, bold=True, align=align, widest=WIDTH - 2 * SIDE)
    note = content.filler(rng.randint(10, 24))
    top = 126.0
    if design["note"] == "above":
        top = canvas.paragraph(hand, SIDE, top, WIDTH - SIDE, top + 90, note, 17, ink=GREY) + 14
    height = min(52.0, (HEIGHT - top - 110) / (len(rows) + 1))
    foot = top + (len(rows) + 1) * height
    facts = _cells(canvas, hand, design, content, rows, columns, top, height)
    _rules(canvas, design, top, foot, height, len(columns))
    if design["note"] == "below":
        canvas.paragraph(hand, SIDE, foot + 22, WIDTH - SIDE, HEIGHT - 24, note, 17, ink=GREY)
    return canvas.page("table", language, design.id, title=(topic,), facts=facts)


def _cells(
    canvas: Canvas,
    hand: Pen,
    design: Design,
    content: Content,
    rows: list[Term],
    columns: list[Term],
    top: float,
    height: float,
) -> list[Fact]:
    """Draws the head and the rows, each `height` pixels tall; each cell is a fact."""
    step = (WIDTH - 2 * SIDE - LABEL) / len(columns)

    def write(column: int, y: float, text: str, ink: Colour = BLACK, bold: bool = False) -> None:
        left = SIDE + LABEL + column * step
        x, align = (left + step - 14, "right") if design["cells"] == "right" else (left + step / 2, "centre")
        canvas.text(hand, x, y + 0.66 * height, text, SIZE, ink=ink, align=align, bold=bold, widest=step - 20)

    if design["head"] == "filled":
        canvas.block(SIDE, top, WIDTH - SIDE, top + height, design.accent)
    for i, column in enumerate(columns):
        write(i, top, column.text, WHITE if design["head"] == "filled" else BLACK, bold=True)
    facts = []
    digits, scale = content.rng.choice((0, 0, 1)), content.rng.choice((90, 900, 20_000))
    for i, row in enumerate(rows, start=1):
        y = top + i * height
        if design["zebra"] and i % 2 == 0:
            canvas.block(SIDE, y, WIDTH - SIDE, y + height, (240, 242, 246))
        canvas.text(hand, SIDE + 12, y + 0.66 * height, row.text, SIZE, widest=LABEL - 24)
        for j, column in enumerate(columns):
            value = content.figure(content.amount(scale / 10, scale, digits), digits)
            write(j, y, value.text)
            facts.append(Fact((row, column), value))
    return facts


def _rules(canvas: Canvas, design: Design, top: float, foot: float, height: float, columns: int) -> None:
    kind, right = design["rules"], WIDTH - SIDE
    if kind in ("rows", "all"):
        y = top
        while y < foot + 1:
            canvas.rule(SIDE, y, right, y)
            y += height
    if kind in ("frame", "all"):
        canvas.block(SIDE, top, right, foot, None, GREY)
    if kind == "all":
        for i in range(columns):
            x = SIDE + LABEL + i * (right - SIDE - LABEL) / columns
            canvas.rule(x, top, x, foot)
    if design["head"] == "underlined":
        canvas.rule(SIDE, top + height, right, top + height, design.accent, 2)
