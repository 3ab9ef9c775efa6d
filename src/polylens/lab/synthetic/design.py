"""Designs: the choices of a layout, such that no design is in both splits."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.canvas import Colour

ACCENTS: dict[str, Colour] = {
    "navy": (30, 58, 110),
    "teal": (17, 110, 108),
    "brick": (152, 52, 40),
    "plum": (96, 44, 104),
    "forest": (38, 96, 56),
    "slate": (62, 72, 88),
    "ochre": (168, 108, 20),
}


@dataclass(frozen=True, slots=True)
class Design:
    """The choices of one layout.

    Example:
        >>> design = draw_design(random.Random(1), "table", "train", rules=("none", "rows"), zebra=(True, False))
        >>> design["rules"] in ("none", "rows")
        True
    """

    id: str
    choices: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.choices[name]

    @property
    def accent(self) -> Colour:
        return ACCENTS[self.choices["accent"]]


def is_held_out_design(id: str) -> bool:
    """Whether a design is held out from training: one in six is, by its hash."""
    return hashlib.sha256(id.encode()).digest()[0] % 6 == 0


def draw_design(rng: random.Random, layout: str, split: Split, **options: Sequence[Any]) -> Design:
    """Draws one value of each option, such that the design belongs to the split; every design has an `accent`."""
    options = {"accent": tuple(ACCENTS), **options}
    while True:
        choices = {name: rng.choice(values) for name, values in options.items()}
        id = f"{layout}: " + ", ".join(f"{name}={value}" for name, value in choices.items())
        if is_held_out_design(id) == (split == "held_out"):
            return Design(id, choices)
