"""Single steps: who learns from them, at which rate, and what a stage leaves still."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.catalogues import sentences, write_catalogue
from tests.support.small_recipes import disturb, ignore, small

from polylens.errors import InputError
from polylens.lab.nano import loop
from polylens.lab.nano.data.batches import Batches
from polylens.lab.nano.data.text_pairs import check_pairs, make_pair_batch
from polylens.lab.nano.initial_weights import initialise, spelling_embeddings
from polylens.lab.nano.kits.table import kit_of
from polylens.lab.nano.loop import learning_rate, make_optimisers, train, train_step
from polylens.lab.nano.nano_recipe import nano
from polylens.lab.nano.schedule import Recipe, stage_at
from polylens.lab.nano.trainee import Trainee
from polylens.models.jina_v4.processing import JinaV4Processor

# Python from 3.12 on warns of a fork while threads run; the loader's worker is forked on purpose.
pytestmark = [pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"), pytest.mark.usefixtures("plain")]

BATCHES = "polylens.lab.nano.data.batches"


class TestPairs:
    @pytest.fixture
    def recipe(self) -> Recipe:
        """Its steps have texts alone."""
        recipe = small()
        stage = replace(recipe.stages[2], steps=30, pairs=1.0, pairs_a_step=12, learning_rate=1e-2, blend=())
        stage = replace(stage, pair_kinds=("translations",))
        return replace(recipe, stages=(stage,))

    def test_a_sentence_comes_to_find_its_translation(
        self, recipe: Recipe, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_catalogue(tmp_path, "de", "git", sentences())
        monkeypatch.setattr(f"{BATCHES}.make_pair_batch", partial(make_pair_batch, folder=tmp_path))
        tokenizer = loop._tokenizer(recipe, prepared)
        batches = Batches(recipe, kit_of(recipe).make_processor(recipe, tokenizer))
        trainee = kit_of(recipe).make_trainee(recipe)
        initialise(trainee, 0, tokenizer)
        optimisers = make_optimisers(trainee, recipe.weight_decay)
        losses = [train_step(trainee, batches[step], optimisers, recipe, step) for step in range(30)]
        assert losses[0].keys() == {"total", "late", "dense", "recall@1", "gradient", "rate"}
        found = [each["recall@1"] for each in losses]
        assert np.mean(found[:5]) < 0.4 < 0.6 < np.mean(found[-5:])

    def test_an_adapter_learns_alone(
        self, recipe: Recipe, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing else moves, and what it learned shows under its own task only."""
        write_catalogue(tmp_path, "de", "git", sentences())
        monkeypatch.setattr(f"{BATCHES}.make_pair_batch", partial(make_pair_batch, folder=tmp_path))
        recipe = replace(recipe, stages=(replace(recipe.stages[0], task="text-matching"),))
        tokenizer = loop._tokenizer(recipe, prepared)
        processor = kit_of(recipe).make_processor(recipe, tokenizer)
        batches = Batches(recipe, processor)
        trainee = kit_of(recipe).make_trainee(recipe)
        initialise(trainee, 0, tokenizer)
        optimisers = make_optimisers(trainee, recipe.weight_decay)
        before = {name: tensor.detach().clone() for name, tensor in trainee.named_parameters()}
        losses = [train_step(trainee, batches[step], optimisers, recipe, step) for step in range(20)]
        moved = {name for name, tensor in trainee.named_parameters() if not torch.equal(tensor, before[name])}
        assert moved and all(name.endswith(".text-matching") for name in moved)
        assert np.mean([each["late"] for each in losses[-3:]]) < np.mean([each["late"] for each in losses[:3]])
        stage = replace(recipe.stages[0], task=None)
        train_step(trainee, batches[0], optimisers, replace(recipe, stages=(stage,)), 0)
        assert not torch.equal(trainee.get_parameter("model.decoder.norm.weight"), before["model.decoder.norm.weight"])

    def test_pairs_take_their_share_of_the_steps(self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
        """And documents theirs, of all steps."""
        made: list[str] = []
        for kind in ("pair", "document"):
            monkeypatch.setattr(f"{BATCHES}.make_{kind}_batch", lambda *_, kind=kind, **__: made.append(kind))
        monkeypatch.setattr(f"{BATCHES}.make_batch", lambda *_, **__: made.append("words"))
        stage = replace(recipe.stages[0], steps=1000, pairs=0.5, documents=0.3)
        recipe = replace(recipe, stages=(stage,))
        batches = Batches(recipe, object.__new__(JinaV4Processor))
        for step in range(1000):
            batches[step]
        assert [made.count(kind) / 1000 for kind in ("pair", "document", "words")] == pytest.approx(
            [0.5, 0.3, 0.2], abs=0.05
        )

    def test_a_run_that_needs_catalogues_does_not_begin_without(
        self, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop, "check_pairs", partial(check_pairs, tmp_path))
        with pytest.raises(InputError, match="message catalogues"):
            train(recipe, tmp_path / "run", report=ignore)
        assert not (tmp_path / "run").exists()


class TestSteps:
    def test_a_gradient_that_is_not_finite_changes_nothing(
        self, prepared: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe = small()
        trainee = kit_of(recipe).make_trainee(recipe)
        initialise(trainee, 0, loop._tokenizer(recipe, prepared))
        optimisers = make_optimisers(trainee, recipe.weight_decay)
        before = {name: tensor.detach().clone() for name, tensor in trainee.named_parameters()}

        def broken(trainee: Trainee, *_: object) -> dict[str, torch.Tensor]:
            return {"total": sum(p.sum() for p in trainee.parameters()) * torch.nan}

        monkeypatch.setattr(loop, "compute_losses", broken)
        losses = train_step(trainee, None, optimisers, recipe, 0)  # type: ignore[arg-type]
        assert np.isnan(losses["gradient"])
        assert all(torch.equal(tensor, before[name]) for name, tensor in trainee.named_parameters())

    def test_a_seed_decides_the_weights(self, prepared: Path) -> None:
        learned = loop._tokenizer(small(), prepared)
        first, second, third = (kit_of(small()).make_trainee(small()) for _ in range(3))
        initialise(first, 7, learned)
        disturb()
        initialise(second, 7, learned)
        initialise(third, 8, learned)
        pairs = list(zip(first.parameters(), second.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in pairs)
        assert not torch.equal(first.model.decoder.embed.weight, third.model.decoder.embed.weight)

    def test_tokens_begin_as_spellings(self, prepared: Path) -> None:
        """Tokens that share letters begin alike; marks and lone bytes, which spell nothing, are like no other."""
        learned = loop._tokenizer(small(), prepared)
        rows = spelling_embeddings(learned, 512, torch.Generator().manual_seed(0))
        assert rows.shape == (400, 512) and 0.45 < float(rows.std()) < 0.55
        unit = torch.nn.functional.normalize(rows, dim=1)
        alike = unit @ unit.T
        spelled, bare = learned.token_to_id("Ġun"), learned.token_to_id("un")
        strangers = [learned.token_to_id(token) for token in ("ch", "<|im_start|>", "Ã")]
        assert alike[spelled, bare] > 0.7
        assert all(alike[bare, other] < 0.3 for other in strangers)
        assert alike[0, 1:].abs().max() < 0.3

    @pytest.mark.parametrize("step", [2, 3])
    def test_a_tower_that_is_held_still(self, prepared: Path, step: int) -> None:
        """In the last stage of the four, and in no other, the tower's blocks and the reader stay what they were."""
        recipe = small()
        learned = loop._tokenizer(recipe, prepared)
        trainee = kit_of(recipe).make_trainee(recipe)
        initialise(trainee, 0, learned)
        batch = Batches(recipe, kit_of(recipe).make_processor(recipe, learned))[step]
        before = {name: tensor.detach().clone() for name, tensor in trainee.named_parameters()}
        losses = train_step(trainee, batch, make_optimisers(trainee, recipe.weight_decay), recipe, step)
        moved = {name for name, tensor in trainee.named_parameters() if not torch.equal(tensor, before[name])}
        still = [name for name in moved if name.startswith(("model.vision.blocks", "model.vision.patch", "reader"))]
        assert bool(still) == ("reading" in losses) == stage_at(recipe, step)[0].tower_learns == (step == 2)
        assert "model.vision.merger.inner.weight" in moved or step == 2
        assert any(name.startswith("model.decoder.blocks.0") for name in moved)

    def test_stages_follow_one_another(self) -> None:
        recipe = small()
        found = [(stage_at(recipe, step)[0].kind, stage_at(recipe, step)[1]) for step in range(4)]
        assert found == [("read", 0), ("crops", 0), ("crops", 1), ("pages", 0)]
        with pytest.raises(InputError, match="step must be at most 3, the last of the run, got 4"):
            stage_at(recipe, 4)

    def test_learning_rate(self) -> None:
        """Warm-up over the run, within each stage a cosine from its highest to its final rate."""
        recipe = nano()
        first, second = recipe.stages[0], recipe.stages[1]
        assert learning_rate(recipe, 0) == pytest.approx(first.learning_rate / recipe.warmup_steps)
        assert learning_rate(recipe, recipe.warmup_steps) == pytest.approx(first.learning_rate, rel=0.01)
        half = (first.learning_rate + first.final_learning_rate) / 2
        assert learning_rate(recipe, first.steps // 2) == pytest.approx(half)
        assert learning_rate(recipe, first.steps - 1) == pytest.approx(first.final_learning_rate, rel=0.01)
        assert learning_rate(recipe, first.steps) == pytest.approx(second.learning_rate)
        rates = [learning_rate(recipe, step) for step in range(recipe.warmup_steps, first.steps)]
        assert all(later < earlier for earlier, later in itertools.pairwise(rates))
