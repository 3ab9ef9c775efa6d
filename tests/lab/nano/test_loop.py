"""Runs of a few steps of a very small model: exact resume, refusals, and a model that loads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file
from tests.support.small_recipes import STATE, Run, disturb, ignore, logged, small

import polylens
from polylens.errors import InputError
from polylens.lab.nano import loop
from polylens.lab.nano.initial_weights import initialise
from polylens.lab.nano.kits.table import kit_of
from polylens.lab.nano.loop import make_optimisers, train
from polylens.lab.nano.schedule import Blend
from polylens.train.progress import TrainingProgress
from polylens.train.state import load_state

# Python from 3.12 on warns of a fork while threads run; the loader's worker is forked on purpose.
pytestmark = [pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"), pytest.mark.usefixtures("plain")]

EARLIER = ("blended/read.safetensors", "blended/crops.safetensors")
WEIGHTS = ("model/model.safetensors", "model/adapters/adapter_model.safetensors")


@pytest.fixture(scope="module")
def straight(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole run without a break."""
    folder = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("runs") / "straight"))
    steps: list[TrainingProgress] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.shutil, "which", lambda _: None)
        patch.setattr(loop, "LOG_EVERY", 1)
        assert train(small(), folder, report=steps.append) == folder / "model"
    return folder, steps


def assert_same_run(folder: Path, expected: Path) -> None:
    for name in (STATE, *EARLIER, *WEIGHTS):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name


class TestResume:
    def test_a_run_in_two_parts_equals_one_without_a_break(self, straight: Run, begin: Callable[[str], Path]) -> None:
        expected, whole = straight
        folder = begin("parts")
        steps: list[TrainingProgress] = []
        assert train(small(), folder, report=steps.append, max_seconds=0) is None
        assert len(steps) == 2 and not (folder / "model").exists()
        disturb()
        assert train(small(), folder, report=steps.append) == folder / "model"
        assert [(s.step, s.total, s.loss) for s in steps] == [(s.step, s.total, s.loss) for s in whole]
        assert logged(folder) == logged(expected)
        assert_same_run(folder, expected)

    def test_a_run_that_broke_off_between_checkpoints(self, straight: Run, begin: Callable[[str], Path]) -> None:
        expected, whole = straight
        folder = begin("broken")

        def stop(progress: TrainingProgress) -> None:
            if progress.step == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(small(), folder, report=stop)
        disturb()
        steps: list[TrainingProgress] = []
        train(small(), folder, report=steps.append)
        assert [(s.step, s.loss) for s in steps] == [(s.step, s.loss) for s in whole[2:]]
        assert_same_run(folder, expected)

    def test_a_finished_run_is_not_trained_on(self, straight: Run, tmp_path: Path) -> None:
        expected, _ = straight
        folder = Path(shutil.copytree(expected, tmp_path / "again"))
        steps: list[TrainingProgress] = []
        assert train(small(), folder, report=steps.append) == folder / "model"
        assert steps == []
        assert_same_run(folder, expected)

    def test_killed_between_the_two_renames(self, straight: Run, tmp_path: Path) -> None:
        """The new checkpoint is whole but not yet in place; the one before it counts."""
        expected, _ = straight
        (tmp_path / "checkpoint.old").mkdir()
        for name in ("state.safetensors", "step.json"):
            shutil.copy(expected / "checkpoint" / name, tmp_path / "checkpoint.old" / name)
        trainee = kit_of(small()).make_trainee(small())
        named, optimisers = dict(trainee.named_parameters()), make_optimisers(trainee, small().weight_decay)
        assert load_state(tmp_path / "checkpoint", named, optimisers) == 4
        state = load_file(expected / STATE)
        assert all(torch.equal(tensor, state[f"weights.{name}"]) for name, tensor in trainee.named_parameters())

    def test_nothing_to_resume(self, tmp_path: Path) -> None:
        trainee = kit_of(small()).make_trainee(small())
        named, optimisers = dict(trainee.named_parameters()), make_optimisers(trainee, small().weight_decay)
        assert load_state(tmp_path / "checkpoint", named, optimisers) == 0


