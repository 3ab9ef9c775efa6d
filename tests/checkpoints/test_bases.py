"""The base model of an adapter on this machine: where it is looked for, and what both folders together are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.support import tiny_col

from polylens.checkpoints.fetch import base_folder, is_adapter, resolve
from polylens.checkpoints.loading import read_header
from polylens.errors import CheckpointError, ModelNotFoundError
from polylens.runtime.embedder import load


def base(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def adapter(folder: Path, name: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": name}))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


@pytest.mark.parametrize("place", ["absolute", "seen from the adapter", "beside it", "of a hub name, beside it"])
def test_a_base_on_this_machine_is_found(place: str, tmp_path: Path) -> None:
    wanted = base(tmp_path / "models" / "the-base")
    name = {
        "absolute": str(wanted),
        "seen from the adapter": "../../models/the-base",
        "beside it": "/home/authors/the-base/",
        "of a hub name, beside it": "authors/the-base",
    }[place]
    parent = "models" if place.endswith("beside it") else "adapters"
    folder = adapter(tmp_path / parent / "mine", name)
    assert resolve(folder) == folder
    assert base_folder(folder, local_files_only=True).samefile(wanted)


def test_a_path_may_be_seen_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = base(tmp_path / "the-base")
    folder = adapter(tmp_path / "adapters" / "mine", "./the-base")
    monkeypatch.chdir(tmp_path)
    assert base_folder(folder, local_files_only=True).samefile(wanted)


def test_a_hub_name_is_not_shadowed_by_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base(tmp_path / "here" / "authors" / "the-base")
    wanted = base(tmp_path / "adapters" / "the-base")
    folder = adapter(tmp_path / "adapters" / "mine", "authors/the-base")
    monkeypatch.chdir(tmp_path / "here")
    assert base_folder(folder, local_files_only=True).samefile(wanted)


def test_a_missing_base_is_named_with_the_places(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "mine", "/home/authors/the-base")
    with pytest.raises(ModelNotFoundError) as caught:
        resolve(folder)
    assert "'/home/authors/the-base'" in str(caught.value)
    assert repr(str(tmp_path / "the-base")) in str(caught.value)


@pytest.mark.parametrize("name", [None, "", 7])
def test_an_adapter_must_name_its_base(name: object, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="must name its base in base_model_name_or_path"):
        resolve(adapter(tmp_path / "mine", name))


def test_an_adapter_on_an_adapter_is_refused(tmp_path: Path) -> None:
    base(tmp_path / "root")
    other = adapter(tmp_path / "other", "root")
    (other / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is an adapter itself"):
        resolve(adapter(tmp_path / "mine", "other"))


def test_weights_and_an_adapter_in_one_folder_leave_open_which_is_meant(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "mine", "root")
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="nothing says whether the adapter is merged"):
        resolve(folder)


def test_an_adapter_without_weights_is_told_so(tmp_path: Path) -> None:
    base(tmp_path / "root")
    folder = adapter(tmp_path / "mine", "root")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks adapter_model\.safetensors; found there: adapter_config\.json"):
        resolve(folder)


def test_the_fingerprint_is_of_both(tmp_path: Path) -> None:
    model = tiny_col.reference("qwen2_vl")
    tiny_col.write_base(tmp_path / "base", model, "qwen2_vl")
    folder = tiny_col.add_adapter(tmp_path / "adapter", "base", model, "first release")
    assert is_adapter(folder)
    known = {read_header(folder).fingerprint}
    assert load(folder, device="cpu", dtype=torch.float32).model_id.startswith("adapter@")
    for changed in (
        folder / "adapter_model.safetensors",
        folder / "adapter_config.json",
        tmp_path / "base/model.safetensors",
    ):
        data = changed.read_bytes()
        half = len(data) // 2  # numbers of tensors; the names come first
        changed.write_bytes(data[:half] + bytes(len(data) - half) if changed.suffix != ".json" else data + b" ")
        known.add(read_header(folder).fingerprint)
    assert len(known) == 4
    assert read_header(folder).config_file == tmp_path / "base/config.json"
