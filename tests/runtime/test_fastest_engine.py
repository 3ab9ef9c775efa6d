"""Which engine a model gets when none is named: what was measured here, or else torch."""

from __future__ import annotations

import logging
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from tests.support import tiny_bert

from polylens.checkpoints.loading import read_header
from polylens.models.description import Header
from polylens.runtime.embedder import load
from polylens.runtime.engines import fastest
from polylens.runtime.engines.fastest import fastest_engine
from polylens.runtime.engines.openvino.engine import OpenVinoEngine
from polylens.runtime.engines.torch import TorchEngine
from polylens.runtime.engines.winners import Winner, WinnerKey, read_winner, write_winner

HAS_OPENVINO = find_spec("openvino") is not None


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """openvino is installed, the cache is empty, and nothing is in the environment."""
    monkeypatch.delenv("POLYLENS_ENGINE")
    monkeypatch.setenv("POLYLENS_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(fastest, "find_spec", lambda _: object())


@pytest.fixture
def header(tmp_path: Path) -> Header:
    return read_header(tiny_bert.write(tmp_path / "model"))


def chosen(header: Header, dtype: torch.dtype = torch.bfloat16, device: str = "cpu") -> str:
    return fastest_engine(header, device=torch.device(device), dtype=dtype)


def winner(engine: str) -> Winner:
    return Winner(engine=engine, date="2026-11-30", figures="torch 1, openvino 2")


def test_without_a_measurement_it_is_torch(header: Header) -> None:
    assert chosen(header) == chosen(header, torch.float32) == "torch"


def test_without_openvino_it_is_torch(header: Header, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_winner(tmp_path / "kept", WinnerKey.here(header.fingerprint, "bfloat16"), winner("openvino"))
    monkeypatch.setattr(fastest, "find_spec", lambda _: None)
    assert chosen(header) == "torch"


def test_a_measurement_chooses(header: Header, tmp_path: Path) -> None:
    for dtype, engine in ((torch.bfloat16, "openvino"), (torch.float32, "torch")):
        key = WinnerKey.here(header.fingerprint, str(dtype).removeprefix("torch."))
        write_winner(tmp_path / "kept", key, winner(engine))
        assert chosen(header, dtype) == engine
        assert chosen(header, torch.float16) == chosen(header, dtype, device="meta") == "torch"


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
    write_winner(tmp_path / "kept", key, winner("openvino"))
    assert chosen(header) == "openvino"
    (tmp_path / "kept" / key.file).write_text(content)
    assert chosen(header) == "torch"


def test_a_folder_that_cannot_be_written_costs_only_the_measurement(header: Header, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("")
    write_winner(tmp_path / "blocked", WinnerKey.here(header.fingerprint, "bfloat16"), winner("torch"))


def test_the_environment_names_it(header: Header, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYLENS_ENGINE", "openvino")
    assert chosen(header) == "openvino"


def test_one_line_says_which_and_why(header: Header, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="polylens.engines"):
        chosen(header)
    [line] = caplog.messages
    assert line.startswith("model runs on the engine torch: nothing was measured to be faster")


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
