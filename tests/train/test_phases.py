"""Two phases: what the first learns is where each task of the second begins, and a break changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.support import tiny
from tests.support.commands import polylens

from polylens.errors import InputError
from polylens.train.phases import PhasesRecipe, jina_v4, run_phases
from polylens.train.progress import TrainingProgress

ADAPTERS = "adapters/adapter_model.safetensors"
WORDS = ["harbour", "winter", "bread", "tower", "salt", "letter"]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> PhasesRecipe:
    folder = tmp_path_factory.mktemp("phases")
    base = tiny.write(folder / "tiny")
    pairs, graded = folder / "pairs.jsonl", folder / "graded.jsonl"
    rows = [{"query": q, "document": f"{d} {d}"} for q, d in zip(WORDS, WORDS[::-1], strict=True)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    graded.write_text("".join(json.dumps(row | {"score": i % 3}) + "\n" for i, row in enumerate(rows)))
    tasks = {"retrieval": [str(pairs)], "text-matching": [str(graded)]}
    recipe = jina_v4(str(base), [str(pairs)], tasks, steps=4, batch_size=4, learning_rate=1e-2)
    quick = [replace(part, dtype="float32", checkpoint_every=2) for part in (recipe.pairs, *recipe.tasks)]
    return replace(recipe, pairs=quick[0], tasks=tuple(quick[1:]))


@pytest.fixture(scope="module")
def whole(plan: PhasesRecipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrainingProgress]]:
    folder = tmp_path_factory.mktemp("whole")
    told: list[TrainingProgress] = []
    assert run_phases(plan, folder, report=told.append) == folder / "2-text-matching/model"
    return folder, told


def adapters(folder: Path, task: str) -> dict[str, torch.Tensor]:
    return {
        name.replace(f".{task}.", "."): tensor
        for name, tensor in load_file(folder / ADAPTERS).items()
        if f".{task}." in name
    }


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys() and one
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_every_task_begins_where_the_first_phase_ended(whole: tuple[Path, list[TrainingProgress]]) -> None:
    folder, _ = whole
    learned = adapters(folder / "1-pairs/model", "retrieval")
    for task in ("retrieval", "text-matching", "code"):
        assert same(adapters(folder / "1-copies", task), learned)
    assert not same(adapters(folder / "1-pairs/model", "code"), learned)


def test_a_task_learns_alone(whole: tuple[Path, list[TrainingProgress]]) -> None:
    folder, _ = whole
    learned, end = adapters(folder / "1-copies", "retrieval"), folder / "2-text-matching/model"
    retrieval = adapters(folder / "2-retrieval/model", "retrieval")
    assert not same(retrieval, learned) and same(adapters(end, "retrieval"), retrieval)
    assert not same(adapters(end, "text-matching"), learned)
    assert same(adapters(end, "code"), learned)  # which had no data of its own


def test_progress_is_of_the_whole(whole: tuple[Path, list[TrainingProgress]]) -> None:
    _, told = whole
    assert [progress.step for progress in told] == list(range(1, 9)) and {progress.total for progress in told} == {8}


def test_broken_off_and_taken_up_it_comes_to_the_same(
    plan: PhasesRecipe, whole: tuple[Path, list[TrainingProgress]], tmp_path: Path
) -> None:
    for _ in range(10):
        finished = run_phases(plan, tmp_path, report=lambda _: None, max_seconds=0.0)
        if finished:
            break
    assert finished == tmp_path / "2-text-matching/model"
    ours, theirs = (load_file(folder / "2-text-matching/model" / ADAPTERS) for folder in (tmp_path, whole[0]))
    assert same(ours, theirs)


def test_tasks_that_do_not_do(plan: PhasesRecipe, tmp_path: Path) -> None:
    poetry = replace(plan.tasks[0], task="poetry")
    with pytest.raises(InputError, match="task must be one of retrieval, text-matching, code, got 'poetry'"):
        run_phases(replace(plan, tasks=(poetry,)), tmp_path, report=lambda _: None)
    with pytest.raises(InputError, match="'retrieval' is given twice"):
        run_phases(replace(plan, tasks=(plan.tasks[0],) * 2), tmp_path, report=lambda _: None)
    assert not any(tmp_path.iterdir())


def test_on_the_command_line(plan: PhasesRecipe, tmp_path: Path) -> None:
    command = ["train", "jina-v4", "--out", str(tmp_path / "run")]
    given = ["--model", plan.pairs.model, "--data", plan.pairs.data[0], "--steps", "2", "--batch-size", "4"]
    wrong = polylens(*command, *given, "--task-data", "code")
    assert wrong.returncode == 2 and "--task-data must be TASK=FILE" in wrong.stderr
    given += ["--task-data", f"code={plan.pairs.data[0]}"]
    done = polylens(*command, *given)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'run/2-code/model'}\n"), done.stderr


def test_several_processes_wait_for_what_one_of_them_writes(plan: PhasesRecipe, tmp_path: Path) -> None:
    pairs = plan.pairs.data[0]
    given = ["-m", "polylens.cli", "train", "jina-v4", "--out", str(tmp_path / "run"), "--model", plan.pairs.model]
    given += [
        "--data",
        pairs,
        "--task-data",
        f"code={pairs}",
        "--steps",
        "4",
        "--batch-size",
        "4",
        "--learning-rate",
        "1e-2",
    ]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*torchrun, *given], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'run/2-code/model'}\n"), done.stderr
    learned = adapters(tmp_path / "run/2-code/model", "code")
    assert not same(learned, adapters(tmp_path / "run/1-copies", "code"))


def test_the_kl_term_can_be_left_out_of_both_phases() -> None:
    for weight in (1.0, 0.0):
        recipe = jina_v4("nano", ["a.jsonl"], {"code": ["b.jsonl"]}, kl_weight=weight)
        for part in (recipe.pairs, *recipe.tasks):
            for weights in (part.objective.texts, part.objective.images):
                assert (weights.dense, weights.late, weights.kl) == (1.0, 1.0, weight)
