"""jina-embeddings-v4's two phases: one adapter on all pairs, then each task's adapter from a copy of it.

jina-embeddings-v4 (arXiv 2506.18902), section 4; jina_embeddings_v4 facts, section 3.1. Each part is a run of
`finetune` in a folder of its own, so an interrupted training resumes where it was: finished parts are not run again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from polylens.checkpoints.export import save_adapters
from polylens.checkpoints.fetch import resolve
from polylens.checkpoints.loading import load_model, read_header
from polylens.errors import InputError
from polylens.runtime.devices import choose_dtype
from polylens.train.distributed import processes
from polylens.train.finetune import FinetuneRecipe, finetune, run_finetune
from polylens.train.progress import TrainingProgress

FIRST = "retrieval"  # the slot in which the adapter of phase 1 is trained


@dataclass(frozen=True, kw_only=True, slots=True)
class PhasesRecipe:
    """A training in two phases."""

    name: str
    pairs: FinetuneRecipe  # phase 1, from a backbone
    tasks: tuple[FinetuneRecipe, ...]  # phase 2; each starts from the model of the part before

    @property
    def steps(self) -> int:
        """The steps of both phases."""
        return sum(part.steps for part in (self.pairs, *self.tasks))


def jina_v4(
    model: str,
    pairs: Sequence[str],
    task_data: Mapping[str, Sequence[str]],
    *,
    steps: int = 500,
    batch_size: int = 64,
    learning_rate: float = 2e-4,
    kl_weight: float = 1.0,
    part_tokens: int = 8_192,
    gradient_checkpointing: bool | None = None,
) -> PhasesRecipe:
    """jina-embeddings-v4's two phases: one adapter on pairs, then one per task from copies of it.

    The paper prints neither steps nor rates. Phase 2 has half the steps and half the rate: it refines the result of
    phase 1 on less data. Files with scores are trained by CoSENT, pairs with negatives by NCE+, as in the paper.

    Args:
        model: The backbone: a name or a folder; its adapters are overwritten.
        pairs: Files of pairs, for phase 1.
        task_data: Files for each task of phase 2. A task without files keeps its copy of phase 1.
        steps: Steps of phase 1; each task has half as many.
        batch_size: Pairs of each of a step's batches.
        learning_rate: The peak, in phase 1.
        kl_weight: Weight of the KL distillation term in both phases; 0 leaves it out.
        part_tokens: Tokens per part of a batch; one part's activations are in memory at once.
        gradient_checkpointing: Whether layers are computed twice to save memory; None goes by size and device.
    """
    part = partial(
        finetune,
        batch_size=batch_size,
        kl_weight=kl_weight,
        part_tokens=part_tokens,
        gradient_checkpointing=gradient_checkpointing,
    )
    first = part(model, pairs, task=FIRST, steps=steps, learning_rate=learning_rate)
    half, slower = max(1, steps // 2), learning_rate / 2
    return PhasesRecipe(
        name="jina-v4",
        pairs=replace(first, name="pairs"),
        tasks=tuple(
            replace(part("", files, task=task, steps=half, learning_rate=slower), name=task)
            for task, files in task_data.items()
        ),
    )


def run_phases(
    recipe: PhasesRecipe, folder: Path, *, report: Callable[[TrainingProgress], None], max_seconds: float | None = None
) -> Path | None:
    """Runs both phases, or resumes them.

    Args:
        recipe: The recipe.
        folder: Of the run; each part has a folder in it, such as `1-pairs` and `2-retrieval`, as `run_finetune` makes
            them, and `1-copies` holds the model between the phases.
        report: Called after each step, with steps of the whole.
        max_seconds: Stop after a checkpoint once this much time has passed within a part.

    Returns:
        The folder of the finished model, that of the last part; None where time ran out first.

    Raises:
        InputError: The model lacks a task, a task is given twice, or as in `run_finetune`.
    """
    _require_tasks(recipe)
    done = 0

    def tell(progress: TrainingProgress) -> None:
        report(replace(progress, step=done + progress.step, total=recipe.steps))

    at = run_finetune(recipe.pairs, folder / "1-pairs", report=tell, max_seconds=max_seconds)
    if at is None:
        return None
    done += recipe.pairs.steps
    with processes().main_process_first():  # the other processes find it there
        at = _copies(at, folder / "1-copies", recipe.pairs.dtype)
    for part in recipe.tasks:
        went_on = run_finetune(
            replace(part, model=str(at)), folder / f"2-{part.task}", report=tell, max_seconds=max_seconds
        )
        if went_on is None:
            return None
        done, at = done + part.steps, went_on
    return at


def _require_tasks(recipe: PhasesRecipe) -> None:
    known = read_header(resolve(recipe.pairs.model)).processor.tasks
    tasks = [part.task for part in recipe.tasks]
    for task in tasks:
        if task not in known:
            raise InputError(f"task must be one of {', '.join(known)}, got {task!r}")
        if tasks.count(task) > 1:
            raise InputError(f"task {task!r} is given twice; give it all of its files at once")


def _copies(trained: Path, folder: Path, dtype: str | None) -> Path:
    """Writes the model with every task's adapter a copy of the first phase's; returns its folder."""
    whole = folder / "whole.json"
    if whole.exists():
        return folder
    cpu = torch.device("cpu")
    header = read_header(trained)
    model = load_model(header, device=cpu, dtype=choose_dtype(dtype, cpu))
    ours = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in ours.items():
            stem, _, task = name.rpartition(".")
            if stem.endswith(("lora_a", "lora_b")) and task != FIRST:
                parameter.copy_(ours[f"{stem}.{FIRST}"])
    save_adapters(folder, trained, header.family, model)
    whole.write_text(json.dumps({"copied": FIRST}) + "\n", encoding="utf-8")  # last: without it all is written anew
    return folder
