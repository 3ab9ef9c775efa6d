"""An adapter that does not fit is refused, with the name of the tensor or the option: none is left out in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support import tiny_col
from torch import Tensor

from polylens.checkpoints.catalog import CATALOG
from polylens.checkpoints.loading import read_header
from polylens.errors import CheckpointError
from polylens.models.col_qwen.adapter import parse_adapter
from polylens.models.col_qwen.config import ColQwenConfig
from polylens.models.col_qwen.model import ColQwen
from polylens.models.qwen_vl.config import DecoderConfig, Qwen2VisionConfig, Qwen25VisionConfig, TrunkConfig
from polylens.runtime.embedder import load

Tensors = dict[str, Tensor]

LAYER = "base_model.model.model.layers.1.self_attn.q_proj"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base` and `adapter` in it."""
    folder = tmp_path_factory.mktemp("saved")
    model = tiny_col.reference("qwen2_5_vl")
    tiny_col.write_base(folder / "base", model, "qwen2_5_vl")
    tiny_col.add_adapter(folder / "adapter", "base", model, "first release")
    return folder


def variant(saved: Path, folder: Path, change: Callable[[Tensors], None] = lambda _: None, **options: object) -> Path:
    """The adapter in a folder of its own, beside the base, with other tensors or other options."""
    folder.mkdir(exist_ok=True)
    for file in (saved / "adapter").iterdir():
        if file.suffix == ".json":
            (folder / file.name).write_text(file.read_text())
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(saved / "base")
    (folder / "adapter_config.json").write_text(json.dumps({**config, **options}))
    tensors = load_file(saved / "adapter/adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load(folder, device="cpu", dtype=torch.float32)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def rename(tensors: Tensors, old: str, new: str) -> None:
    tensors[new] = tensors.pop(old)


def test_the_untouched_adapter_loads(saved: Path, tmp_path: Path) -> None:
    load(variant(saved, tmp_path), device="cpu", dtype=torch.float32)


def test_a_missing_half_is_named(saved: Path, tmp_path: Path) -> None:
    name = f"{LAYER}.lora_B.weight"
    refused(variant(saved, tmp_path, lambda tensors: tensors.pop(name)), f"1 missing ({name})", "0 left over")


def test_a_missing_layer_is_named(saved: Path, tmp_path: Path) -> None:
    def drop(tensors: Tensors) -> None:
        for half in "AB":
            del tensors[f"{LAYER}.lora_{half}.weight"]

    refused(variant(saved, tmp_path, drop), f"2 missing ({LAYER}.lora_A.weight")


def test_a_tensor_of_no_layer_is_named(saved: Path, tmp_path: Path) -> None:
    name = LAYER.replace("layers.1", "layers.7") + ".lora_A.weight"
    refused(
        variant(saved, tmp_path, lambda tensors: tensors.update({name: torch.zeros(4, 48)})), f"1 left over ({name})"
    )


def test_a_misnamed_tensor_is_named_twice(saved: Path, tmp_path: Path) -> None:
    old, new = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_C.weight"
    refused(
        variant(saved, tmp_path, lambda tensors: rename(tensors, old, new)), f"1 missing ({old}), 1 left over ({new})"
    )


def test_an_adapter_whose_names_no_class_has_is_refused(saved: Path, tmp_path: Path) -> None:
    """What a loader that only warns leaves out: every tensor of the adapter, without an error."""

    def other(tensors: Tensors) -> None:
        for name in list(tensors):
            rename(tensors, name, name.replace("base_model.model.", "base_model.model.trunk."))

    count = len(load_file(saved / "adapter/adapter_model.safetensors"))
    refused(
        variant(saved, tmp_path, other),
        "0.self_attn.q_proj.lora_A.weight",
        f"{count} left over",
        "base_model.model.trunk.",
    )


def test_an_adapter_on_no_layer_is_refused(saved: Path, tmp_path: Path) -> None:
    refused(variant(saved, tmp_path, target_modules=["c_attn"]), "fits no layer, got ('c_attn',)")


def test_another_rank_is_refused(saved: Path, tmp_path: Path) -> None:
    refused(variant(saved, tmp_path, r=8), "lora_A.weight has shape [4, ", "asks for [8, ")


def test_a_base_of_another_size_is_refused(saved: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for file in (saved / "base").iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))
    folder = variant(saved, tmp_path / "adapter", base_model_name_or_path=str(base))
    refused(folder, "has shape [80, 48]", "asks for [96, 48]")


