"""The benchmark's writer and its figures, on a model small enough for every run of the tests."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tests.support import tiny_clip
from tests.support.root import ROOT
from tests.support.waiting import HANG

from polylens.models.jina_v4.config import JinaV4Config, parse_config
from polylens.models.jina_v4.model import JinaV4
from polylens.models.jina_v4.state_dict import adapter_names, base_names
from polylens.models.qwen_vl.state_dict import published_shape

SCRIPT = ROOT / "benchmarks" / "full_size.py"
DATA = SCRIPT.parent / "data"
Shapes = dict[str, list[int]]


@pytest.fixture(scope="module")
def full_size() -> ModuleType:
    spec = importlib.util.spec_from_file_location("full_size", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def published_files() -> dict[str, Any]:
    return json.loads((DATA / "jina_embeddings_v4_files.json").read_text(encoding="utf-8"))


def shapes_of(files: dict[str, Any]) -> Shapes:
    """Published name and shape of every tensor that our model of this configuration has."""
    config = parse_config(files["config.json"], files["adapters/adapter_config.json"])
    with torch.device("meta"):
        ours = {name: tuple(parameter.shape) for name, parameter in JinaV4(config).named_parameters()}
    names = base_names(config) | adapter_names(config)
    return {theirs: list(published_shape(config.vision, name, ours[name])) for theirs, name in names.items()}


def shrunk(files: dict[str, Any]) -> dict[str, Any]:
    """The same layout with a few thousand numbers."""
    config = files["config.json"]
    config |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    config |= {
        "intermediate_size": 48,
        "vocab_size": 320,
        "multi_vector_projector_dim": 16,
        "matryoshka_dims": [16, 32],
    }
    config |= {"vision_start_token_id": 309, "vision_end_token_id": 310, "image_token_id": 312}
    config["rope_scaling"]["mrope_section"] = [2, 3, 3]
    config["vision_config"] |= {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48}
    config["vision_config"] |= {"out_hidden_size": 32, "fullatt_block_indexes": [1]}
    files["adapters/adapter_config.json"] |= {"r": 2, "lora_alpha": 2}
    return files


def test_the_listed_shapes_are_those_of_the_published_model(published_files: dict[str, Any]) -> None:
    listed = json.loads((DATA / "jina_embeddings_v4_state_dict.json").read_text(encoding="utf-8"))
    assert listed == shapes_of(published_files)
    config: JinaV4Config = parse_config(published_files["config.json"], published_files["adapters/adapter_config.json"])
    assert config.max_length == 32_768
    # the number that the model's card and mteb give: every task's adapter counted
    assert sum(torch.Size(shape).numel() for shape in listed.values()) == 3_934_695_552


def test_it_writes_what_it_was_asked_to(
    full_size: ModuleType, published_files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = shrunk(published_files)
    shapes = shapes_of(files)
    monkeypatch.setattr(full_size, "SHARD_BYTES", 60_000)
    monkeypatch.setattr(full_size, "PIECE", 1000)
    full_size.write_checkpoint(tmp_path, shapes, files)

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
    assert embedding.std().item() == pytest.approx(full_size.STD, rel=0.05)  # 10,240 draws: four sigma are 3 %
    assert len(torch.unique(embedding)) > 500  # pieces do not repeat


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_command_measures_a_folder(
    full_size: ModuleType, published_files: dict[str, Any], dtype: str, tmp_path: Path
) -> None:
    files = shrunk(published_files)
    full_size.write_checkpoint(tmp_path, shapes_of(files), files)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), "--measure", str(tmp_path), "--dtype", dtype],
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.partition("```json")[2].partition("```")[0])
    assert result["weights_bytes"] == sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert [row["length"] for row in result["texts"]] == [16, 128, 512]
    assert all(row["tokens_per_second"] > 0 for row in result["texts"])
    # 1240 x 1754 pixels come down to 23 x 32 visual tokens; the template has 29 more where a token is a byte
    assert result["tokens_per_page"] == 23 * 32 + 29
    assert result["before_loading_resident_bytes"] < result["loading_peak_resident_bytes"]
    assert 0 < result["peak_anonymous_bytes"] < result["peak_resident_bytes"]
    assert result["machine"]["dtype"] == dtype
    assert "| pages of 765 tokens |" in done.stdout


def test_jina_clip_v2(full_size: ModuleType, tmp_path: Path) -> None:
    """The layout of its one file in F16, with small towers."""
    published = copy.deepcopy(tiny_clip.CLIP)
    shapes = {name: list(shape) for rule in tiny_clip.rules_of(published) for name, shape in rule.published.items()}
    shapes["logit_scale"] = []
    images = json.loads((DATA / "jina_clip_v2_files.json").read_text(encoding="utf-8"))["preprocessor_config.json"]
    files = {"config.json": published, "preprocessor_config.json": {**images, "size": 76}}
    full_size.write_clip_checkpoint(tmp_path, shapes, files)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as tensors:
        found = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 - as above
    assert {name: list(tensor.shape) for name, tensor in found.items()} == shapes
    assert {tensor.dtype for tensor in found.values()} == {torch.float16}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), "--measure", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.partition("```json")[2].partition("```")[0])
    assert result["tokens_per_page"] == 26 and all(row["tokens_per_second"] > 0 for row in result["texts"])


def test_it_refuses_a_folder_with_something_else_in_it(
    full_size: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_size, "write_checkpoint", None)  # not 7.9 GB, should the refusal ever go missing
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(SystemExit, match="neither empty nor a complete checkpoint"):
        full_size.main(["--folder", str(tmp_path)])
    assert (tmp_path / "thesis.txt").exists()
