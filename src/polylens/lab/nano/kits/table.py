"""The table of training kits: one line per model family that can be trained from random weights."""

from __future__ import annotations

from polylens.errors import InputError
from polylens.lab.nano.kits.jina_clip_v2 import KIT as JINA_CLIP_V2
from polylens.lab.nano.kits.jina_v4 import KIT as JINA_V4
from polylens.lab.nano.kits.kit import TrainingKit
from polylens.lab.nano.schedule import Recipe

KITS = {
    JINA_V4.family.name: JINA_V4,
    JINA_CLIP_V2.family.name: JINA_CLIP_V2,
}


def kit_of(recipe: Recipe) -> TrainingKit:
    """The training kit of a recipe's family.

    Raises:
        InputError: There is no kit for this family.
    """
    if recipe.family not in KITS:
        raise InputError(
            f"the family of a recipe must be one that can be trained from random weights: {', '.join(KITS)}; "
            f"{recipe.name} has {recipe.family!r}"
        )
    return KITS[recipe.family]
