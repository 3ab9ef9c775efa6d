"""Reports in columns: sections headed by names, text with figures in it."""

from __future__ import annotations

import random

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.canvas import BLACK, GREY, Canvas, pen
from polylens.lab.synthetic.content import Content
from polylens.lab.synthetic.design import draw_design
from polylens.lab.synthetic.page import Fact, SyntheticPage

WIDTH, HEIGHT = 1008, 1428


def report(rng: random.Random, language: str, split: Split) -> SyntheticPage:
    """Draws a page of a report, in one or two columns."""
    design = draw_design(
        rng,
        "report",
        split,
        columns=(1, 2, 2),
        head=("band", "line", "plain"),
        sections=("bold", "coloured", "numbered"),
        box=("none", "top", "foot"),
        folio=("left", "centre", "right"),
    )
    content, hand = Content(rng, language, split), pen(rng, language, split)
    canvas = Canvas(WIDTH, HEIGHT)
    side, size = 76.0, 19.0
    topic, place = content.topic(), content.proper(1)
    canvas.text(
        hand, side, 104, f"{topic.text} {place.text}", 38, bold=True, ink=design.accent, widest=WIDTH - 2 * side
    )
    if design["head"] == "band":
        canvas.block(0, 0, WIDTH, 24, design.accent)
    if design["head"] == "line":
        canvas.rule(side, 128, WIDTH - side, 128, BLACK, 2)
    top, bottom = 152.0, HEIGHT - 96.0
    if design["box"] != "none":
        at = top if design["box"] == "top" else bottom - 96
        canvas.block(side, at, WIDTH - side, at + 92, (241, 243, 247))
        canvas.paragraph(hand, side + 18, at + 14, WIDTH - side - 18, at + 84, content.filler(14), 18, ink=GREY)
        top, bottom = (top + 116, bottom) if design["box"] == "top" else (top, bottom - 116)
    columns = design["columns"]
    gutter = 40.0
    width = (WIDTH - 2 * side - (columns - 1) * gutter) / columns
    subjects = iter(content.subjects(8))
    facts, section = [], 0
    for column in range(columns):
        left = side + column * (width + gutter)
        y = top
        for _ in range(8 // columns):
            if y > bottom - 150:
                break
            section += 1
            subject, value = next(subjects), content.figure(content.amount(20, 90_000))
            heading = f"{section} {subject.text}" if design["sections"] == "numbered" else subject.text
            ink = design.accent if design["sections"] == "coloured" else BLACK
            canvas.text(hand, left, y + 30, heading, 23, bold=True, ink=ink, widest=width)
            text = content.filler(rng.randint(20, 52))
            text.insert(rng.randint(1, 8), value.text)
            room = min(bottom, y + 46 + 1.45 * size * 10)
            y = canvas.paragraph(hand, left, y + 46, left + width, room, text, size) + 22
            facts.append(Fact((subject,), value))
    x = {"left": side, "centre": WIDTH / 2, "right": WIDTH - side}[design["folio"]]
    canvas.text(hand, x, HEIGHT - 46, str(rng.randint(2, 180)), 17, ink=GREY, align=design["folio"])
    return canvas.page("report", language, design.id, title=(topic, place), facts=facts)
