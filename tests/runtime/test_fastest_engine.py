"""Which engine a model gets when none is named: what was measured here, or else a rule that is safe."""

from __future__ import annotations

import logging
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from tests.support import tiny, tiny_bert, tiny_clip

from polylens.checkpoints.loading import read_header
from polylens.models.description import Header
from polylens.runtime.embedder import load
from polylens.runtime.engines import fastest
from polylens.runtime.engines.fastest import fastest_engine, num_adapters
from polylens.runtime.engines.openvino.engine import OpenVinoEngine
from polylens.runtime.engines.torch import TorchEngine
from polylens.runtime.engines.winners import Winner, WinnerKey, read_winner, write_winner

HAS_OPENVINO = find_spec("openvino") is not None


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with bfloat16 and openvino installed, an empty cache, and nothing in the environment."""
    monkeypatch.delenv("POLYLENS_ENGINE")
    monkeypatch.setenv("POLYLENS_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(fastest, "find_spec", lambda _: object())
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


@pytest.fixture
def header(tmp_path: Path) -> Header:
    return read_header(tiny_bert.write(tmp_path / "model"))


def chosen(header: Header, dtype: torch.dtype = torch.bfloat16, device: str = "cpu") -> str:
    return fastest_engine(header, device=torch.device(device), dtype=dtype)


def winner(engine: str) -> Winner:
    return Winner(engine=engine, date="2026-11-30", figures="torch 1, openvino 2")


def test_the_rule(header: Header, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(header) == "openvino"
    assert chosen(header, torch.float32) == chosen(header, torch.float16) == chosen(header, device="meta") == "torch"
    decoder = read_header(tiny.write(tmp_path / "decoder"))
    assert chosen(decoder) == "torch"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"bf16": True})  # ARM, where nothing was measured
    assert chosen(header) == "torch"


def test_a_graph_for_each_of_many_adapters_is_not_taken_by_a_rule(tmp_path: Path) -> None:
    v3 = read_header(tiny_clip.write(tmp_path / "v3", tiny_clip.V3))
    assert num_adapters(v3) >= 4 and chosen(v3) == "torch"
    clip = read_header(tiny_clip.write(tmp_path / "clip"))
    assert num_adapters(clip) == 0 and chosen(clip) == "openvino"
    native = read_header(tiny_clip.write(tmp_path / "native", tiny_clip.NATIVE))
    assert num_adapters(native) == 0 and chosen(native) == "openvino"


def test_without_openvino_it_is_torch(header: Header, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "find_spec", lambda _: None)
    assert chosen(header) == "torch"


def test_a_measurement_outweighs_the_rule(header: Header, tmp_path: Path) -> None:
    for dtype, engine in ((torch.bfloat16, "torch"), (torch.float32, "openvino")):  # each against the rule
        key = WinnerKey.here(header.fingerprint, str(dtype).removeprefix("torch."))
        write_winner(tmp_path / "kept", key, winner(engine))
        assert chosen(header, dtype) == engine


def test_a_measurement_is_for_one_model_version_and_processor(header: Header, tmp_path: Path) -> None:
    key = WinnerKey.here(header.fingerprint, "bfloat16")
    write_winner(tmp_path / "kept", key, winner("torch"))
    assert read_winner(tmp_path / "kept", key) == winner("torch")
    for other in (
        replace(key, fingerprint="0123456789ab"),
        replace(key, processor="another"),
        replace(key, dtype="float32"),
        replace(key, versions=(("torch", "3.0"), *key.versions[1:])),
    ):
        assert read_winner(tmp_path / "kept", other) is None


@pytest.mark.parametrize("content", ["", "{", "{}", '{"engine": "another", "date": "", "figures": ""}'])
def test_a_broken_file_is_no_measurement(header: Header, tmp_path: Path, content: str) -> None:
    key = WinnerKey.here(header.fingerprint, "bfloat16")
    write_winner(tmp_path / "kept", key, winner("torch"))
    (tmp_path / "kept" / key.file).write_text(content)
    assert chosen(header) == "openvino"  # by the rule


def test_a_folder_that_cannot_be_written_costs_only_the_measurement(header: Header, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("")
    write_winner(tmp_path / "blocked", WinnerKey.here(header.fingerprint, "bfloat16"), winner("torch"))


def test_the_environment_names_it(header: Header, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYLENS_ENGINE", "torch")
    assert chosen(header) == "torch"


def test_one_line_says_which_and_why(header: Header, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="polylens.engines"):
        chosen(header)
    [line] = caplog.messages
    assert line.startswith("model runs on the engine openvino: compiled towers like these")


@pytest.mark.skipif(not HAS_OPENVINO, reason="the extra openvino is not installed: pip install 'polylens[openvino]'")
def test_loading_without_a_name_takes_it_and_an_index_may_be_read_with_the_other(
    header: Header, tmp_path: Path
) -> None:
    write_winner(tmp_path / "kept", WinnerKey.here(header.fingerprint, "float32"), winner("openvino"))
    jaxtyping.config.update("jaxtyping_disable", True)  # while a graph is traced, a size is a tensor
    try:
        mine, theirs = load(header.folder, dtype="float32"), load(header.folder, dtype="float32", engine="torch")
        assert isinstance(mine.engine, OpenVinoEngine) and isinstance(theirs.engine, TorchEngine)
        mine.engine.prepare([mine.processor.text("a", task=None, prompt_name="", max_length=None)])
        assert np.abs(mine.encode_text("the ferry") - theirs.encode_text("the ferry")).max() < 2e-5
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    assert mine.model_id == theirs.model_id
