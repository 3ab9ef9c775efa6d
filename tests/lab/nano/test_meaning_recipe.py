"""The recipe of the next nano: its sizes, and the tower that it begins with."""

from __future__ import annotations

import torch

import polylens
from polylens.lab.nano.kits.table import kit_of
from polylens.lab.nano.loop import _take_tower
from polylens.lab.nano.nano_meaning_recipe import nano_meaning, sized


def test_it_begins_with_the_tower_that_reads_and_fits_into_60_megabytes() -> None:
    recipe = nano_meaning()
    trainee = kit_of(recipe).make_trainee(recipe)
    with torch.no_grad():
        for parameter in trainee.parameters():
            parameter.fill_(7.0)
    assert recipe.tower_of == "nano"
    _take_tower(trainee, recipe.tower_of)
    shipped = dict(polylens.load("nano", dtype="float32", device="cpu", engine="torch").model.named_parameters())
    taken = {name: tensor for name, tensor in trainee.model.named_parameters() if name.startswith("vision.")}
    own = [name for name, tensor in taken.items() if bool((tensor == 7.0).all())]
    assert len(own) <= 2 and all(shipped[name].shape != taken[name].shape for name in own)
    assert all(torch.equal(tensor, shipped[name]) for name, tensor in taken.items() if name not in own)
    assert sum(parameter.numel() for parameter in trainee.model.parameters()) * 2 < 60e6  # bfloat16


def test_a_size_has_whole_heads() -> None:
    for width in (256, 384, 512):
        decoder = sized(8192, width, 2).decoder
        assert decoder.num_heads * 64 == width and decoder.num_heads % decoder.num_kv_heads == 0
