"""Receipts: a narrow strip with a shop's name, what was bought and what was paid."""

from __future__ import annotations

import random

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.canvas import BLACK, GREY, Canvas, pen
from polylens.lab.synthetic.content import SIGNS, Content
from polylens.lab.synthetic.design import draw_design
from polylens.lab.synthetic.page import Fact, SyntheticPage

WIDTH = 532
PITCH = 36.0


def receipt(rng: random.Random, language: str, split: Split) -> SyntheticPage:
    """Draws a till receipt."""
    design = draw_design(
        rng,
        "receipt",
        split,
        head=("centre", "left"),
        ruler=("dashes", "line", "dots"),
        leader=(True, False),
        counts=(True, False),
        total=("large", "plain"),
        foot=("bars", "text"),
    )
    content, hand = Content(rng, language, split), pen(rng, language, split)
    shop, place, goods = (
        content.proper(),
        content.subjects(1, ("territory", "city"))[0],
        content.goods(rng.randint(4, 9)),
    )
    code, date, sign = content.code(), content.date(), rng.choice(SIGNS)
    canvas = Canvas(WIDTH, 28 * round((520 + PITCH * len(goods)) / 28), (253, 253, 250))
    middle = design["head"] == "centre"
    x, align = (WIDTH / 2, "centre") if middle else (36.0, "left")
    canvas.text(hand, x, 70, shop.text, 30, bold=True, align=align, widest=WIDTH - 72)
    canvas.text(hand, x, 108, f"{place.text} {rng.randint(1, 200)}", 19, ink=GREY, align=align, widest=WIDTH - 72)
    title = content.role("receipt") or "№"
    canvas.text(hand, 36, 166, f"{title} {code.text}", 19, widest=270)
    canvas.text(hand, WIDTH - 36, 166, date.text, 19, align="right")
    y = _ruler(canvas, design["ruler"], 186)
    facts, total = [], 0.0
    for good in goods:
        price = content.amount(0.4, 90, 2)
        count = rng.randint(1, 6) if design["counts"] else 1
        total += count * price
        value = content.figure(count * price, 2)
        name = f"{count} × {good.text}" if design["counts"] else good.text
        written = canvas.text(hand, 36, y + 28, name, 20, widest=330)
        priced = canvas.text(hand, WIDTH - 36, y + 28, value.text, 20, align="right")
        if design["leader"]:
            for dot in range(int(written.right) + 10, int(priced.left) - 6, 9):
                canvas.draw.point((dot, y + 27), fill=GREY)
        facts.append(Fact((good,), value))
        y += PITCH
    y = _ruler(canvas, design["ruler"], y + 10)
    size = 26 if design["total"] == "large" else 20
    paid = content.figure(total, 2)
    canvas.text(hand, 36, y + 32, content.role("total") or "=", size, bold=True, widest=200)
    canvas.text(hand, WIDTH - 36, y + 32, f"{sign}\u00a0{paid.text}", size, bold=True, align="right")
    y += 70
    if design["foot"] == "bars":
        at = 120.0
        while at < WIDTH - 120:
            wide = rng.choice((2, 2, 4, 6))
            canvas.block(at, y, at + wide, y + 70, BLACK)
            at += wide + rng.choice((2, 4))
    else:
        canvas.paragraph(hand, 36, y, WIDTH - 36, y + 110, content.filler(9), 18, ink=GREY)
    facts += [Fact((shop, code), paid), Fact((shop,), date), Fact((code,), date)]
    return canvas.page("receipt", language, design.id, title=(shop, place), facts=facts)


def _ruler(canvas: Canvas, kind: str, y: float) -> float:
    """Draws a line across; returns where the next content begins."""
    if kind == "line":
        canvas.rule(36, y, WIDTH - 36, y, GREY)
    else:
        wide, gap = (10, 6) if kind == "dashes" else (2, 6)
        for x in range(36, WIDTH - 36 - wide, wide + gap):
            canvas.rule(x, y, x + wide, y, GREY, 2)
    return y + 8
