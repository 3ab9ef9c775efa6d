"""Which engine is chosen, and what is refused, with or without the extras."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.support import tiny, tiny_bert

from polylens.checkpoints.loading import read_header
from polylens.errors import InputError
from polylens.models.family import families
from polylens.runtime.embedder import load
from polylens.runtime.engines import choice
from polylens.runtime.engines.choice import choose_engine, model_id, quantization_of

CPU = torch.device("cpu")
FAMILIES = {family.name: family for family in families()}


def chosen(engine: str | None, quantization: str | None = None, *, family: str = "jina_bert", device: str = "cpu",
           dtype: torch.dtype = torch.float32) -> str:  # fmt: skip
    return choose_engine(engine, quantization, family=FAMILIES[family], device=torch.device(device), dtype=dtype)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda _: object())


@pytest.mark.usefixtures("installed")
def test_names() -> None:
    assert chosen(None) == "torch"  # whatever is installed
    assert chosen("torch", family="jina_v4", device="meta", dtype=torch.float16) == "torch"
    assert chosen("openvino") == "openvino"
    assert chosen(None, "int8") == chosen("openvino", "int8") == "openvino"
    assert chosen(None, "int4", family="jina_v4") == "openvino"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("engine", "quantization", "where", "message"),
    [
        ("onnx", None, {}, "engine must be one of torch, openvino, got 'onnx'"),
        (None, "int2", {}, "quantization must be one of int8, int4, got 'int2'"),
        (None, "int4", {}, "int4 is for models with a decoder, which the family jina_bert has not; use int8"),
        ("torch", "int8", {}, "the engine torch has no quantization"),
        ("openvino", None, {"family": "jina_reranker_m0"}, "does not run models of the family jina_reranker_m0"),
        (None, "int8", {"family": "jina_reranker_m0"}, "does not run models of the family jina_reranker_m0"),
        ("openvino", None, {"device": "meta"}, "runs on the CPU, got device 'meta'"),
        ("openvino", None, {"dtype": torch.float16}, "got dtype float16"),
    ],
)
def test_what_is_refused(engine: str | None, quantization: str | None, where: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        chosen(engine, quantization, **where)  # type: ignore[arg-type]


@pytest.mark.parametrize(("quantization", "missing"), [(None, "openvino"), ("int8", "nncf")])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, quantization: str | None, missing: str) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(InputError, match=rf"needs {missing}.*pip install 'polylens\[openvino\]'"):
        chosen("openvino", quantization)


@pytest.mark.usefixtures("installed")
def test_it_is_refused_before_the_weights_are_read(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "model")
    for weights in folder.glob("*.safetensors"):
        weights.write_bytes(b"")
    with pytest.raises(InputError, match="got dtype float16"):
        load(folder, engine="openvino", dtype="float16")


def test_a_quantization_is_a_part_of_the_identity(tmp_path: Path) -> None:
    header = read_header(tiny_bert.write(tmp_path / "model"))
    plain, quantized = (model_id("v2", header, each) for each in (None, "int8"))
    assert plain == f"v2@{header.fingerprint}" and quantized == f"{plain}+int8"
    assert quantization_of(plain) is None and quantization_of(quantized) == "int8"
