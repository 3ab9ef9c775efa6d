"""Measuring the engines: what is measured, what is kept, and what the command prints. No figure is judged here."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tests.support import tiny, tiny_bert, tiny_clip, tiny_colbert
from tests.support.commands import polylens

from polylens.checkpoints.loading import read_header
from polylens.errors import InputError, WorkerError
from polylens.models.description import Header
from polylens.runtime.devices import choose_dtype
from polylens.runtime.engines import measuring
from polylens.runtime.engines.measuring import REFERENCE, Figures, keep_winner, measure, num_weights, settings_of
from polylens.runtime.engines.runner import Setting
from polylens.runtime.engines.winners import WinnerKey, read_winner
from polylens.runtime.engines.workload import LONGEST, QUERY, work_for

needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="the extra openvino is not installed: pip install 'polylens[openvino]'"
)

DTYPE = str(choose_dtype(None, measuring.CPU)).removeprefix("torch.")
TORCH, OPENVINO, INT8 = (
    Setting(engine="torch", dtype=DTYPE),
    Setting(engine="openvino", dtype=DTYPE),
    Setting(engine="openvino", dtype=DTYPE, quantization="int8"),
)


@pytest.fixture
def header(tmp_path: Path) -> Header:
    return read_header(tiny_bert.write(tmp_path / "model"))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYLENS_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def figures(tokens: int, query: float = 1.0, cosine: float | None = 1.0, image: float | None = None) -> Figures:
    return Figures(
        tokens_per_second=tokens,
        query_ms=query,
        image_s=image,
        memory_mb=1,
        least_cosine=cosine,
        first_start_s=1.0,
        second_start_s=1.0,
    )


def test_what_is_installed_is_measured(header: Header, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polylens.runtime.engines.choice.find_spec", lambda _: object())
    everything = settings_of(header)
    assert everything[0] == REFERENCE and {TORCH, OPENVINO, INT8} <= set(everything)
    assert settings_of(header, engines=["torch"]) == list(dict.fromkeys([REFERENCE, TORCH]))
    monkeypatch.setattr("polylens.runtime.engines.choice.find_spec", lambda _: None)
    assert {each.engine for each in settings_of(header)} == {"torch"}
    for options in ({"engines": ["openvino"]}, {"engines": ["another"]}, {"quantizations": ["int8"]}):
        with pytest.raises(InputError):
            settings_of(header, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("write", [tiny_bert.write, tiny_clip.write, tiny_colbert.write, tiny.write])
def test_texts_are_of_mixed_length_and_no_longer_than_wanted(tmp_path: Path, write: object) -> None:
    header = read_header(write(tmp_path / "model"))  # type: ignore[operator]
    work = work_for(header, 40)
    again = work_for(header, 40)
    assert work.texts == again.texts and len(work.texts) == 40
    adapter, prompt = header.processor.role(None, work.prompts[1])
    items = [header.processor.text(text, task=adapter, prompt_name=prompt, max_length=None) for text in work.texts]
    lengths = [item.num_tokens for item in items]
    assert sum(lengths) == work.num_tokens
    assert max(lengths) <= LONGEST and len(set(lengths)) > 10
    assert (work.page is not None) == ("image" in header.modalities)


def test_a_query_has_sixteen_tokens(header: Header) -> None:
    for query in work_for(header, 1).queries:
        assert header.processor.text(query, task=None, prompt_name="", max_length=None).num_tokens == QUERY


@pytest.mark.parametrize(
    ("torch_figures", "openvino_figures", "expected"),
    [
        (figures(100), figures(120), "openvino"),
        (figures(100, query=10.0), figures(90, query=5.0), "openvino"),  # 10 % fewer tokens, but half the wait
        (figures(100, image=1.0), figures(120, image=2.0), "torch"),
        (figures(100), figures(500, cosine=0.99), "torch"),  # faster, but not the same vectors
        (figures(100, cosine=None), figures(500, cosine=None), None),
    ],
)
def test_the_winner_is_the_fastest_that_is_safe(
    header: Header, kept: Path, torch_figures: Figures, openvino_figures: Figures, expected: str | None
) -> None:
    found = {TORCH.name: torch_figures, OPENVINO.name: openvino_figures, INT8.name: figures(10_000)}
    assert keep_winner(header, [TORCH, OPENVINO, INT8], found) == expected
    winner = read_winner(kept, WinnerKey.here(header.fingerprint, DTYPE))
    assert (None if winner is None else winner.engine) == expected


def test_one_engine_alone_wins_nothing(header: Header, kept: Path) -> None:
    assert keep_winner(header, [TORCH, INT8], {TORCH.name: figures(1), INT8.name: figures(2)}) is None
    assert not kept.exists()


def test_the_rounds_of_engines_that_do_not_fit_together(
    header: Header, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "available_bytes", lambda: 0.0)
    told: list[tuple[int, int]] = []
    settings = [REFERENCE, Setting(engine="torch", dtype="bfloat16")]
    found = measure(header.folder, settings, num_texts=3, rounds=2, progress=lambda *step: told.append(step))
    assert list(found) == ["torch float32", "torch bfloat16"]
    assert told == [(step, 8) for step in range(1, 9)]
    assert found["torch float32"].least_cosine == 1.0
    assert 0.999 < (found["torch bfloat16"].least_cosine or 0) < 1
    assert all(each.tokens_per_second > 0 and each.memory_mb > 10 for each in found.values())


@needs_openvino
def test_graphs_are_made_in_a_folder_of_the_measurement(header: Header, kept: Path) -> None:
    settings = [REFERENCE, Setting(engine="openvino", dtype="float32")]
    found = measure(header.folder, settings, num_texts=3, rounds=1)["openvino float32"]
    assert (found.least_cosine or 0) > 0.99999
    assert found.first_start_s > 0 and found.second_start_s > 0
    assert not kept.exists()


def test_an_engine_that_fails_is_named(header: Header, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Setting(engine="another", dtype="float32")
    monkeypatch.setitem(measuring.NEEDED, "another", 1)
    with pytest.raises(WorkerError, match="another float32 could not be measured: InputError: engine must be one of"):
        measure(header.folder, [wrong], num_texts=1, rounds=1)


def test_the_weights_are_counted(header: Header) -> None:
    from polylens.runtime.embedder import load

    model = load(header.folder, dtype="float32").model
    assert num_weights(header) == sum(int(np.prod(each.shape)) for _, each in model.named_parameters())


def test_the_command(tmp_path: Path, kept: Path) -> None:
    folder = tiny_bert.write(tmp_path / "model")
    done = polylens("bench", "--model", folder, "--engine", "torch", "--texts", "3", "--rounds", "1", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert {REFERENCE.name, TORCH.name} == set(told["engines"])
    assert told["machine"]["processor"] and told["machine"]["torch"]
    assert told["fastest"] is None and not kept.exists()  # one engine alone


def test_what_the_command_refuses(tmp_path: Path) -> None:
    done = polylens("bench", "--model", tiny_bert.write(tmp_path / "model"), "--engine", "another")
    assert (done.returncode, done.stderr) == (2, "polylens: engine must be one of torch, openvino, got 'another'\n")