class TestRun:
    def test_another_recipe_in_the_same_folder_is_refused(self, straight: Run, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(straight[0], tmp_path / "run"))
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        with pytest.raises(InputError, match="another recipe, which differs in warmup_steps, seed; choose another"):
            train(replace(small(), warmup_steps=3, seed=1), folder, report=ignore)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    def test_what_a_run_leaves_behind(self, straight: Run) -> None:
        folder, steps = straight
        names = {path.name for path in folder.iterdir()}
        assert names == {
            "recipe.json",
            "tokenizer.json",
            "log.jsonl",
            "tensorboard",
            "checkpoint",
            "model",
            loop.BLENDED,
        }
        assert [step.step for step in steps] == [1, 2, 3, 4] and {step.total for step in steps} == {4}
        lines = logged(folder)
        assert [line["step"] for line in lines] == [1, 2, 3, 4]
        for line, step in zip(lines, steps, strict=True):
            assert line["total"] == pytest.approx(step.loss, abs=1e-4)
            assert all(np.isfinite(value) for value in line.values())
        assert "late" not in lines[0] and all("late" in line for line in lines[1:])  # the first step only reads
        told = [[name for name in line if name.startswith("held-out")] for line in lines]
        both = ["held-out recall@1 dense", "held-out recall@1 late"]
        assert told == [[], both, [], both]  # at checkpoints
        assert json.loads((folder / "recipe.json").read_text())["recipe"]["name"] == "nano"

    def test_a_run_that_moves_says_what_is_other_there(
        self,
        straight: Run,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        folder = Path(shutil.copytree(straight[0], tmp_path / "run"))
        begun = json.loads((folder / "recipe.json").read_text())
        assert set(begun) == {"recipe", "data", "versions"} and set(begun["data"]) == {"words", "fonts"}
        there = {**begun["data"], "fonts": {"files": 1, "sha256": "0" * 64}}
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(loop, "data_fingerprints", lambda _: there)
            for _ in range(2):  # where it stays it says nothing more
                train(small(), folder, report=ignore)
        assert [record.getMessage().split(": ") for record in caplog.records] == [
            [
                f"fonts have changed since {folder} was last trained",
                "its further batches will differ (noted in recipe.json)",
            ]
        ]
        written = json.loads((folder / "recipe.json").read_text())
        assert written == {**begun, "moves": [{"steps": 4, "data": there, "versions": begun["versions"]}]}
        train(small(), folder, report=ignore)  # and back
        moves = json.loads((folder / "recipe.json").read_text())["moves"]
        assert [move["data"]["fonts"] for move in moves] == [there["fonts"], begun["data"]["fonts"]]
        assert len(caplog.records) == 2

    def test_every_part_that_is_trained_has_moved(self, straight: Run) -> None:
        state = load_file(straight[0] / STATE)
        fresh = kit_of(small()).make_trainee(small())
        initialise(fresh, small().seed, loop._tokenizer(small(), straight[0]))
        still = [name for name, tensor in fresh.named_parameters() if torch.equal(state[f"weights.{name}"], tensor)]
        assert all("lora" in name for name in still)  # the first stage trains the model without any adapter

    def test_the_model_loads(self, straight: Run) -> None:
        folder, _ = straight
        embedder = polylens.load(folder / "model", dtype="float32")
        assert embedder.tasks == ("retrieval", "text-matching", "code")
        vectors = embedder.encode(["ein Hafen", PIL.Image.new("RGB", (100, 60), "white")])
        assert vectors.shape == (2, 32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=0, atol=1e-6)
        published = load_file(folder / WEIGHTS[0])
        assert {tensor.dtype for tensor in published.values()} == {torch.bfloat16}
        last = load_file(folder / STATE)
        for name, ours in (("norm.weight", "norm.weight"), ("embed_tokens.weight", "embed.weight")):
            expected = last[f"weights.model.decoder.{ours}"]
            torch.testing.assert_close(published[f"model.{name}"].float(), expected, rtol=2**-8, atol=0)  # bfloat16's

    def test_earlier_weights_are_blended_into_the_last_ones(self, straight: Run, begin: Callable[[str], Path]) -> None:
        folder = begin("without")
        *before, pages = small().stages
        train(replace(small(), stages=(*before, replace(pages, blend=()))), folder, report=ignore)
        unmixed, mixed = load_file(folder / STATE), load_file(straight[0] / STATE)
        read, crops = (load_file(straight[0] / earlier) for earlier in EARLIER)
        assert len(crops) > 50
        for name, tensor in crops.items():
            mean = 0.65 * unmixed[f"weights.{name}"] + 0.1 * read[name] + 0.25 * tensor
            torch.testing.assert_close(mixed[f"weights.{name}"], mean, rtol=1e-5, atol=1e-6)

    def test_a_stage_hands_on_what_it_was_blended_into(self, begin: Callable[[str], Path]) -> None:
        folder = begin("handed-on")
        read, crops, pages = small().stages
        crops = replace(crops, blend=(Blend(stage="read", share=1.0),))
        pages = replace(pages, blend=(Blend(stage="crops", share=1.0),))
        train(replace(small(), stages=(read, crops, pages)), folder, report=ignore)
        last, first = load_file(folder / STATE), load_file(folder / EARLIER[0])
        assert all(torch.equal(tensor, last[f"weights.{name}"]) for name, tensor in first.items())

    def test_what_is_kept_is_of_the_end_of_its_stage(self, straight: Run, begin: Callable[[str], Path]) -> None:
        folder = begin("to-the-end-of-crops")
        recipe = replace(small(), stages=small().stages[:2])
        train(recipe, folder, report=ignore)
        last, earlier = load_file(folder / STATE), load_file(straight[0] / EARLIER[1])
        assert len(earlier) > 50
        # The rate falls by the step within a stage: without the third stage the first three steps are the same.
        assert all(torch.equal(tensor, last[f"weights.{name}"]) for name, tensor in earlier.items())
        assert any(not torch.equal(load_file(straight[0] / STATE)[f"weights.{n}"], t) for n, t in earlier.items())
