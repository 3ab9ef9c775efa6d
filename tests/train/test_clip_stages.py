"""jina-clip-v2's stages: losses, gradients, what comes out; a break and a second process change nothing."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file
from tests.support import commands, tiny, tiny_clip
from tests.support.commands import Forked
from tests.support.ranks import start, train_together
from tests.support.waiting import PROGRAM_HANG

import polylens
from polylens.checkpoints.loading import read_header, read_scalars
from polylens.errors import InputError
from polylens.nn.pooling import truncate
from polylens.train.clip_data import read_data
from polylens.train.clip_loss import both_ways_nce, known_right
from polylens.train.clip_recipe import ClipPart, ClipRecipe, jina_clip_v2
from polylens.train.clip_stages import ClipRun, image_size_of, run_clip_stages
from polylens.train.pairs import Batch
from polylens.train.progress import TrainingProgress

WORDS = ["harbour", "winter", "bread", "tower", "salt", "letter", "storm", "light", "oven", "ship"]
COLOURS = ["red", "green", "blue", "white", "black", "yellow", "cyan", "magenta", "gray", "orange"]
Rows = list[dict[str, Any]]


def write(path: str, rows: Rows) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


class Files:
    """A world of ten words and ten colours; where its files are, or would be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.texts, self.captions, self.long_captions, self.triplets, self.held_out = (
            str(folder / f"{name}.jsonl") for name in ("texts", "captions", "long", "triplets", "held-out")
        )

    def make(self) -> Files:
        self.folder.mkdir(parents=True, exist_ok=True)
        for colour in COLOURS:
            PIL.Image.new("RGB", (90, 76), colour).save(self.folder / f"{colour}.png")
        images = [{"image": f"{colour}.png"} for colour in COLOURS]
        pairs: Rows = [{"query": q, "document": f"{d} {d}"} for q, d in zip(WORDS, WORDS[::-1], strict=True)]
        short: Rows = [{"query": c, "document": i} for c, i in zip(COLOURS, images, strict=True)]
        # The images first: either order will do.
        long: Rows = [{"query": i, "document": f"a picture all in {c}"} for c, i in zip(COLOURS, images, strict=True)]
        write(self.texts, pairs)
        write(self.captions, short)
        write(self.long_captions, long)
        write(self.triplets, [p | {"negatives": [f"no {w}" for w in WORDS[: 1 + i % 3]]} for i, p in enumerate(pairs)])
        write(self.held_out, [*pairs[:4], *long])
        return self

    def recipe(self, base: Path, **sizes: Any) -> ClipRecipe:
        """Quick: a few steps of each part, in float32."""
        files = [[self.texts], [self.captions], [self.long_captions], [self.triplets]]
        given = {"steps": 10, "batch_size": 6, "learning_rate": 3e-3, "image_size": 76} | sizes
        recipe = jina_clip_v2(str(base), *files, **given)
        quick = {"dtype": "float32", "saved_dtype": "float32", "checkpoint_every": 3}
        return replace(recipe, parts=tuple(replace(part, **quick) for part in recipe.parts))

    def long_recipe(self, base: Path) -> ClipRecipe:
        """Enough steps to learn the pairs by heart."""
        recipe = self.recipe(base, steps=50, batch_size=10, evaluation=self.held_out)
        long = {"steps": 60, "steps_of_stage": 60, "learning_rate": 3e-3, "checkpoint_every": 60}
        *short, second, third = recipe.parts
        parts = (*short, replace(second, **long), replace(third, **long, saved_dtype="float16"))
        return replace(recipe, parts=parts)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.write(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("files")).make()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def run_of(part: ClipPart, base: Path) -> ClipRun:
    return ClipRun(replace(part, model=str(base)), read_header(base), read_data(part))


def drawn(run: ClipRun) -> tuple[Batch, Batch]:
    """All that there is."""
    texts, captions = run.data.texts[0], run.data.captions[0]
    return Batch(texts, texts.pairs), Batch(captions, captions.pairs)


