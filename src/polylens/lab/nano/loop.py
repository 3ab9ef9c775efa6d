"""The training loop: one process, bf16 where the processor has it, exact resume.

A run's folder holds `recipe.json`, `log.jsonl` (a line every few steps) and the same for TensorBoard, `checkpoint/`
(weights and optimiser, safetensors only; written beside and renamed), `blended/` (the weights of stages that
are mixed into those of later stages) and, at the end, `model/` in the official layout.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn

from polylens.atomic import write_beside
from polylens.errors import InputError
from polylens.lab.nano.data.batches import Batches
from polylens.lab.nano.data.examples import ImageBatch
from polylens.lab.nano.data.fingerprints import data_fingerprints
from polylens.lab.nano.data.grounding import letters
from polylens.lab.nano.data.text_pairs import check_pairs
from polylens.lab.nano.distillation.lesson_batches import LessonBatch
from polylens.lab.nano.distillation.schooling import Schooling
from polylens.lab.nano.distillation.student import Student, recall_of_meaning
from polylens.lab.nano.initial_weights import initialise
from polylens.lab.nano.kits.kit import PixelProcessor
from polylens.lab.nano.kits.table import kit_of
from polylens.lab.nano.objective import compute_lesson_losses, compute_losses
from polylens.lab.nano.schedule import Recipe, Stage, stage_at
from polylens.lab.nano.stage_recall import StageRecall
from polylens.lab.nano.trainee import Trainee
from polylens.runtime.devices import mixed_precision
from polylens.runtime.embedder import load
from polylens.runtime.prefetch import read_ahead
from polylens.train.distributed import processes
from polylens.train.pair_run import LOG_EVERY
from polylens.train.progress import TrainingProgress
from polylens.train.run_logger import RunLogger
from polylens.train.run_metadata import write_recipe
from polylens.train.state import blend_weights, load_state, save_state, save_weights

_log = logging.getLogger(__name__)

BLENDED = "blended"  # weights of earlier stages, in the run's folder


def train(
    recipe: Recipe,
    folder: Path,
    *,
    report: Callable[[TrainingProgress], None],
    max_seconds: float | None = None,
) -> Path | None:
    """Runs a recipe, or resumes it where a checkpoint lies in the folder.

    Args:
        recipe: The recipe.
        folder: Of the run; a folder with a run of another recipe is refused.
        report: Called after each step.
        max_seconds: Stop after a checkpoint once this much time has passed; None runs to the end.

    Returns:
        The folder of the finished model, None where time ran out first.

    Raises:
        InputError: The folder holds a run of another recipe, this machine lacks the recipe's data, or several processes
            were started.
    """
    _begin(recipe, folder)
    lessons = None if recipe.lessons is None else Schooling(recipe.lessons, folder)
    tokenizer = _tokenizer(recipe, folder, lessons)
    processor = kit_of(recipe).make_processor(recipe, tokenizer)
    trainee = _beginner(recipe, processor, lessons)
    optimisers = make_optimisers(trainee, recipe.weight_decay)
    start = load_state(folder / "checkpoint", dict(trainee.named_parameters()), optimisers)
    total = sum(stage.steps for stage in recipe.stages)
    kept = {blend.stage for stage in recipe.stages for blend in stage.blend}
    began = time.monotonic()
    held_out = StageRecall(recipe.seed, processor)
    with RunLogger(folder, start) as logger:
        for step, batch in _batches(recipe, processor, start, total, lessons):
            tick = time.monotonic()
            losses = train_step(trainee, batch, optimisers, recipe, step, lessons)
            stage, within = stage_at(recipe, step)
            if within + 1 == stage.steps:  # before the checkpoint, so that a resumed run has it
                if stage.kind == "read" and isinstance(batch, ImageBatch):
                    trainee.finalize_reading(batch.images)
                _end_stage(stage, stage.name in kept, folder / BLENDED, dict(trainee.named_parameters()))
            seconds = time.monotonic() - tick
            report(TrainingProgress(step + 1, total, losses["total"], seconds))
            checkpoint = (step + 1) % recipe.checkpoint_every == 0 or step + 1 == total
            if (step + 1) % LOG_EVERY == 0 or checkpoint:
                scores = held_out(trainee, stage) if checkpoint else {}
                if checkpoint and stage.kind == "lessons":
                    scores = recall_of_meaning(Student(trainee, processor, recipe.model.multivector_dim))
                rounded = {name: round(loss, 4) for name, loss in losses.items()}
                logger.log(step + 1, {"seconds": round(seconds, 3), **rounded, **scores})
            if checkpoint:
                save_state(folder / "checkpoint", dict(trainee.named_parameters()), optimisers, step + 1)
                if max_seconds is not None and time.monotonic() - began > max_seconds and step + 1 < total:
                    return None
    trainee.to(device="cpu", dtype=torch.bfloat16).save(folder / "model", processor)
    return folder / "model"


def _beginner(recipe: Recipe, processor: PixelProcessor, lessons: Schooling | None) -> Trainee:
    """The model as it is before the first step, on the device."""
    trainee = kit_of(recipe).make_trainee(recipe)
    initialise(trainee, recipe.seed, processor.tokenizer)
    if lessons is not None:
        assert recipe.distillation is not None
        lessons.begin(trainee, processor, recipe.distillation)
    if recipe.tower_of is not None:
        _take_tower(trainee, recipe.tower_of)
    trainee.to(processes().device)
    if processes().device.type == "cuda":
        torch.set_num_threads(2)  # the other cores draw; a product on all of them would wait for each that is busy
    _compile(trainee, recipe.reading_blocks)
    return trainee


def _begin(recipe: Recipe, folder: Path) -> None:
    """Prepares the folder of a run, and refuses runs that cannot work."""
    num_processes = processes().num_processes
    if num_processes > 1:
        raise InputError(
            f"{recipe.name} is trained by a single process, got {num_processes}; start it without a launcher"
        )
    if any(stage.pairs for stage in recipe.stages):
        check_pairs()
    folder.mkdir(parents=True, exist_ok=True)
    changed = write_recipe(recipe, folder, data_fingerprints(recipe), may_move=True)
    if changed:
        _log.warning(
            "%s have changed since %s was last trained: its further batches will differ (noted in recipe.json)",
            ", ".join(changed),
            folder,
        )


def _compile(trainee: Trainee, reading_blocks: int) -> None:
    """Compiles the reading blocks on a CPU with a compiler: fused operations halve the tower's memory traffic."""
    if trainee.reader.weight.device.type == "cpu" and shutil.which("c++"):
        logging.getLogger("torch._dynamo").setLevel(logging.ERROR)  # that a size is not compiled is no news
        for block in trainee.blocks[:reading_blocks]:
            block.compile()


