"""The training of a student: exact resume, and its recall on everyday meanings at every checkpoint."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from polylens.atomic import write_beside
from polylens.errors import InputError
from polylens.lab.benchmarks import meaning
from polylens.lab.benchmarks.texts import overall
from polylens.lab.nano.distillation.objective import lesson_losses
from polylens.lab.nano.distillation.plan import StudentPlan
from polylens.lab.nano.distillation.student import Student, initialise_student, trained_parameters
from polylens.lab.nano.distillation.targets import Targets, compute_targets, load_targets, save_targets
from polylens.lab.nano.distillation.taught import Shard, num_shards, shard
from polylens.lab.nano.loop import make_optimisers
from polylens.lab.nano.tokenizer import train_tokenizer
from polylens.lab.teacher.file import TeacherFile
from polylens.models.protocol import Item
from polylens.runtime.devices import mixed_precision
from polylens.train.progress import TrainingProgress
from polylens.train.run_logger import RunLogger
from polylens.train.run_metadata import write_recipe
from polylens.train.state import load_state, save_state

_SHARDS_TO_READ = 16  # from which the tokenizer learns
_LOG_EVERY = 50


@dataclass(frozen=True, slots=True)
class LessonBatch:
    """What a step learns: the texts that stand alone, then the pairs' English sides, then their other sides."""

    items: list[Item]
    wanted: Tensor
    """The target of each, unit rows `[N, V]`."""
    num_pairs: int
    english_asks: bool


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
        teacher: The teacher's file, for the beginning of the student's table.
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
    tokenizer, targets = _tokenizer(plan, lessons, folder), _targets(lessons, folder)
    student = Student(plan, tokenizer)
    initialise_student(student, teacher, tokenizer)
    named = trained_parameters(student)
    student.trainee.requires_grad_(False)
    for parameter in named.values():
        parameter.requires_grad_(True)
    optimisers = make_optimisers(student.trainee, plan.weight_decay)
    start, began = load_state(folder / "checkpoint", named, optimisers), time.monotonic()
    judge = judge or recall_of_meaning
    with RunLogger(folder, start) as logger:
        for step, batch in _batches(plan, student, targets, lessons, start):
            tick = time.monotonic()
            losses = train_step(student, batch, optimisers, plan, step)
            seconds = time.monotonic() - tick
            report(TrainingProgress(step + 1, plan.steps, losses["total"], seconds))
            checkpoint = (step + 1) % plan.checkpoint_every == 0 or step + 1 == plan.steps
            if checkpoint or (step + 1) % _LOG_EVERY == 0:
                found = judge(student) if checkpoint else {}
                logger.log(step + 1, {"seconds": round(seconds, 3), **losses, **found})
            if checkpoint:
                save_state(folder / "checkpoint", named, optimisers, step + 1)
                if max_seconds is not None and time.monotonic() - began > max_seconds:
                    break
    return student


def recall_of_meaning(student: Student) -> dict[str, float]:
    """The recall@1 of `eval meaning` by kind of vectors: the mean of the languages, and each language's dense one."""
    results = meaning.run(student)
    means = {f"meaning {way}": overall(results, way).mean for way in ("multi-vector", "dense")}
    return means | {f"meaning {result.task}": result.mean("dense").mean for result in results}


def train_step(
    student: Student,
    batch: LessonBatch,
    optimisers: Sequence[torch.optim.Optimizer],
    plan: StudentPlan,
    step: int,
) -> dict[str, float]:
    """One update; returns the losses, and their weighted sum as `total`."""
    rate = plan.learning_rate * min(1.0, (step + 1) / plan.warmup_steps)
    rate *= 0.5 * (1 + math.cos(math.pi * step / plan.steps))
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate * group["share"]
        optimiser.zero_grad(set_to_none=True)
    device = student.trainee.reader.weight.device
    with mixed_precision(device):
        found = student.trainee.model.embed(batch.items)
    losses = lesson_losses(found, batch.wanted.to(device), batch.num_pairs, plan, batch.english_asks)
    losses["total"].backward()  # type: ignore[no-untyped-call]  # torch declares no types for it
    nn.utils.clip_grad_norm_(student.trainee.parameters(), plan.gradient_clip)
    for optimiser in optimisers:
        optimiser.step()
    return {name: round(float(loss.detach()), 4) for name, loss in losses.items()}


