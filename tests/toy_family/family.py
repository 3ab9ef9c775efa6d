"""What the toy says about itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from polylens.models.toy.model import Toy
from polylens.models.toy.processing import SIDE, ToyProcessor
from torch import nn

from polylens.models.description import Family, Header, HeatGrid, HeatMaps, Json, Usage, WeightPart
from polylens.models.files import read_tokenizer
from polylens.models.rules import rename


def _read(folder: Path, published: Json) -> Header:
    return Header(
        family=FAMILY,
        folder=folder,
        config=published,
        processing=ToyProcessor(read_tokenizer(folder)),
        dim=published["width"],
        matryoshka_dims=(published["width"],),
        multivector_dim=published["width"],
        modalities=("text", "image"),
        context=512,
        usage=Usage(tile=100, tile_tokens=7),
    )


def _weights(header: Header, _network: nn.Module, _names: frozenset[str]) -> list[WeightPart]:
    vocabulary, width = header.config["vocabulary"], header.config["width"]
    rules = [
        rename("words", (vocabulary, width), "words.weight"),
        rename("colours", (width, 3), "colours.weight"),
    ]
    return [WeightPart(rules=rules)]


def _grid(_processor: ToyProcessor, _width: int, _height: int) -> HeatGrid:
    return HeatGrid(SIDE, SIDE, np.arange(SIDE * SIDE))


def _spans(processor: ToyProcessor, query: str, _prompt: str) -> list[tuple[int, int]]:
    return processor.tokenizer.encode(query).offsets


FAMILY = Family(
    name="toy",
    model_types=("toy",),
    outputs=frozenset({"dense", "multi", "score"}),
    claims=lambda config: config.get("model_type") == "toy",
    read=_read,
    build=lambda header: Toy(header.config["vocabulary"], header.config["width"]),
    weights=_weights,
    heat_maps=HeatMaps(grid=_grid, spans=_spans),
)
