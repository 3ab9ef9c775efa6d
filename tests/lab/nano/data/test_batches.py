"""What a step's batch has in it, of each kind of stage."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.small_recipes import disturb, ignore, logged, small

from polylens.errors import InputError
from polylens.lab.nano import loop
from polylens.lab.nano.data import pictograms as pictogram_data
from polylens.lab.nano.data.batches import Batches
from polylens.lab.nano.data.documents import ask_for
from polylens.lab.nano.data.examples import ImageBatch
from polylens.lab.nano.initial_weights import initialise
from polylens.lab.nano.kits.table import kit_of
from polylens.lab.nano.loop import make_optimisers, train, train_step
from polylens.lab.nano.schedule import Recipe
from polylens.lab.synthetic import pictograms
from polylens.lab.synthetic.pages import alike
from polylens.models.jina_v4.processing import JinaV4Processor

# Python from 3.12 on warns of a fork while threads run; the loader's worker is forked on purpose.
pytestmark = [pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"), pytest.mark.usefixtures("plain")]


class TestBatches:
    @pytest.fixture
    def batches(self, prepared: Path) -> Batches:
        recipe = small()
        return Batches(recipe, JinaV4Processor(recipe.model, recipe.images, loop._tokenizer(recipe, prepared)))

    def test_a_step_decides_its_batch(self, batches: Batches) -> None:
        first = batches[1]
        disturb()
        second, other = batches[1], batches[2]
        for name in ("here", "same", "letters"):
            assert torch.equal(getattr(first, name), getattr(second, name))
        ids = [[item.token_ids.tolist() for item in batch.queries] for batch in (first, second, other)]
        assert ids[0] == ids[1] != ids[2]

    def test_what_belongs_to_what(self, batches: Batches) -> None:
        """Three pictures with two queries each, a transcript of the first, and a text with a query of its own."""
        batch = batches[1]
        assert (len(batch.queries), len(batch.images), len(batch.passages)) == (7, 3, 2)
        assert batch.image_of == [0, 0, 1, 1, 2, 2]
        assert batch.passage_of == [0, 0, None, None, None, None, 1]
        cells = [int((item.token_ids == 6).sum()) for item in batch.images]
        rows = [item.num_tokens for item in batch.queries]
        assert batch.here.shape == batch.same.shape == (sum(rows), sum(cells))
        assert not (batch.here & ~batch.same).any()
        for own, drawn in zip([*batch.image_of, None], batch.here.split(rows), strict=True):
            places = [bool(part.any()) for part in drawn.split(cells, dim=1)]
            assert places == [
                own == j for j in range(3)
            ]  # each query's words stand in its own picture, a text's nowhere
        assert batch.letters.shape == (4 * sum(cells), 2)

    def test_reading_has_nothing_to_search_for(self, batches: Batches) -> None:
        batch = batches[0]
        assert (batch.queries, len(batch.images), batch.passages) == ([], 2, [])
        assert (batch.letters > 0).float().mean() > 0.2  # dense text

    def test_a_recipe_without_texts(self, begin: Callable[[str], Path]) -> None:
        recipe = small()
        crops = replace(recipe.stages[1], transcripts=0, texts=0, steps=1)
        folder = begin("pictures")
        train(replace(recipe, stages=(crops,)), folder, report=ignore)
        assert all(np.isfinite(value) for value in logged(folder)[0].values())


class TestDocuments:
    @pytest.fixture
    def recipe(self) -> Recipe:
        """Its one step is of documents."""
        recipe = small()
        return replace(recipe, stages=(replace(recipe.stages[2], images=2, texts=1, documents=1.0),))

    @pytest.fixture
    def batch(self, recipe: Recipe, prepared: Path) -> ImageBatch:
        processor = JinaV4Processor(recipe.model, recipe.images, loop._tokenizer(recipe, prepared))
        try:
            return Batches(recipe, processor)[0]
        except InputError as error:
            pytest.skip(str(error))

    def test_what_belongs_to_what(self, recipe: Recipe, batch: ImageBatch) -> None:
        """Two pages, queries about each, a text with one; nobody knows where their letters stand."""
        asked = recipe.stages[0].queries_per_image
        assert (len(batch.images), len(batch.queries), len(batch.passages)) == (2, 2 * asked + 1, 1)
        assert batch.image_of == [0] * asked + [1] * asked
        assert batch.passage_of == [*[None] * 2 * asked, 0]
        assert batch.here.shape == (sum(item.num_tokens for item in batch.queries), 0) and not len(batch.letters)

    def test_losses_without_places(self, recipe: Recipe, batch: ImageBatch, prepared: Path) -> None:
        trainee = kit_of(recipe).make_trainee(recipe)
        initialise(trainee, 0, loop._tokenizer(recipe, prepared))
        losses = train_step(trainee, batch, make_optimisers(trainee, recipe.weight_decay), recipe, 0)
        assert {"late", "dense"} < losses.keys() and not {"grounding", "reading"} & losses.keys()
        assert all(np.isfinite(value) for value in losses.values())

    @pytest.mark.parametrize("kind", ["table", "chart", "code", "scan"])
    def test_a_query_has_one_answer_in_its_batch(self, kind: str) -> None:
        """Also beside a page that says the same and more; pages are of one kind and in one language."""
        try:
            pages = alike(random.Random(3), kind, "train", 3)
        except InputError as error:
            pytest.skip(str(error))
        assert {page.language for page in pages} == {pages[0].language} and {page.kind for page in pages} == {kind}
        half = replace(pages[0], facts=pages[0].facts[:2])
        beside = [pages[0], half, *pages[1:]]
        kinds = set()
        for seed in range(25):
            query = ask_for(random.Random(seed), beside, 0)
            kinds.add(query.kind)
            assert [query.is_answered_by(page.keys) for page in beside] == [True, False, False, False]
        assert len(kinds) >= 3


class TestPictograms:
    @pytest.fixture
    def font(self) -> None:
        if not pictograms.can_be_drawn():
            pytest.skip(f"no font for pictograms: apt-get install {pictograms.PACKAGE}")

    @pytest.fixture
    def recipe(self) -> Recipe:
        """Its one step is of pictograms."""
        recipe = small()
        return replace(recipe, stages=(replace(recipe.stages[1], steps=1, pictograms=1.0, texts=2),))

    @pytest.fixture
    def processor(self, recipe: Recipe, prepared: Path) -> JinaV4Processor:
        return JinaV4Processor(recipe.model, recipe.images, loop._tokenizer(recipe, prepared))

    @pytest.mark.usefixtures("font")
    def test_what_belongs_to_what(self, recipe: Recipe, processor: JinaV4Processor) -> None:
        batch = Batches(recipe, processor)[0]
        asked = len(batch.image_of)
        assert (len(batch.images), len(batch.passages), len(batch.queries)) == (24, 2, asked + 2)
        assert batch.passage_of == [*[None] * asked, 0, 1] and not len(batch.letters) and not batch.here.shape[1]
        assert sorted(set(batch.image_of)) == list(range(24))

    @pytest.mark.usefixtures("font")
    def test_a_query_names_what_its_own_picture_shows(self) -> None:
        for seed in range(10):
            rng = random.Random(seed)
            shown = pictogram_data._drawn(rng)
            every = [pictogram.characters for picture in shown for pictogram in picture]
            assert len(shown) == 24 and len(set(every)) == len(every)
            for picture in shown:
                query = pictogram_data._ask(rng, picture)
                assert any(name in query for pictogram in picture for name in pictogram.names.values())

    def test_without_their_font_a_step_is_as_any_other(
        self, recipe: Recipe, processor: JinaV4Processor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pictograms, "can_be_drawn", lambda: False)
        batch = Batches(recipe, processor)[0]
        assert len(batch.images) == 3 and len(batch.letters)