def gradients(run: ClipRun) -> dict[str, torch.Tensor]:
    return {name: each.grad.clone() for name, each in run.named.items() if each.grad is not None}


def plain_losses(run: ClipRun) -> dict[str, torch.Tensor]:
    """Both losses of a step with everything in memory at once."""
    losses = {}
    temperatures = {"texts": torch.tensor(0.05), "captions": 1 / run.logit_scale.exp()}
    for (name, temperature), batch in zip(temperatures.items(), drawn(run), strict=True):
        instruction = run.instruction if name == "texts" else ""
        sides = [
            [run.item(pair.query, instruction) for pair in batch.pairs],
            [run.item(pair.document, "") for pair in batch.pairs]
            + [run.item(each, "") for pair in batch.pairs for each in pair.negatives],
        ]
        queries, documents = (run.model.embed(items).dense for items in sides)
        losses[name] = torch.stack(
            [
                both_ways_nce(truncate(queries, dim), truncate(documents, dim), known_right(batch.pairs), temperature)
                for dim in (8, 16, 48)
            ]
        ).sum()
    return losses


class TestGradients:
    @pytest.fixture
    def part(self, base: Path, files: Files) -> ClipPart:
        """The last one, which has hard negatives."""
        part = replace(files.recipe(base).parts[-1], gradient_clip=1e9, learning_rate=0.0)
        assert part.hard_negatives and part.query_instruction
        return part

    @pytest.mark.parametrize("part_tokens", [40, 10**9])
    def test_they_are_those_of_plain_backpropagation(self, base: Path, part: ClipPart, part_tokens: int) -> None:
        run = run_of(replace(part, part_tokens=part_tokens), base)
        sides = [(pair.query, run.instruction) for pair in run.data.texts[0].pairs]
        assert len(list(run.parts(sides))) == (1 if part_tokens > 40 else 10)
        found = run.step(drawn(run), 1)
        cached, plain = gradients(run), run_of(part, base)
        losses = plain_losses(plain)
        (losses["texts"] + losses["captions"]).backward()  # type: ignore[no-untyped-call]  # torch declares no types
        assert found["texts"] == pytest.approx(losses["texts"].item(), rel=1e-5)
        assert found["captions"] == pytest.approx(losses["captions"].item(), rel=1e-5)
        assert found["total"] == found["texts"] + found["captions"]
        assert cached.keys() == gradients(plain).keys() == set(run.named)  # both towers whole, and the temperature
        for name, each in gradients(plain).items():
            # float32: the same products in another order
            assert (each - cached[name]).abs().max() <= 1e-4 * each.abs().max() + 1e-7, name

    def test_the_temperature_of_images_learns(self, base: Path, part: ClipPart) -> None:
        run = run_of(part, base)
        run.step(drawn(run), 1)
        assert run.logit_scale.grad is not None
        around, aside = [], 1e-2
        for sign in (1, -1):
            moved = run_of(part, base)
            with torch.no_grad():
                moved.logit_scale += sign * aside
                around.append(plain_losses(moved)["captions"].item())
        slope = (around[0] - around[1]) / (2 * aside)
        assert float(run.logit_scale.grad) == pytest.approx(slope, rel=1e-2)  # what a difference so wide leaves
        assert abs(slope) > 0.1

    def test_the_temperature_stays_within_clips_bounds(self, base: Path, part: ClipPart) -> None:
        run = run_of(part, base)
        for begin, end in ((9.0, math.log(100)), (-1.0, 0.0)):
            with torch.no_grad():
                run.logit_scale.fill_(begin)
            run.update(1, usable=False)
            assert run.logit_scale.item() == pytest.approx(end)

    def test_where_the_temperature_begins(self, base: Path, files: Files) -> None:
        first, *_, last = files.recipe(base).parts
        assert run_of(first, base).logit_scale.item() == pytest.approx(math.log(1 / 0.07))
        assert (
            run_of(last, base).logit_scale.item()
            == pytest.approx(2.6592)
            == read_scalars(read_header(base))["logit_scale"]
        )

    def test_a_step_moves_all_but_what_has_no_gradient(self, base: Path, part: ClipPart) -> None:
        run = run_of(replace(part, learning_rate=1e-3, warmup_steps=1), base)
        before = {name: each.detach().clone() for name, each in run.named.items()}
        run.step(drawn(run), 1)
        still = {name for name, each in run.named.items() if torch.equal(each, before[name])}
        assert still == set()
        decays = {id(each): group["weight_decay"] for group in run.optimiser.param_groups for each in group["params"]}
        assert {each.ndim >= 2 for each in run.named.values() if decays[id(each)]} == {True}
        assert decays[id(run.logit_scale)] == 0 and decays[id(run.named["text.embed.weight"])] > 0


