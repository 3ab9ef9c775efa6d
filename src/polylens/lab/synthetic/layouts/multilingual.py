"""Notices in several languages: a section in each, from the side where its script begins."""

from __future__ import annotations

import random

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.canvas import BLACK, GREY, Canvas, Colour, Pen, pen
from polylens.lab.synthetic.content import Content
from polylens.lab.synthetic.design import Design, draw_design
from polylens.lab.synthetic.lexicon import LANGUAGES
from polylens.lab.synthetic.names import NameKind
from polylens.lab.synthetic.page import Fact, SyntheticPage
from polylens.lab.synthetic.templates import TEMPLATE_LANGUAGES

WIDTH, HEIGHT = 1008, 1428
SIDE = 76.0
_KINDS: tuple[NameKind, ...] = ("territory", "territory", "city", "language")


def multilingual(rng: random.Random, language: str, split: Split) -> SyntheticPage:
    """Draws a page with sections in `language` and in two to four languages of other scripts."""
    design = draw_design(
        rng,
        "multilingual",
        split,
        divider=("line", "block", "none"),
        heads=("bold", "coloured"),
        figures=("beside", "far"),
        text=("short", "long"),
    )
    others = _others(rng, language, rng.randint(2, 4))
    order = [language, *others]
    rng.shuffle(order)
    canvas = Canvas(WIDTH, HEIGHT)
    code = Content(rng, language, split).code()
    canvas.text(pen(rng, "en", split), WIDTH - SIDE, 62, f"№ {code.text}", 20, ink=GREY, align="right")
    step = (HEIGHT - 130) / len(order)
    facts: list[Fact] = []
    for i, each in enumerate(order):
        _section(canvas, pen(rng, each, split), Content(rng, each, split), design, 86 + i * step, step, facts)
    own = order.index(language)
    title = facts[3 * own].about
    return canvas.page(
        "multilingual", language, design.id, title=(*title, code), facts=facts, look="page in several languages"
    )


def _section(
    canvas: Canvas, hand: Pen, content: Content, design: Design, top: float, height: float, facts: list[Fact]
) -> None:
    """Draws a heading, two names with figures, and a paragraph, which are three facts."""
    left, right = SIDE, WIDTH - SIDE
    if design["divider"] == "line":
        canvas.rule(left, top, right, top)
    elif design["divider"] == "block":
        canvas.block(left - 24, top + 10, left - 14, top + height - 20, design.accent)
    near, far = ((right, "right"), (left, "left")) if hand.rtl else ((left, "left"), (right, "right"))
    subjects = content.subjects(3, _KINDS)
    ink: Colour = design.accent if design["heads"] == "coloured" else BLACK
    canvas.text(hand, near[0], top + 48, subjects[0].text, 30, ink=ink, bold=True, align=near[1], widest=620)
    year = content.figure(content.amount(100, 90_000))
    canvas.text(hand, far[0], top + 48, year.text, 24, ink=GREY, align=far[1])
    facts.append(Fact((subjects[0],), year))
    y = top + 92
    for subject in subjects[1:]:
        value = content.figure(content.amount(10, 9_000))
        drawn = canvas.text(hand, near[0], y, subject.text, 22, align=near[1], widest=520)
        if design["figures"] == "far":
            canvas.text(hand, far[0], y, value.text, 22, align=far[1])
        else:
            x = drawn.left - 28 if hand.rtl else drawn.right + 28
            canvas.text(hand, x, y, value.text, 22, align=near[1], bold=True)
        facts.append(Fact((subject,), value))
        y += 40
    words = content.filler(8 if design["text"] == "short" else 18)
    if LANGUAGES[content.language] in ("Hans", "Jpan", "Thai"):
        words = words[:10]
    canvas.paragraph(hand, left, y - 6, right, top + height - 16, words, 20)


def _others(rng: random.Random, language: str, count: int) -> list[str]:
    """Draws languages of scripts that differ from that of `language` and from each other."""
    scripts = {LANGUAGES[language]}
    chosen: list[str] = []
    for other in rng.sample(TEMPLATE_LANGUAGES, len(TEMPLATE_LANGUAGES)):
        if len(chosen) < count and LANGUAGES[other] not in scripts:
            scripts.add(LANGUAGES[other])
            chosen.append(other)
    return chosen
