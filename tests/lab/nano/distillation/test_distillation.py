"""Learning curves of the text side: lessons, vocabulary, losses against a slow sum, and a run that resumes exactly."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.tiny_teacher import PIECES, tiny_file

from polylens.errors import InputError
from polylens.lab.corpora import sources
from polylens.lab.nano.distillation import plan as plans
from polylens.lab.nano.distillation.plan import StudentPlan
from polylens.lab.nano.distillation.run import distillation_losses, run
from polylens.lab.nano.distillation.student import Student, cut, most_frequent
from polylens.lab.nano.distillation.taught import num_shards, shard, teach
from polylens.lab.teacher.file import parse
from polylens.lab.teacher.teacher import Teacher, load_teacher
from polylens.train.progress import TrainingProgress

VOCAB = 16


@pytest.fixture
def teacher(tmp_path: Path) -> Teacher:
    (tmp_path / "tiny.bin").write_bytes(tiny_file())
    return load_teacher(tmp_path / "tiny.bin", sha256=None, dtype="float32")


@pytest.fixture
def lessons(tmp_path: Path, teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> Path:
    said = [f"the boat {a}{b}{c}" for a in "abcd" for b in "abcdehil" for c in "abcde"]
    source = replace(sources.SOURCES["help"], languages=lambda: ("en",), texts=lambda _: said)
    monkeypatch.setitem(sources.SOURCES, "help", source)
    taught = replace(plans.lessons(shards=2), shares={"help": 1.0}, texts_a_shard=40)
    folder = tmp_path / "lessons"
    teach(replace(taught, shards=1), folder, teacher, lambda *_: None)
    (folder / "recipe.json").unlink()  # one shard was asked for, now two
    teach(taught, folder, teacher, lambda *_: None)
    return folder


def small(**changes: object) -> StudentPlan:
    decoder = replace(plans.student(VOCAB, 64, 1, 6).decoder, mlp_width=64)
    plan = replace(plans.student(VOCAB, 64, 1, 6), decoder=decoder, batch_size=12, warmup_steps=2, checkpoint_every=2)
    return replace(plan, **changes)  # type: ignore[arg-type]


def test_lessons_are_the_teachers_and_go_on_where_they_stopped(lessons: Path, teacher: Teacher, tmp_path: Path) -> None:
    assert num_shards(lessons) == 2
    both = [shard(lessons, number) for number in range(2)]
    assert len({text for each in both for text in each.texts}) == 80  # none twice: the second call went on
    for each in both:
        assert np.abs(each.vectors - teacher.dense(list(each.texts))).max() < 1e-3  # float16
    taught = replace(plans.lessons(shards=2), shares={"help": 1.0}, texts_a_shard=40)
    teach(taught, tmp_path / "at once", teacher, lambda *_: None)
    assert shard(tmp_path / "at once", 1).texts == both[1].texts
    with pytest.raises(InputError, match="differs in seed"):
        teach(replace(taught, seed=2), tmp_path / "at once", teacher, lambda *_: None)


def test_a_student_keeps_letters_and_what_is_frequent() -> None:
    pieces = parse(tiny_file()).pieces
    kept = most_frequent(pieces, ["the the boat a", "query"], 9)
    assert [PIECES[token] for token in kept] == ["<s>", "<pad>", "</s>", "<unk>", "▁", "a", "▁the", "▁boat", "▁query"]
    smaller = cut(pieces, kept)
    student = Student(small().decoder, smaller, longest=3, width=32)
    assert student.tokens(["the boat boat the", ""]) == [[6, 7, 7], [smaller.unknown]]
    with pytest.raises(InputError, match="vocab_size must be between 6 and 20, got 5"):
        most_frequent(pieces, ["a"], 5)


def test_the_losses_are_those_of_a_slow_sum() -> None:
    rng = np.random.default_rng(0)
    found, wanted = (rng.standard_normal((4, 6)) for _ in range(2))
    found, wanted = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (found, wanted))

    def softmax(numbers: list[float]) -> list[float]:
        powers = [math.exp(number / 0.1) for number in numbers]
        return [power / sum(powers) for power in powers]

    divergence = 0.0
    for i in range(4):
        p = softmax([float(wanted[i] @ other) for other in wanted])
        q = softmax([float(found[i] @ other) for other in wanted])
        divergence += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 4
    losses = distillation_losses(torch.tensor(found), torch.tensor(wanted), 0.1)
    assert losses["divergence"].item() == pytest.approx(divergence)
    assert losses["cosine"].item() == pytest.approx(np.mean([1 - found[i] @ wanted[i] for i in range(4)]))


def test_a_student_is_causal_and_its_batch_does_not_matter() -> None:
    pieces = parse(tiny_file()).pieces
    student = Student(replace(small().decoder, vocab_size=len(PIECES)), pieces, longest=9, width=32)
    student.initialise(torch.randn(len(PIECES), 32), seed=1)
    torch.nn.init.normal_(student.decoder.blocks[0].attention.out.weight, std=0.1)  # type: ignore[union-attr,arg-type]
    together = student([[5, 6, 7], [8], [9, 5]])
    assert torch.allclose(together[2], student([[9, 5]])[0], atol=1e-6)
    assert not torch.allclose(together[2], student([[5, 9]])[0], atol=1e-3)  # order matters
    assert together.norm(dim=1).tolist() == pytest.approx([1.0] * 3)


def test_a_run_learns_and_resumes_exactly(lessons: Path, tmp_path: Path) -> None:
    teacher = parse(tiny_file())
    plan = small(steps=6)
    told: list[TrainingProgress] = []

    def go(folder: str, seconds: float | None) -> Student:
        return run(
            plan,
            lessons,
            tmp_path / folder,
            teacher,
            report=told.append,
            max_seconds=seconds,
            judge=lambda _: {"meaning": 0.5},
        )

    whole = go("whole", None)
    assert [each.step for each in told] == [1, 2, 3, 4, 5, 6]
    assert told[-1].loss < told[0].loss
    for _ in range(3):
        parts = go("parts", 0.0)  # stops at each checkpoint, and goes on from there
    assert [each.step for each in told[6:]] == [1, 2, 3, 4, 5, 6]
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, parts.get_parameter(name)), name
    last = json.loads((tmp_path / "parts/log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 6 and last["meaning"] == 0.5
    assert whole.embed(["the boat"])[0].dense.shape == (32,)


def test_a_run_without_lessons_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no lessons"):
        run(small(), tmp_path / "none", tmp_path / "run", parse(tiny_file()), report=lambda _: None)