@pytest.fixture(scope="module")
def whole(base: Path, files: Files, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrainingProgress]]:
    folder, told = tmp_path_factory.mktemp("whole"), list[TrainingProgress]()
    assert run_clip_stages(files.recipe(base), folder, report=told.append) == folder / "3-hard/model"
    return folder, told


class TestRuns:
    def test_each_part_has_its_size_and_begins_where_the_one_before_ended(
        self, whole: tuple[Path, list[TrainingProgress]]
    ) -> None:
        folder, told = whole
        names = ["1-short", "1-short-finer", "2-long", "3-hard"]
        sizes = [image_size_of(str(folder / name / "model")) for name in names]
        assert sizes == [33, 57, 57, 76]
        begun = [json.loads((folder / name / "recipe.json").read_text())["recipe"]["model"] for name in names]
        assert begun[1:] == [str(folder / name / "model") for name in names[:-1]]
        assert [progress.step for progress in told] == list(range(1, 12 + 1)) and {p.total for p in told} == {12}
        scales = [read_scalars(read_header(folder / name / "model"))["logit_scale"] for name in names]
        assert len(set(scales)) == 4 and scales[0] != pytest.approx(math.log(1 / 0.07), abs=1e-6)
        first = lines(folder / "2-long")[-1]
        assert first["temperature"] == pytest.approx(math.exp(-scales[1]), abs=1e-6)

    def test_it_learns_and_what_comes_out_is_a_model(self, base: Path, files: Files, tmp_path: Path) -> None:
        """In a process that does not check shapes, for which 170 steps are long."""
        recipe, model = files.long_recipe(base), tmp_path / "3-hard/model"
        assert spawn(files, base, tmp_path, recipe="long_recipe").wait(PROGRAM_HANG) == 0
        for part in recipe.parts:
            log = [line for line in lines(tmp_path / part.name) if "total" in line]
            assert {"texts", "captions", "total", "temperature", "gradient", "source"} <= log[0].keys()
            assert log[-1]["total"] < log[0]["total"]
        assert [part.name for part in recipe.parts] == ["1-short", "1-short-finer", "2-long", "3-hard"]
        scores = [line for part in recipe.parts for line in lines(tmp_path / part.name) if "recall@1 texts" in line]
        for name in ("texts", "captions", "images"):
            assert scores[0][f"recall@1 {name}"] < 0.5 < 0.9 <= scores[-1][f"recall@1 {name}"]
        embedder = polylens.load(model, dtype="float32", device="cpu")
        assert {tensor.dtype for tensor in weights(model).values()} == {torch.float16}
        texts = embedder.encode_text([f"a picture all in {colour}" for colour in COLOURS])
        images = embedder.encode_image([files.folder / f"{colour}.png" for colour in COLOURS])
        assert np.mean((texts @ images.T).argmax(axis=1) == np.arange(10)) >= 0.9

    def test_broken_off_and_taken_up_it_is_the_same_to_the_last_digit(
        self, base: Path, files: Files, whole: tuple[Path, list[TrainingProgress]], tmp_path: Path
    ) -> None:
        folder, expected = whole
        told: list[TrainingProgress] = []
        go_on = partial(run_clip_stages, files.recipe(base), tmp_path, report=told.append, max_seconds=0.0)
        finished = next((found for found in (go_on() for _ in range(20)) if found), None)
        assert finished == tmp_path / "3-hard/model"
        assert [(p.step, p.loss) for p in told] == [(p.step, p.loss) for p in expected]
        ours, theirs = weights(finished), weights(folder / "3-hard/model")
        assert ours.keys() == theirs.keys() and all(torch.equal(each, theirs[name]) for name, each in ours.items())

    def test_killed_within_a_step_it_is_the_same_to_the_last_digit(
        self, base: Path, files: Files, whole: tuple[Path, list[TrainingProgress]], tmp_path: Path
    ) -> None:
        folder, expected = whole
        told: list[TrainingProgress] = []
        broken = spawn(files, base, tmp_path, die_at=5)
        assert broken.wait(PROGRAM_HANG) == -signal.SIGKILL
        run_clip_stages(files.recipe(base), tmp_path, report=told.append)
        assert [p.step for p in told] == list(range(4, 13))  # from the checkpoint after the third step
        assert [p.loss for p in told] == [p.loss for p in expected[3:]]
        ours, theirs = (weights(each / "3-hard/model") for each in (tmp_path, folder))
        assert all(torch.equal(each, theirs[name]) for name, each in ours.items())

    def test_a_finished_part_is_not_made_again_and_another_recipe_is_refused(
        self, base: Path, files: Files, whole: tuple[Path, list[TrainingProgress]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, _ = whole
        monkeypatch.delattr("polylens.train.clip_stages.load_model")
        recipe = files.recipe(base)
        assert run_clip_stages(recipe, folder, report=lambda _: None) == folder / "3-hard/model"
        other = replace(recipe, parts=(replace(recipe.parts[0], seed=1), *recipe.parts[1:]))
        with pytest.raises(InputError, match="seed"):
            run_clip_stages(other, folder, report=lambda _: None)

    def test_two_processes_are_one_with_the_whole_batch(
        self, base: Path, files: Files, whole: tuple[Path, list[TrainingProgress]], tmp_path: Path
    ) -> None:
        train_together(SCRIPT, files.folder, base, tmp_path / "of-2", logs=tmp_path, variables=variables())
        one, two = (weights(folder / "3-hard/model") for folder in (whole[0], tmp_path / "of-2"))
        before = weights(base)
        assert one.keys() == two.keys()
        moved = {name: (one[name] - before[name]).abs().max() for name in one if one[name].shape == before[name].shape}
        apart = {name: (one[name] - two[name]).abs().max() for name in one}
        # Adam divides by small second moments, where rounding of 1e-7 grows; a wrong sum is off by as much as it moves.
        assert max(apart.values()) <= 2e-2 * max(moved.values())
        assert apart["logit_scale"] <= 1e-3 * moved["logit_scale"]


SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(int(os.environ["THREADS"]))
from tests.train.test_clip_stages import Files
from polylens.train.clip_stages import run_clip_stages
folder, base, out = map(Path, sys.argv[1:])
def report(progress):
    if progress.step == int(os.environ["DIE_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
run_clip_stages(getattr(Files(folder), os.environ["RECIPE"])(base), out, report=report)
"""


def variables(recipe: str = "recipe", die_at: int = 0) -> dict[str, str]:
    """What the script reads; sums depend on how many threads there are."""
    return {"DIE_AT": str(die_at), "RECIPE": recipe, "THREADS": str(torch.get_num_threads())}


def spawn(files: Files, base: Path, out: Path, **given: Any) -> Forked:
    """A run of a recipe in a process of its own."""
    environment = {**os.environ, **variables(**given)}
    return start(SCRIPT, files.folder, base, out, log=out.with_suffix(".log"), environment=environment)


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "row", "says"),
        [
            ("captions", {"query": "red", "document": "no picture"}, "pair 11 has no image"),
            ("captions", {"query": {"image": "red.png"}, "document": {"image": "red.png"}}, "images on both sides"),
            ("captions", {"query": "red", "document": {"image": "red.png"}, "negatives": ["a"]}, "has negatives"),
            ("long_captions", {"query": "red", "document": "no picture"}, "pair 11 has no image"),
            ("texts", {"query": "red", "document": {"image": "red.png"}}, "has images among its texts"),
            ("triplets", {"query": "a", "document": "b"}, "pair 11 has no negatives.*polylens mine"),
            ("held_out", {"query": {"image": "red.png"}, "document": {"image": "red.png"}}, "images on both sides"),
        ],
    )
    def test_files_with_other_pairs_than_they_should_have(
        self, base: Path, tmp_path: Path, name: str, row: dict[str, Any], says: str
    ) -> None:
        files = Files(tmp_path / "files").make()
        path = Path(getattr(files, name))
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        with pytest.raises(InputError, match=says) as refused:
            run_clip_stages(files.recipe(base, evaluation=files.held_out), tmp_path / "run", report=lambda _: None)
        assert str(path) in str(refused.value) and not (tmp_path / "run").exists()

    @pytest.mark.parametrize("name", ["texts", "captions"])
    def test_scores(self, base: Path, tmp_path: Path, name: str) -> None:
        files = Files(tmp_path / "files").make()
        path = getattr(files, name)
        rows = [json.loads(line) | {"score": 1.0} for line in Path(path).read_text().splitlines()]
        write(path, rows)
        with pytest.raises(InputError, match="has pairs with scores"):
            run_clip_stages(files.recipe(base), tmp_path / "run", report=lambda _: None)

    def test_models_and_sizes_that_do_not_do(self, base: Path, files: Files, tmp_path: Path) -> None:
        refuses: Callable[..., Any] = partial(pytest.raises, InputError)
        v4, v3 = tiny.write(tmp_path / "v4"), tiny_clip.write(tmp_path / "v3", tiny_clip.V3)
        for other, what in ((v4, "of the family jina_v4"), (v3, "of the family jina_clip_v2 and takes texts$")):
            with refuses(match=f"two towers.*{other} is {what}"):
                run_clip_stages(files.recipe(other), tmp_path / "run", report=lambda _: None)
            with refuses(match=f"two towers.*{other} is {what}"):
                run_of(files.recipe(other).parts[0], other)
        with refuses(match="a patch of 14 pixels.*got 28, which makes them 12"):
            run_clip_stages(files.recipe(base, image_size=28), tmp_path / "run", report=lambda _: None)
        empty = replace(files.recipe(base).parts[0], captions=())
        with refuses(match="files of captions, got 1 and 0"):
            read_data(empty)
        assert not (tmp_path / "run").exists()


def test_on_the_command_line(base: Path, files: Files, tmp_path: Path) -> None:
    command = ["train", "jina-clip-v2", "--out", str(tmp_path / "run")]
    options = ["--model", str(base), "--data", files.texts, "--captions", files.captions, "--steps", "2"]
    lacking = commands.polylens(*command, *options)
    assert lacking.returncode == 2 and "Missing option '--long-captions'" in lacking.stderr
    options += ["--long-captions", files.long_captions, "--triplets", files.triplets, "--batch-size", "4"]
    done = commands.polylens(*command, *options)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'run/3-hard/model'}\n"), done.stderr
    assert done.stderr == ""
    written = json.loads((tmp_path / "run/3-hard/recipe.json").read_text())
    assert set(written) == {"recipe", "data", "versions"} and set(written["data"]) == {
        files.triplets,
        files.long_captions,
    }
    assert written["recipe"]["image_size"] == 76
