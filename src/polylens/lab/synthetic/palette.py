"""Colours of paper and ink, drawn so that text stays legible."""

from __future__ import annotations

import random

from polylens.lab.synthetic.canvas import Colour


def draw_palette(rng: random.Random, *, plain: bool = False) -> tuple[Colour, Colour]:
    """Background and ink, at least 100 of 255 apart in brightness."""
    kind = rng.random() * (0.65 if plain else 1.0)
    if kind < 0.4:
        level, dark = rng.randint(246, 255), rng.randint(0, 50)
        return (level, level, level), (dark, dark, dark)
    if kind < 0.65:
        return shade(rng, 225, 255), shade(rng, 0, 90)
    if kind < 0.78:
        return shade(rng, 160, 255), shade(rng, 0, 60)
    if kind < 0.9:
        return shade(rng, 0, 70), shade(rng, 180, 255)
    return shade(rng, 220, 255), tinted(rng, (60, 60, 60))


def shade(rng: random.Random, low: int, high: int) -> Colour:
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


def hue(rng: random.Random) -> Colour:
    return rng.randint(30, 230), rng.randint(30, 230), rng.randint(30, 230)


def tinted(rng: random.Random, ink: Colour) -> Colour:
    """The ink, or sometimes a colour of about its brightness."""
    if rng.random() < 0.6:
        return ink
    if sum(ink) > 384:
        return shade(rng, 170, 255)
    strong = [rng.randint(0, 40), rng.randint(0, 90), rng.randint(90, 190)]
    rng.shuffle(strong)
    return strong[0], strong[1], strong[2]


def between(background: Colour, ink: Colour, share: float = 0.4) -> Colour:
    red, green, blue = (round(b + share * (i - b)) for b, i in zip(background, ink, strict=True))
    return red, green, blue
