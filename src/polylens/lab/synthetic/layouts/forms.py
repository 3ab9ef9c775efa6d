"""Forms: labels, and the answers that somebody filled in."""

from __future__ import annotations

import random

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.canvas import GREY, RULE, WHITE, Canvas, Colour, pen
from polylens.lab.synthetic.content import Content
from polylens.lab.synthetic.design import draw_design
from polylens.lab.synthetic.page import Fact, SyntheticPage, Term

WIDTH, HEIGHT = 1008, 1288
BLUE: Colour = (28, 52, 140)


def form(rng: random.Random, language: str, split: Split) -> SyntheticPage:
    """Draws a completed form of one sheet."""
    design = draw_design(
        rng,
        "form",
        split,
        field=("box", "line", "table"),
        label=("above", "left"),
        head=("band", "plain"),
        filled=("blue", "black"),
        ticks=(True, False),
    )
    content, hand = Content(rng, language, split), pen(rng, language, split)
    canvas = Canvas(WIDTH, HEIGHT)
    office, code = content.proper(), content.code()
    band = design["head"] == "band"
    if band:
        canvas.block(0, 0, WIDTH, 140, design.accent)
    title = " ".join(filter(None, (content.role("form"), office.text)))
    canvas.text(hand, 64, 90, title, 34, ink=WHITE if band else design.accent, bold=True, widest=640)
    canvas.text(hand, WIDTH - 64, 90, code.text, 24, ink=WHITE if band else GREY, align="right")
    labels = content.fields(rng.randint(7, 10))
    step = 900 / len(labels)
    ink = BLUE if design["filled"] == "blue" else (20, 20, 20)
    facts = [Fact((office,), code)]
    for i, label in enumerate(labels):
        y = 180 + i * step
        value = _answer(rng, content)
        left = 64.0 if design["label"] == "above" else 330.0
        edge = 78.0 if design["field"] == "table" else 64.0
        if design["label"] == "above":
            canvas.text(hand, edge, y + 22, label.text, 17, ink=GREY, widest=400)
            low, high = y + 32, y + 76
        else:
            canvas.text(hand, edge, y + 42, label.text, 20, widest=250)
            low, high = y + 10, y + 60
        if design["field"] == "line":
            canvas.rule(left, high, WIDTH - 64, high)
        elif design["field"] == "box":
            canvas.block(left, low, WIDTH - 64, high, (250, 251, 253), RULE)
        else:
            canvas.block(64, y + 2, WIDTH - 64, y + step - 2, None, RULE)
        canvas.text(hand, left + 14, high - 15, value.text, 22, ink=ink, widest=WIDTH - 64 - left - 28)
        facts.append(Fact((label,), value))
    if design["ticks"]:
        for i in range(3):
            x = 64 + i * 300
            canvas.block(x, 1130, x + 24, 1154, WHITE, GREY)
            if rng.random() < 0.5:
                canvas.rule(x + 4, 1134, x + 20, 1150, ink, 3)
                canvas.rule(x + 20, 1134, x + 4, 1150, ink, 3)
            canvas.text(hand, x + 38, 1150, " ".join(content.filler(2)), 17, widest=240)
    return canvas.page("form", language, design.id, title=(office, code), facts=facts)


def _answer(rng: random.Random, content: Content) -> Term:
    """Draws an answer: a name, a country, a date or a number."""
    kind = rng.randrange(4)
    if kind == 0:
        return content.proper()
    if kind == 1:
        return content.subjects(1)[0]
    return content.date() if kind == 2 else content.code()