def _end_stage(stage: Stage, keep: bool, folder: Path, named: dict[str, nn.Parameter]) -> None:
    """Mixes earlier weights into those of a finished stage, and saves the result where a later stage needs it."""
    blend_weights({folder / f"{blend.stage}.safetensors": blend.share for blend in stage.blend}, named)
    if keep:
        save_weights(folder / f"{stage.name}.safetensors", named)


def learning_rate(recipe: Recipe, step: int) -> float:
    """The learning rate of a step: a warm-up over the run's first steps, and a cosine within each stage."""
    stage, within = stage_at(recipe, step)
    fall = 0.5 * (1 + math.cos(math.pi * within / stage.steps))
    rate = stage.final_learning_rate + (stage.learning_rate - stage.final_learning_rate) * fall
    return rate * min(1.0, (step + 1) / recipe.warmup_steps)


def make_optimisers(trainee: Trainee, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the network, AdamW for embeddings, heads, norms and biases.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; its step is scaled to AdamW's, so one rate serves
    both.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in trainee.named_parameters():
        groups.setdefault((trainee.is_matrix(name), trainee.rate_share(name)), []).append(parameter)
    hidden, rest = (
        [{"params": found, "share": share} for (is_matrix, share), found in groups.items() if is_matrix == wanted]
        for wanted in (True, False)
    )
    return [
        torch.optim.Muon(hidden, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train_step(
    trainee: Trainee,
    batch: ImageBatch | LessonBatch,
    optimisers: list[torch.optim.Optimizer],
    recipe: Recipe,
    step: int,
    lessons: Schooling | None = None,
) -> dict[str, float]:
    """One update; returns each unweighted loss, and their weighted sum as `total`."""
    rate = learning_rate(recipe, step)
    stage, _ = stage_at(recipe, step)
    trainee.freeze(reading=not stage.tower_learns, task=stage.task)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate * group["share"]
        optimiser.zero_grad(set_to_none=True)
    device = trainee.reader.weight.device
    wanted = None if lessons is None or not isinstance(batch, LessonBatch) else lessons.wanted(batch)
    with mixed_precision(device):
        if isinstance(batch, LessonBatch):
            assert wanted is not None
            losses = compute_lesson_losses(trainee, batch, recipe, wanted)
        else:
            losses = compute_losses(trainee, batch, recipe)
    losses["total"].backward()  # type: ignore[no-untyped-call]  # torch declares no types for it
    norm = nn.utils.clip_grad_norm_(trainee.parameters(), recipe.gradient_clip)
    if bool(torch.isfinite(norm)):
        for optimiser in optimisers:
            optimiser.step()
    return {name: float(loss.detach()) for name, loss in losses.items()} | {"gradient": float(norm), "rate": rate}


def _batches(
    recipe: Recipe, processor: PixelProcessor, start: int, total: int, lessons: Schooling | None
) -> Iterator[tuple[int, ImageBatch | LessonBatch]]:
    letters()  # before the fork, so that no worker counts them again
    taught = None if lessons is None else lessons.batches(recipe, processor)
    loader = torch.utils.data.DataLoader(
        Batches(recipe, processor, taught),
        sampler=range(start, total),
        batch_size=None,
        num_workers=max(1, (os.cpu_count() or 1) - 2),
        prefetch_factor=4,
        multiprocessing_context="fork",
    )
    workers = iter(loader)  # they are forked here, and not in the thread
    unpacked = (batch.unpacked() if isinstance(batch, LessonBatch) else batch for batch in workers)
    with read_ahead(unpacked, nbytes=lambda _: 1, max_bytes=2) as ahead:
        yield from zip(range(start, total), ahead, strict=True)


def _take_tower(trainee: Trainee, name: str) -> None:
    """Begins with the vision tower of a trained model, all but the last layer where its decoder has another width."""
    model = load(name, device="cpu", dtype="float32", engine="torch").model
    trained = {part.removeprefix("vision."): parameter for part, parameter in model.named_parameters()}
    own = trainee.tower.state_dict()
    trainee.tower.load_state_dict(
        {name: trained[name] if trained[name].shape == own[name].shape else own[name] for name in own}
    )


def _tokenizer(recipe: Recipe, folder: Path, lessons: Schooling | None = None) -> Tokenizer:
    """The tokenizer of the run, which is trained once; where there are lessons, on their texts too."""
    path = folder / "tokenizer.json"
    if not path.exists():
        more = [] if lessons is None else lessons.texts()
        with write_beside(path) as beside:
            kit_of(recipe).make_tokenizer(recipe, more).save(str(beside))
    return Tokenizer.from_file(str(path))
