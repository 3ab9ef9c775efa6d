"""What a run's log says of held-out pictures is what a search among them finds."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.support.drawing import need_fonts
from tokenizers import Tokenizer

import polylens
from polylens.lab.nano.data.batches import draw
from polylens.lab.nano.data.grounding import bare
from polylens.lab.nano.data.unseen import with_queries
from polylens.lab.nano.kits.table import kit_of
from polylens.lab.nano.nano_recipe import nano
from polylens.lab.nano.schedule import Stage
from polylens.lab.nano.stage_recall import PICTURES, StageRecall
from polylens.lab.nano.trainee import Trainee
from polylens.lab.synthetic.lexicon import is_held_out
from polylens.lab.synthetic.rendered import Rendered

ROOT = Path(polylens.__file__).parent / "assets" / "nano"
SEED = 5


@pytest.fixture(scope="module")
def crops() -> Stage:
    for language in ("en", "de"):
        need_fonts(language, "held_out")
    stage = next(stage for stage in nano().stages if stage.name == "crops")
    return replace(stage, languages=("en", "de", "en"), images=5)


@pytest.fixture(scope="module")
def shipped() -> tuple[Trainee, StageRecall]:
    """The model that ships, as one that is trained."""
    kit = kit_of(nano())
    trainee = kit.make_trainee(nano())
    trainee.model = polylens.load("nano", dtype="float32").model
    return trainee, StageRecall(SEED, kit.make_processor(nano(), Tokenizer.from_file(str(ROOT / "tokenizer.json"))))


def drawn(stage: Stage) -> tuple[list[Rendered], list[str]]:
    def of(rng: random.Random, language: str) -> Rendered:
        return draw(rng, stage, (language,), "held_out")

    pictures, queries = zip(*islice(with_queries(of, ("en", "de"), f"{SEED}/{stage.name}"), PICTURES), strict=True)
    return list(pictures), list(queries)


def test_it_is_what_a_search_finds(crops: Stage, shipped: tuple[Trainee, StageRecall]) -> None:
    pictures, queries = drawn(crops)
    assert all(is_held_out(word) for query in queries for word in map(bare, query.split()))
    embedder = polylens.load("nano", dtype="float32")
    asked = embedder.embed(queries)
    shown = embedder.embed([PIL.Image.fromarray(picture.image) for picture in pictures])
    late = embedder.similarity([each.multivector for each in asked], [each.multivector for each in shown])
    dense = np.stack([each.dense for each in asked]) @ np.stack([each.dense for each in shown]).T
    trainee, recall = shipped
    told = recall(trainee, crops)
    assert told.keys() == {"held-out recall@1 dense", "held-out recall@1 late"}
    for name, scores in (("dense", dense), ("late", late)):
        first = np.mean(np.argmax(scores, axis=1) == np.arange(PICTURES))
        assert first > 4 / PICTURES  # well above chance, or the comparison says nothing
        assert told[f"held-out recall@1 {name}"] == pytest.approx(first, abs=1.01 / PICTURES)  # bfloat16 can turn one


def test_asked_again_it_says_the_same(crops: Stage, shipped: tuple[Trainee, StageRecall]) -> None:
    trainee, recall = shipped
    assert recall(trainee, crops) == recall(trainee, crops)


@pytest.mark.parametrize("other", [{"kind": "read"}, {"images": 0}, {"task": "code"}, {"languages": ("xx",)}])
def test_stages_that_have_nothing_to_find(
    other: dict[str, object], crops: Stage, shipped: tuple[Trainee, StageRecall]
) -> None:
    trainee, recall = shipped
    assert recall(trainee, replace(crops, **other)) == {}
