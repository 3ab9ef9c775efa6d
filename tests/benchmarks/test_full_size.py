"""The benchmark's writer and its figures, on a model small enough for every run of the tests."""

from __future__ import annotations

import copy
import functools
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tests.support import tiny_clip
from tests.support.root import ROOT
from tests.support.waiting import PROGRAM_HANG

from polylens.checkpoints.catalog import find

SCRIPT = ROOT / "benchmarks" / "full_size.py"
DATA = SCRIPT.parent / "data"
Shapes = Callable[[str], dict[str, dict[str, Sequence[int]]]]


@pytest.fixture(scope="module")
def full_size() -> Iterator[ModuleType]:
    sys.path.insert(0, str(SCRIPT.parent))
    yield importlib.import_module("full_size")
    sys.path.remove(str(SCRIPT.parent))


@pytest.fixture(scope="module")
def weights(full_size: ModuleType) -> ModuleType:
    return importlib.import_module("random_weights")


@pytest.fixture(scope="module")
def shapes_of(weights: ModuleType) -> Shapes:
    """Of a model by its name; an empty network of full size takes seconds."""
    return functools.cache(lambda name: weights.shapes_of(weights.MODELS[name], weights.MODELS[name].files()))


@pytest.fixture
def published_files(weights: ModuleType) -> dict[str, Any]:
    files: dict[str, Any] = weights.MODELS["jina-embeddings-v4"].files()
    return files


@pytest.mark.parametrize("name", ["jina-embeddings-v4", "jina-clip-v2"])
def test_the_shapes_are_those_listed_of_the_published_model(weights: ModuleType, shapes_of: Shapes, name: str) -> None:
    """The lists were derived from public facts of the models, not from the code here."""
    model = weights.MODELS[name]
    listed = json.loads((DATA / f"{model.data}_state_dict.json").read_text(encoding="utf-8"))
    listed.pop("logit_scale", None)  # which no vector depends on
    shapes = shapes_of(name).values()
    assert {tensor: list(shape) for file in shapes for tensor, shape in file.items()} == listed


def test_every_model_has_the_numbers_that_the_catalog_gives(weights: ModuleType, shapes_of: Shapes) -> None:
    """Names of the catalog, and the numbers of its rows: those of the models' cards, with every adapter counted."""
    for name, model in weights.MODELS.items():
        shapes = [shape for file in shapes_of(name).values() for shape in file.values()]
        numbers = sum(torch.Size(shape).numel() for shape in shapes) + model.unread
        assert numbers == find(name).parameters, name


def test_it_writes_what_it_was_asked_to(
    weights: ModuleType, published_files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, model = weights.shrunk(published_files), weights.MODELS["jina-embeddings-v4"]
    by_file = weights.shapes_of(model, files)
    shapes = {name: list(shape) for tensors in by_file.values() for name, shape in tensors.items()}
    monkeypatch.setattr(weights, "SHARD_BYTES", 60_000)
    monkeypatch.setattr(weights, "PIECE", 1000)
    weights.write_checkpoint(tmp_path, model, files)

    index = json.loads((tmp_path / "model.safetensors.index.json").read_text(encoding="utf-8"))
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) > 1
    assert shards == sorted(path.name for path in tmp_path.glob("*.safetensors"))
    found: dict[str, torch.Tensor] = {}
    for file in [*shards, "adapters/adapter_model.safetensors"]:
        with safe_open(tmp_path / file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - a safetensors file is no mapping
                assert index["weight_map"].get(name, "adapters/adapter_model.safetensors") == file
                found[name] = tensors.get_tensor(name)
    assert {name: list(tensor.shape) for name, tensor in found.items()} == shapes
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}
    norms = [tensor for name, tensor in found.items() if re.search(r"norm\d?\.weight|ln_q", name)]
    assert norms and all((tensor == 1).all() for tensor in norms)
    embedding = found["model.embed_tokens.weight"].float()
    assert embedding.std().item() == pytest.approx(weights.STD, rel=0.05)  # 10,240 draws: four sigma are 3 %
    assert len(torch.unique(embedding)) > 500  # pieces do not repeat


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_command_measures_a_folder(
    weights: ModuleType, published_files: dict[str, Any], dtype: str, tmp_path: Path
) -> None:
    weights.write_checkpoint(tmp_path, weights.MODELS["jina-embeddings-v4"], weights.shrunk(published_files))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), "--measure", str(tmp_path), "--dtype", dtype],
        capture_output=True,
        text=True,
        timeout=PROGRAM_HANG,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.partition("```json")[2].partition("```")[0])
    assert result["weights_bytes"] == sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert [row["length"] for row in result["texts"]] == [16, 128, 512]
    assert all(row["tokens_per_second"] > 0 for row in result["texts"])
    # 1240 x 1754 pixels come down to 23 x 32 visual tokens; the template has 29 more where a token is a byte
    assert result["pages"]["tokens"] == 23 * 32 + 29
    assert result["before_loading_resident_bytes"] < result["loading_peak_resident_bytes"]
    assert 0 < result["peak_anonymous_bytes"] < result["peak_resident_bytes"]
    assert result["machine"]["dtype"] == dtype
    assert "| pages of 765 tokens |" in done.stdout


def test_jina_clip_v2(weights: ModuleType, tmp_path: Path) -> None:
    """The layout of its one file in F16, with small towers."""
    model = weights.MODELS["jina-clip-v2"]
    published = copy.deepcopy(tiny_clip.CLIP)
    files = {
        "config.json": published,
        "preprocessor_config.json": {**model.files()["preprocessor_config.json"], "size": 76},
    }
    weights.write_checkpoint(tmp_path, model, files)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as tensors:
        found = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 - as above
    wanted = {name: list(shape) for rule in tiny_clip.rules_of(published) for name, shape in rule.published.items()}
    assert {name: list(tensor.shape) for name, tensor in found.items()} == wanted
    assert {tensor.dtype for tensor in found.values()} == {torch.float16}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), "--measure", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=PROGRAM_HANG,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.partition("```json")[2].partition("```")[0])
    assert result["pages"]["tokens"] == 26 and all(row["tokens_per_second"] > 0 for row in result["texts"])


def test_it_refuses_a_folder_with_something_else_in_it(
    full_size: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_size, "write_checkpoint", None)  # not 7.9 GB, should the refusal ever go missing
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(SystemExit, match="neither empty nor a complete checkpoint"):
        full_size.main(["--folder", str(tmp_path)])
    assert (tmp_path / "thesis.txt").exists()
