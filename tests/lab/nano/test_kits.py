"""The table of training kits: families by their own names, and a recipe of any other is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polylens.errors import InputError
from polylens.lab.nano.kits.table import KITS, kit_of
from polylens.lab.nano.nano_clip_recipe import nano_clip
from polylens.lab.nano.nano_recipe import nano
from polylens.lab.nano.schedule import Recipe
from polylens.models.family import families


def test_each_kit_is_of_the_family_that_loads_such_models() -> None:
    loaded = {family.name: family for family in families()}
    assert all(kit.family is loaded[name] for name, kit in KITS.items())


@pytest.mark.parametrize("recipe", [nano(), nano_clip()])
def test_a_recipe_names_its_family(recipe: Recipe) -> None:
    assert kit_of(recipe).family.name == recipe.family


def test_a_recipe_of_a_family_without_a_kit_is_refused() -> None:
    with pytest.raises(InputError, match="from random weights: jina_v4, jina_clip_v2; nano has 'jina_v5'"):
        kit_of(replace(nano(), family="jina_v5"))
