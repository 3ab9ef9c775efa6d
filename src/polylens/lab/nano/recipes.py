"""The recipes of models that are trained here from random weights, by name."""

from __future__ import annotations

from collections.abc import Callable

from polylens.lab.nano.nano_clip_recipe import nano_clip
from polylens.lab.nano.nano_meaning_recipe import nano_meaning
from polylens.lab.nano.nano_recipe import nano
from polylens.lab.nano.schedule import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    "nano": nano,
    "nano-clip": nano_clip,
    "nano-meaning": nano_meaning,
}