def _tokenizer(plan: StudentPlan, lessons: Path, folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    if not path.exists():
        numbers = range(min(num_shards(lessons), _SHARDS_TO_READ))
        read = [shard(lessons, number) for number in numbers]
        said = [text for each in read for text in texts_of(each)]
        tokenizer = train_tokenizer(vocab_size=plan.model.decoder.vocab_size, seed=plan.seed, more=said)
        with write_beside(path) as beside:
            tokenizer.save(str(beside))
    return Tokenizer.from_file(str(path))


def _targets(lessons: Path, folder: Path) -> Targets:
    path = folder / "targets.safetensors"
    if not path.exists():
        save_targets(compute_targets(lessons), path)
    return load_targets(path)


def texts_of(found: Shard) -> list[str]:
    """The text of each vector of a shard."""
    alone, english = [each.text for each in found.texts], [each.english for each in found.pairs]
    return [*alone, *english, *(each.other for each in found.pairs)]


def _batches(
    plan: StudentPlan, student: Student, targets: Targets, lessons: Path, start: int
) -> Iterator[tuple[int, LessonBatch]]:
    """The batches from a step on: those of a shard are of like length each, and come in any order."""
    count, step, visit = num_shards(lessons), 0, 0
    first = shard(lessons, 0)
    steps = min(len(first.texts) // plan.texts_a_step, len(first.pairs) // plan.pairs_a_step)
    if not steps:
        raise InputError(
            f"texts_a_step and pairs_a_step must be at most {len(first.texts)} and {len(first.pairs)}, those of a "
            f"shard, got {plan.texts_a_step} and {plan.pairs_a_step}"
        )
    while step < plan.steps:
        number = random.Random(f"{plan.seed}/{visit // count}").sample(range(count), count)[visit % count]
        visit += 1
        if step + steps > start:
            for at, batch in enumerate(_of_shard(plan, student, targets, shard(lessons, number), steps, visit)):
                if start <= step + at < plan.steps:
                    yield step + at, batch
        step += steps


def _of_shard(
    plan: StudentPlan, student: Student, targets: Targets, found: Shard, steps: int, visit: int
) -> Iterator[LessonBatch]:
    rng = random.Random(f"{plan.seed}/{visit}")
    said, wanted = texts_of(found), torch.from_numpy(targets(found.vectors))
    alone, pairs = len(found.texts), len(found.pairs)
    texts = sorted(range(alone), key=lambda i: len(said[i].encode()))
    paired = sorted(range(pairs), key=lambda i: len(said[alone + i].encode()) + len(said[alone + pairs + i].encode()))
    of_texts, of_pairs = (rng.sample(range(steps), steps) for _ in range(2))
    for some, others in zip(of_texts, of_pairs, strict=True):
        english_asks = rng.random() < 0.5
        chosen = texts[some * plan.texts_a_step : (some + 1) * plan.texts_a_step]
        both = paired[others * plan.pairs_a_step : (others + 1) * plan.pairs_a_step]
        english, other = [alone + i for i in both], [alone + pairs + i for i in both]
        roles = [rng.choice(("query", "passage")) for _ in chosen]
        roles += ["query" if english_asks else "passage"] * len(both) + ["passage" if english_asks else "query"] * len(
            both
        )
        rows = [*chosen, *english, *other]
        items = [student.item(said[row], role) for row, role in zip(rows, roles, strict=True)]
        yield LessonBatch(items, wanted[rows], len(both), english_asks)