def test_without_a_projector_there_is_no_such_model(saved: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for file in (saved / "base").glob("*.json"):
        (base / file.name).write_bytes(file.read_bytes())
    tensors = load_file(saved / "base/model.safetensors")
    save_file(
        {name: each for name, each in tensors.items() if "proj_" not in name and "text_proj" not in name},
        base / "model.safetensors",
    )
    folder = variant(saved, tmp_path / "adapter", base_model_name_or_path=str(base))
    refused(folder, "lacks the projector", "custom_text_proj.weight")


@pytest.mark.parametrize(
    "options",
    [
        {"use_dora": True},
        {"rank_pattern": {"q_proj": 8}},
        {"alpha_pattern": {"q_proj": 8}},
        {"layers_to_transform": [0]},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"init_lora_weights": "pissa"},
        {"peft_type": "IA3"},
        {"target_modules": "(unclosed"},
        {"target_modules": {"q_proj": 1}},
        {"r": 0},
        {"lora_alpha": "high"},
    ],
    ids=str,
)
def test_options_that_are_not_computed_are_refused_by_name(options: dict[str, object]) -> None:
    plain = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj"],
        "init_lora_weights": "gaussian",
    }
    assert parse_adapter(plain).scaling == 2
    [option] = options
    with pytest.raises(CheckpointError, match=option):
        parse_adapter({**plain, **options})


def test_an_adapter_for_dense_vectors_is_not_taken_for_one_of_these(saved: Path, tmp_path: Path) -> None:
    trained_on = {"base_model_class": "BiQwen2_5", "parent_library": "colpali_engine"}
    refused(variant(saved, tmp_path, auto_mapping=trained_on), "'BiQwen2_5'", "'qwen2_5_vl'")


def test_a_base_model_by_itself_is_refused_with_the_way_out(saved: Path, tmp_path: Path) -> None:
    for file in (saved / "base").glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    plain = {**config, "architectures": ["Qwen2_5_VLForConditionalGeneration"]}
    (tmp_path / "config.json").write_text(json.dumps(plain))
    with pytest.raises(CheckpointError, match="a base model gives no vectors by itself: load the folder"):
        read_header(tmp_path)


SIZES = {
    "2B": (1536, 28, 12, 2, 8960, 151_936),
    "3B": (2048, 36, 16, 2, 11_008, 151_936),
    "7B": (3584, 28, 28, 4, 18_944, 152_064),
}


@pytest.mark.parametrize("size", SIZES)
def test_the_catalog_counts_the_loaded_model_to_the_unit(size: str) -> None:
    width, layers, heads, kv_heads, mlp_width, vocab = SIZES[size]
    sizes = {
        "num_heads": 16,
        "output_width": width,
        "patch_size": 14,
        "num_frames": 2,
        "merge_size": 2,
        "num_layers": 32,
    }
    windows = {"window_size": 112, "full_attention_layers": (7, 15, 23, 31)}
    vision = (
        Qwen2VisionConfig(width=1280, mlp_width=5120, **sizes)
        if size == "2B"
        else Qwen25VisionConfig(width=1280, mlp_width=3420, **sizes, **windows)
    )
    decoder = DecoderConfig(
        width=width, num_layers=layers, num_heads=heads, num_kv_heads=kv_heads, mlp_width=mlp_width, vocab_size=vocab,
        norm_eps=1e-6, theta=1e6, rope_sections=(16, 24, 24),
    )  # fmt: skip
    trunk = TrunkConfig(
        vision=vision,
        decoder=decoder,
        max_length=32_768,
        image_token_id=1,
        vision_start_token_id=2,
        vision_end_token_id=3,
    )
    with torch.device("meta"):
        model = ColQwen(ColQwenConfig(trunk=trunk, multivector_dim=128, adapter=None))
    count = sum(parameter.numel() for parameter in model.parameters())
    marks = {"2B": ("colqwen2-",), "3B": ("colqwen2.5-", "3b", "3B"), "7B": ("7b", "7B")}[size]
    rows = [entry for entry in CATALOG if entry.dims == (128,) and any(mark in entry.name for mark in marks)]
    assert len(rows) >= 2 and {entry.parameters for entry in rows} == {count}
