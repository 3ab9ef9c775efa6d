"""Batches of pairs: of one kind and one language, from the training half, decided by their seed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.support.catalogues import sentences, write_catalogue

import polylens
from polylens.errors import InputError
from polylens.lab.corpora import functions
from polylens.lab.corpora.text import TextPair
from polylens.lab.nano.data import text_pairs
from polylens.lab.nano.kits.kit import PixelProcessor
from polylens.lab.nano.schedule import PAIR_KINDS

COUNT = 12
HELD_OUT = "here is a red ship"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """German has enough, French too few, and no other language any."""
    folder = tmp_path_factory.mktemp("locale")
    write_catalogue(folder, "de", "git", sentences())
    write_catalogue(folder, "de", "glib20", {HELD_OUT: "ein rotes Schiff steht dort"})
    write_catalogue(folder, "fr", "git", {"here is a red book": "voici un livre rouge"})
    return folder


@pytest.fixture(scope="module")
def processor() -> PixelProcessor:
    return polylens.load("nano").processor  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def pages(monkeypatch: pytest.MonkeyPatch) -> tuple[TextPair, ...]:
    """What manual pages there are."""
    pages = tuple(TextPair(f"page {i}", f"passage {i}") for i in range(20))
    monkeypatch.setattr(text_pairs.manuals, "pairs", lambda: pages)
    return pages


def test_a_batch_is_of_one_kind_and_decided_by_its_seed(folder: Path, pages: tuple[TextPair, ...]) -> None:
    german = {TextPair(*said) for said in sentences().items() if said[0] != HELD_OUT}
    turned = {TextPair(pair.document, pair.query) for pair in german}
    known = functions.pairs("train")
    seen = []
    for seed in range(30):
        drawn = list(text_pairs.draw_pairs(random.Random(seed), COUNT, PAIR_KINDS, folder))
        assert drawn == list(text_pairs.draw_pairs(random.Random(seed), COUNT, PAIR_KINDS, folder))
        kinds = [set(drawn) <= kind for kind in (german, turned, set(known), set(pages))]
        assert sum(kinds) == 1
        seen.append(kinds.index(True))
        is_long = kinds.index(True) >= 2  # of functions and passages there are fewer
        assert len(set(drawn)) == COUNT // (text_pairs.PASSAGE_LENGTH if is_long else 1)
    assert set(seen) == {0, 1, 2, 3}


def test_functions_stand_in_where_no_language_has_enough(folder: Path) -> None:
    for seed in range(10):
        drawn = text_pairs.draw_pairs(random.Random(seed), 1000, PAIR_KINDS, folder)
        assert set(drawn) <= set(functions.pairs("train")) and len(drawn) == 1000 // text_pairs.PASSAGE_LENGTH


def test_a_batch_is_of_the_kinds_that_are_wanted(folder: Path, pages: tuple[TextPair, ...]) -> None:
    for seed in range(10):
        assert set(text_pairs.draw_pairs(random.Random(seed), COUNT, ("manuals",), folder)) <= set(pages)


@pytest.mark.parametrize("task", [None, "code"])
def test_what_is_asked_stands_beside_its_answer_and_no_picture(
    folder: Path, processor: PixelProcessor, task: str | None
) -> None:
    for seed in range(4):
        drawn = text_pairs.draw_pairs(random.Random(seed), COUNT, PAIR_KINDS, folder)
        batch = text_pairs.make_pair_batch(
            seed, processor=processor, count=COUNT, kinds=PAIR_KINDS, task=task, folder=folder
        )
        assert (batch.images, batch.image_of, batch.passage_of) == ([], [], list(range(len(drawn))))
        for items, side, prompt in ((batch.queries, "query", "query"), (batch.passages, "document", "passage")):
            for item, pair in zip(items, drawn, strict=True):
                wanted = processor.text(
                    getattr(pair, side), task=task, max_length=text_pairs.LONGEST, prompt_name=prompt
                )
                assert item.task == task
                assert item.token_ids.tolist() == wanted.token_ids.tolist()
                assert item.num_tokens <= text_pairs.LONGEST
        assert batch.here.shape == batch.same.shape == (sum(item.num_tokens for item in batch.queries), 0)


def test_without_any_catalogue_training_says_what_is_missing(folder: Path, tmp_path: Path) -> None:
    text_pairs.check_pairs(folder)
    with pytest.raises(InputError, match=f"{tmp_path} has none in any of ar, .*apt-get install"):
        text_pairs.check_pairs(tmp_path)
