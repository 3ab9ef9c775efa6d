"""Invoices: a sender and a customer, a number and a date, lines with amounts, a total."""

from __future__ import annotations

import random

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.canvas import BLACK, GREY, WHITE, Canvas, Pen, pen
from polylens.lab.synthetic.content import SIGNS, Content
from polylens.lab.synthetic.design import Design, draw_design
from polylens.lab.synthetic.page import Fact, SyntheticPage, Term

WIDTH, HEIGHT = 1008, 1428
SIDE = 72.0


def invoice(rng: random.Random, language: str, split: Split) -> SyntheticPage:
    """Draws an invoice of one sheet."""
    design = draw_design(
        rng,
        "invoice",
        split,
        head=("band", "plain", "line"),
        sender=("left", "right"),
        rules=("rows", "none", "frame"),
        zebra=(True, False),
        total=("box", "line", "plain"),
        foot=("bank", "text"),
    )
    content, hand = Content(rng, language, split), pen(rng, language, split)
    canvas = Canvas(WIDTH, HEIGHT)
    firm, customer, bill, date = content.proper(), content.proper(), content.code(), content.date()
    _head(canvas, hand, design, content, firm)

    y = 320.0
    role = content.role("customer")
    if role:
        canvas.text(hand, SIDE, y, role, 16, ink=GREY)
    canvas.text(hand, SIDE, y + 34, customer.text, 22, bold=True, widest=430)
    place = content.subjects(1, ("territory",))[0]
    canvas.text(hand, SIDE, y + 64, f"{rng.randint(1000, 99999)} {place.text}", 19, widest=430)
    title = content.role("invoice") or "№"
    canvas.text(
        hand, WIDTH - SIDE, y + 4, f"{title} {bill.text}", 26, ink=design.accent, bold=True, align="right", widest=420
    )
    canvas.text(hand, WIDTH - SIDE, y + 44, date.text, 20, align="right")

    sign, goods = rng.choice(SIGNS), content.goods(rng.randint(3, 8))
    facts, total, y = _lines(canvas, hand, design, content, goods, sign, 470.0)
    rate = rng.choice((5, 7, 10, 19, 20, 25))
    sums = [
        (f"{content.role('tax')} {rate} %".strip(), content.figure(total * rate / 100, 2), False),
        (content.role("total") or "=", content.figure(total * (100 + rate) / 100, 2), True),
    ]
    y += 30
    for label, value, bold in sums:
        if bold and design["total"] == "box":
            canvas.block(560, y - 8, WIDTH - SIDE, y + 38, (238, 240, 245))
        if bold and design["total"] == "line":
            canvas.rule(560, y - 6, WIDTH - SIDE, y - 6, BLACK, 2)
        canvas.text(hand, 580, y + 24, label, 21, bold=bold, widest=170)
        canvas.text(hand, WIDTH - SIDE - 12, y + 24, f"{sign}\u00a0{value.text}", 21, bold=bold, align="right")
        y += 52
    paid = sums[-1][1]
    if design["foot"] == "bank":
        account = f"{rng.randint(10, 99)} {rng.randint(1000, 9999)} {rng.randint(1000, 9999)} {rng.randint(1000, 9999)}"
        canvas.rule(SIDE, HEIGHT - 110, WIDTH - SIDE, HEIGHT - 110)
        canvas.text(hand, SIDE, HEIGHT - 76, f"№ {account}", 17, ink=GREY)
    else:
        canvas.paragraph(hand, SIDE, HEIGHT - 170, WIDTH - SIDE, HEIGHT - 50, content.filler(24), 17, ink=GREY)
    facts += [Fact((bill,), date), Fact((firm, customer), paid), Fact((customer,), place)]
    return canvas.page("invoice", language, design.id, title=(firm, customer, bill), facts=facts)


def _head(canvas: Canvas, hand: Pen, design: Design, content: Content, firm: Term) -> None:
    """Draws the sender's name and address."""
    band = design["head"] == "band"
    if band:
        canvas.block(0, 0, WIDTH, 130, design.accent)
    x, align = (SIDE, "left") if design["sender"] == "left" else (WIDTH - SIDE, "right")
    canvas.text(hand, x, 84, firm.text, 34, ink=WHITE if band else design.accent, bold=True, align=align, widest=700)
    city = content.proper(1)
    street = f"{city.text} {content.rng.randint(1, 240)}"
    canvas.text(hand, x, 172, street, 18, ink=GREY, align=align, widest=400)
    phone = f"+{content.rng.randint(20, 99)} {content.rng.randint(100, 999)} {content.rng.randint(10000, 99999)}"
    canvas.text(hand, x, 202, phone, 18, ink=GREY, align=align, widest=400)
    if design["head"] == "line":
        canvas.rule(SIDE, 228, WIDTH - SIDE, 228, design.accent, 3)


def _lines(
    canvas: Canvas, hand: Pen, design: Design, content: Content, goods: list[Term], sign: str, top: float
) -> tuple[list[Fact], float, float]:
    """Draws the list of goods; returns its facts, its sum and where it ends."""
    rng, row = content.rng, 46.0
    heads = (("#", 84, "left"), (content.role("quantity") or "×", 560, "right"))
    prices = ((content.role("price") or sign, 740, "right"), (sign, WIDTH - SIDE - 12, "right"))
    canvas.block(SIDE, top, WIDTH - SIDE, top + row, (232, 235, 241))
    for text, x, align in (*heads, *prices):
        canvas.text(hand, x, top + 30, text, 18, bold=True, align=align, widest=150)
    facts, total, y = [], 0.0, top + row
    for i, good in enumerate(goods, start=1):
        if design["zebra"] and i % 2 == 0:
            canvas.block(SIDE, y, WIDTH - SIDE, y + row, (246, 247, 250))
        count, price = rng.randint(1, 40), content.amount(1.2, 400, 2)
        total += round(count * price, 2)
        amount = content.figure(count * price, 2)
        canvas.text(hand, 84, y + 31, f"{i}", 20)
        canvas.text(hand, 124, y + 31, good.text, 20, widest=340)
        for text, x in ((str(count), 560), (content.figure(price, 2).text, 740), (amount.text, WIDTH - SIDE - 12)):
            canvas.text(hand, x, y + 31, text, 20, align="right")
        facts.append(Fact((good,), amount))
        y += row
        if design["rules"] == "rows":
            canvas.rule(SIDE, y, WIDTH - SIDE, y)
    if design["rules"] == "frame":
        canvas.block(SIDE, top, WIDTH - SIDE, y, None, GREY)
    return facts, total, y
