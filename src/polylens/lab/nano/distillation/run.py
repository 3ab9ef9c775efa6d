"""The training of a student: exact resume, and its recall on everyday meanings at every checkpoint."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polylens.atomic import write_beside
from polylens.errors import InputError
from polylens.lab.benchmarks import meaning
from polylens.lab.benchmarks.texts import overall
from polylens.lab.nano.distillation.plan import StudentPlan
from polylens.lab.nano.distillation.student import Student, cut, most_frequent
from polylens.lab.nano.distillation.taught import num_shards, shard
from polylens.lab.teacher.file import TeacherFile
from polylens.train.progress import TrainingProgress
from polylens.train.run_logger import RunLogger
from polylens.train.run_metadata import write_recipe
from polylens.train.state import load_state, save_state

_SHARDS_TO_COUNT = 40  # in which the most frequent pieces are counted
_LOG_EVERY = 50


def run(
    plan: StudentPlan,
    lessons: Path,
    folder: Path,
    teacher: TeacherFile,
    *,
    report: Callable[[TrainingProgress], None],
    max_seconds: float | None = None,
    judge: Callable[[Student], dict[str, float]] | None = None,
) -> Student:
    """Trains a student, or resumes it where a checkpoint lies in the folder.

    Args:
        plan: The student and its training.
        lessons: The folder that `taught.teach` wrote.
        folder: Of the run; a folder with a run of another plan is refused.
        teacher: The teacher's file, for its pieces and the beginning of their table.
        report: Called after each step.
        max_seconds: Stop after a checkpoint once this much time has passed; None runs to the end.
        judge: Figures of a student at a checkpoint, for the log; None asks `eval meaning`.

    Raises:
        InputError: The folder holds a run of another plan, or there are no lessons.
    """
    if not num_shards(lessons):
        raise InputError(
            f"{lessons} holds no lessons; they are written first, by polylens.lab.nano.distillation.taught"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_recipe(plan, folder, {"lessons": {"shards": num_shards(lessons)}})
    student = _make(plan, lessons, folder, teacher)
    named = dict(student.named_parameters())
    optimiser = _optimiser(student, plan)
    start, began = load_state(folder / "checkpoint", named, [optimiser]), time.monotonic()
    judge = judge or recall_of_meaning
    with RunLogger(folder, start) as logger:
        for step, tokens, vectors in _batches(plan, student, lessons, start):
            tick = time.monotonic()
            losses = train_step(student, tokens, vectors, optimiser, plan, step)
            report(TrainingProgress(step + 1, plan.steps, losses["total"], time.monotonic() - tick))
            checkpoint = (step + 1) % plan.checkpoint_every == 0 or step + 1 == plan.steps
            if checkpoint or (step + 1) % _LOG_EVERY == 0:
                logger.log(step + 1, {**losses, **(judge(student) if checkpoint else {})})
            if checkpoint:
                save_state(folder / "checkpoint", named, [optimiser], step + 1)
                if max_seconds is not None and time.monotonic() - began > max_seconds:
                    break
    return student


def recall_of_meaning(student: Student) -> dict[str, float]:
    """The recall@1 of `eval meaning` by language, and its mean."""
    results = meaning.run(student)
    return {"meaning": overall(results, "dense").mean} | {
        f"meaning {result.task}": result.mean("dense").mean for result in results
    }


def train_step(
    student: Student,
    tokens: Sequence[Sequence[int]],
    vectors: Tensor,
    optimiser: torch.optim.Optimizer,
    plan: StudentPlan,
    step: int,
) -> dict[str, float]:
    """One update; returns the losses, and their weighted sum as `total`."""
    share = min(1.0, (step + 1) / plan.warmup_steps) * 0.5 * (1 + math.cos(math.pi * step / plan.steps))
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share
    optimiser.zero_grad(set_to_none=True)
    with torch.autocast(student.head.weight.device.type, torch.bfloat16):
        found = student(tokens)
    losses = distillation_losses(found, vectors.to(found.device), plan.temperature)
    total = plan.cosine_weight * losses["cosine"] + losses["divergence"]
    total.backward()  # type: ignore[no-untyped-call]  # torch declares no types for it
    nn.utils.clip_grad_norm_([each for each in student.parameters() if each is not _table(student)], plan.gradient_clip)
    optimiser.step()
    return {"total": float(total.detach())} | {name: float(loss.detach()) for name, loss in losses.items()}


def distillation_losses(found: Tensor, wanted: Tensor, temperature: float) -> dict[str, Tensor]:
    """How far vectors are from the teacher's: `cosine`, each from its own; `divergence`, in how they rank the batch.

    The divergence (Kullback-Leibler) compares two softmaxes over the teacher's vectors of the batch: of a vector's
    similarities to them, and of its own teacher's.

    Args:
        found: Unit vectors of the student, `[N, V]`.
        wanted: Those of the teacher.
        temperature: Of both softmaxes.
    """
    similar, target = found @ wanted.T / temperature, wanted @ wanted.T / temperature
    divergence = F.kl_div(similar.log_softmax(dim=1), target.log_softmax(dim=1), reduction="batchmean", log_target=True)
    return {"cosine": (1 - (found * wanted).sum(dim=1)).mean(), "divergence": divergence}


def _make(plan: StudentPlan, lessons: Path, folder: Path, teacher: TeacherFile) -> Student:
    path = folder / "pieces.json"
    if not path.exists():
        numbers = range(min(num_shards(lessons), _SHARDS_TO_COUNT))
        texts = (text for number in numbers for text in shard(lessons, number).texts)
        with write_beside(path) as beside:
            beside.write_text(json.dumps(most_frequent(teacher.pieces, texts, plan.decoder.vocab_size)))
    kept: list[int] = json.loads(path.read_text(encoding="utf-8"))
    width = teacher.sizes.width
    student = Student(plan.decoder, cut(teacher.pieces, kept), plan.longest, width)
    rows = torch.from_numpy(teacher.tensors["emb.word"].reshape(-1, width)[kept])
    student.initialise(rows, plan.seed)
    return student


def _table(student: Student) -> Tensor:
    return student.decoder.embed.weight


def _optimiser(student: Student, plan: StudentPlan) -> torch.optim.Optimizer:
    rest = [each for each in student.parameters() if each is not _table(student)]
    groups = [
        {"params": [_table(student)], "peak": plan.table_learning_rate, "weight_decay": 0.0},
        {"params": rest, "peak": plan.learning_rate, "weight_decay": 0.01},
    ]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.98))


def _batches(
    plan: StudentPlan, student: Student, lessons: Path, start: int
) -> Iterator[tuple[int, list[list[int]], Tensor]]:
    """The batches from a step on: those of a shard are of like length each, and come in any order."""
    count, step, visit = num_shards(lessons), 0, 0
    while step < plan.steps:
        order = random.Random(f"{plan.seed}/{visit // count}").sample(range(count), count)
        number = order[visit % count]
        steps = _steps_a_shard(plan, lessons)
        visit += 1
        if step + steps <= start:  # done before
            step += steps
            continue
        found = shard(lessons, number)
        tokens = student.tokens(found.texts)
        by_length = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
        rng = random.Random(f"{plan.seed}/{visit}")
        shift = rng.randrange(len(tokens) - steps * plan.batch_size + 1)
        for part in rng.sample(range(steps), steps):
            first = shift + part * plan.batch_size
            chosen = by_length[first : first + plan.batch_size]
            if start <= step < plan.steps:
                yield step, [tokens[index] for index in chosen], torch.from_numpy(found.vectors[chosen])
            step += 1


def _steps_a_shard(plan: StudentPlan, lessons: Path) -> int:
    """Whole batches per shard; all shards have as many texts as the first."""
    texts = len(shard(lessons, 0).texts)
    if texts < plan.batch_size:
        raise InputError(f"batch_size must be at most {texts}, the texts of a shard, got {plan.batch_size}")
    return texts // plan.batch_size
