"""The official layout: read as it lies, refused by name where it does not fit, written back byte for byte."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support import tiny
from tests.support.root import ROOT
from torch import Tensor

from polylens.checkpoints import export
from polylens.checkpoints.export import save_checkpoint
from polylens.checkpoints.loading import load_model, read_header
from polylens.errors import CheckpointError
from polylens.models.jina_v4.config import JinaV4Config, parse_config, render_adapter_config, render_config
from polylens.models.jina_v4.model import JinaV4
from polylens.models.jina_v4.state_dict import adapter_names, base_names
from polylens.models.qwen_vl.state_dict import published_shape
from polylens.runtime.embedder import Embedder

PUBLISHED_SHAPES = ROOT / "benchmarks/data/jina_embeddings_v4_state_dict.json"

BASE, ADAPTER, INDEX = "model.safetensors", "adapters/adapter_model.safetensors", "model.safetensors.index.json"


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Embedder:
    header = read_header(folder)
    return Embedder(header, load_model(header, device=torch.device("cpu"), dtype=dtype), "tiny")


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def shard(folder: Path, count: int) -> None:
    """Deals the tensors of a single file out to shards, as the published checkpoint has them."""
    tensors = load_file(folder / BASE)
    files = [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    weight_map = {name: files[i * count // len(tensors)] for i, name in enumerate(tensors)}
    for file in files:
        save_file({name: tensors[name].clone() for name, place in weight_map.items() if place == file}, folder / file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / BASE).unlink()


def same_bytes(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        tensor.dtype == right[name].dtype
        and tensor.shape == right[name].shape
        and torch.equal(tensor.contiguous().view(torch.uint8), right[name].contiguous().view(torch.uint8))
        for name, tensor in left.items()
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("written"))


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(written, tmp_path / "model"))


@pytest.fixture(scope="module")
def published_config() -> JinaV4Config:
    """jina_embeddings_v4 facts, sections 1.4 to 1.6, as the published files say them."""
    config = {
        "hidden_size": 2048,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "intermediate_size": 11008,
        "vocab_size": 151936,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "max_position_embeddings": 128_000,
        "tie_word_embeddings": True,
        "image_token_id": 151655,
        "vision_start_token_id": 151652,
        "vision_end_token_id": 151653,
        "vision_config": {
            "depth": 32,
            "hidden_size": 1280,
            "num_heads": 16,
            "intermediate_size": 3420,
            "out_hidden_size": 2048,
            "spatial_patch_size": 14,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
            "in_chans": 3,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
            "tokens_per_second": 2,
        },
    }
    return parse_config(config, {"r": 32, "lora_alpha": 32, "use_rslora": False})


@pytest.fixture(scope="module")
def shapes(published_config: JinaV4Config) -> dict[str, tuple[int, ...]]:
    """Ours, under our names."""
    with torch.device("meta"):
        return {name: tuple(parameter.shape) for name, parameter in JinaV4(published_config).named_parameters()}


class TestPublishedSizes:
    """Against the names and shapes of the published checkpoint."""

    def test_every_name_and_shape(self, published_config: JinaV4Config, shapes: dict[str, tuple[int, ...]]) -> None:
        published = {name: tuple(shape) for name, shape in json.loads(PUBLISHED_SHAPES.read_text()).items()}
        base, adapters = base_names(published_config), adapter_names(published_config)
        assert (len(base), len(adapters)) == (826, 1518)
        mine = {
            name: published_shape(published_config.vision, ours, shapes[ours])
            for name, ours in {**base, **adapters}.items()
        }
        assert mine == published

    def test_one_rule_a_tensor_and_no_tensor_without_one(
        self, published_config: JinaV4Config, shapes: dict[str, tuple[int, ...]]
    ) -> None:
        ours = [*base_names(published_config).values(), *adapter_names(published_config).values()]
        assert len(ours) == len(set(ours))
        assert set(ours) == shapes.keys()

    def test_number_of_parameters(self, shapes: dict[str, tuple[int, ...]]) -> None:
        assert sum(math.prod(shape) for shape in shapes.values()) == 3_934_695_552

    def test_defaults_of_the_family(self, published_config: JinaV4Config) -> None:
        assert published_config.lora.tasks == ("retrieval", "text-matching", "code")
        assert published_config.lora.scaling == 1.0
        assert published_config.matryoshka_dims == (128, 256, 512, 1024, 2048)
        assert published_config.multivector_dim == 128
        assert published_config.max_length == 32_768
        assert (
            published_config.decoder.head_dim,
            published_config.vision.head_dim,
            published_config.vision.window_tokens,
        ) == (128, 80, 4)


class TestReading:
    def test_tensors_arrive_unchanged(self, written: Path) -> None:
        base, adapters = tiny.random_tensors()
        parameters = dict(load(written).model.named_parameters())
        rules = {**base_names(tiny.CONFIG), **adapter_names(tiny.CONFIG)}
        assert {rules[name] for name in {**base, **adapters}} == parameters.keys()
        for name, tensor in {**base, **adapters}.items():
            assert torch.equal(parameters[rules[name]].flatten(), tensor.flatten()), name

    @pytest.mark.parametrize("count", [2, 5])
    def test_shards_equal_a_single_file(self, written: Path, folder: Path, count: int) -> None:
        shard(folder, count)
        assert len(list(folder.glob("model-*.safetensors"))) == count
        assert same_bytes(load(folder).model.state_dict(), load(written).model.state_dict())

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_the_type_that_was_asked_for(self, written: Path, dtype: torch.dtype) -> None:
        model = load(written, dtype).model
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())

    def test_the_configuration_that_was_written(self, written: Path) -> None:
        assert read_header(written).config == tiny.CONFIG

    def test_rank_and_alpha_come_from_the_adapters_configuration(self, written: Path, folder: Path) -> None:
        edit(folder / "adapters/adapter_config.json", lambda value: value.update(lora_alpha=2.0))
        assert read_header(folder).config.lora.scaling == 2.0 / tiny.CONFIG.lora.rank
        weaker, stronger = load(folder), load(written)
        item = weaker.processor.text("abc", task="code", prompt_name="query", max_length=None)
        difference = weaker.model.embed([item]).dense - stronger.model.embed([item]).dense
        assert difference.abs().max() > 0.01
        edit(folder / "adapters/adapter_config.json", lambda value: value.update(r=3))
        with pytest.raises(CheckpointError, match=r"lora_A.* has shape \[4, (\d+)\], .* asks for \[3, \1\]"):
            load(folder)

    def test_text_fields_under_text_config_equal_flat_ones(self, folder: Path) -> None:
        kept = {
            "model_type",
            "architectures",
            "image_token_id",
            "vision_start_token_id",
            "vision_end_token_id",
            "vision_config",
            "task_names",
        }
        kept |= {"matryoshka_dims", "multi_vector_projector_dim"}

        def nest(value: dict[str, Any]) -> None:
            value["text_config"] = {name: value.pop(name) for name in list(value) if name not in kept}

        edit(folder / "config.json", nest)
        assert read_header(folder).config == tiny.CONFIG

    def test_what_transformers_writes_today(self, folder: Path) -> None:
        from transformers import Qwen2_5_VLConfig

        published_only = json.loads((folder / "config.json").read_text())
        Qwen2_5_VLConfig.from_pretrained(folder).save_pretrained(folder)
        edit(folder / "config.json", lambda value: value.update({"matryoshka_dims": [8, 16, 48]}))
        edit(folder / "config.json", lambda value: value.update({"multi_vector_projector_dim": 16}))
        written = json.loads((folder / "config.json").read_text())
        assert "hidden_size" not in written and "hidden_size" in published_only
        assert read_header(folder).config == tiny.CONFIG

    def test_the_fingerprint_changes_with_the_weights_alone(self, written: Path, folder: Path) -> None:
        before = read_header(written).fingerprint
        assert re.fullmatch("[0-9a-f]{12}", before)
        assert read_header(folder).fingerprint == before
        tiny.write(folder, seed=1)
        assert read_header(folder).fingerprint != before


def drop(name: str) -> Callable[[dict[str, Tensor]], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        del tensors[name]

    return change


def put(name: str, tensor: Tensor) -> Callable[[dict[str, Tensor]], None]:
    return lambda tensors: tensors.update({name: tensor})


LORA = "base_model.model.multi_vector_projector.lora_A.code.weight"


class TestRefusing:
    @pytest.mark.parametrize(
        ("file", "change", "message"),
        [
            (BASE, drop("model.norm.weight"), r"1 missing \(model\.norm\.weight\), 0 left over \(none\)"),
            (BASE, drop("visual.merger.mlp.2.bias"), r"1 missing \(visual\.merger\.mlp\.2\.bias\)"),
            (ADAPTER, drop(LORA), r"adapters do not fit: 1 missing \(base_model\..*lora_A\.code\.weight\)"),
            (BASE, put("lm_head.weight", torch.zeros(2, 2)), r"0 missing \(none\), 1 left over \(lm_head\.weight\)"),
            (ADAPTER, put("extra", torch.zeros(1)), r"1 left over \(extra\)"),
            (
                BASE,
                put("model.norm.weight", torch.zeros(49)),
                r"model\.norm\.weight has shape \[49\], the model's configuration asks for \[48\]",
            ),
            (
                BASE,
                put("visual.patch_embed.proj.weight", torch.zeros(64, 1176)),
                r"visual\.patch_embed\.proj\.weight has shape \[64, 1176\], .* asks for \[64, 3, 2, 14, 14\]",
            ),
            (ADAPTER, put(LORA, torch.zeros(48, 4)), r"lora_A\.code\.weight has shape \[48, 4\], .* \[4, 48\]"),
        ],
        ids=["missing", "missing bias", "missing adapter", "left over", "left over adapter", "shape", "flat", "turned"],
    )
    def test_tensors_that_do_not_fit_are_named(
        self, folder: Path, file: str, change: Callable[[dict[str, Tensor]], None], message: str
    ) -> None:
        tensors = load_file(folder / file)
        change(tensors)
        save_file(tensors, folder / file)
        with pytest.raises(CheckpointError, match=message):
            load(folder)

    def test_many_missing_tensors_are_counted_and_five_named(self, folder: Path) -> None:
        save_file({"model.norm.weight": torch.zeros(48)}, folder / BASE)
        with pytest.raises(CheckpointError, match=r"\d+ missing \((\S+, ){5}\.\.\.\), 0 left over"):
            load(folder)

    def test_a_tensor_in_two_shards(self, folder: Path) -> None:
        shard(folder, 2)
        first, second = sorted(folder.glob("model-*.safetensors"))
        name, tensor = next(iter(load_file(first).items()))
        save_file({**load_file(second), name: tensor}, second)
        with pytest.raises(CheckpointError, match=f"{re.escape(name)} is there twice, the second time in model-00002"):
            load(folder)

    @pytest.mark.parametrize("file", [BASE, ADAPTER])
    @pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.9999])
    def test_a_truncated_file_is_named(self, folder: Path, file: str, part: float) -> None:
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(CheckpointError, match=f"{Path(file).name} is not a whole safetensors file"):
            load(folder)

    @pytest.mark.parametrize(
        "file",
        [
            "config.json",
            "preprocessor_config.json",
            "tokenizer.json",
            BASE,
            "adapters/adapter_config.json",
            ADAPTER,
        ],
    )
    def test_a_missing_file_is_named(self, folder: Path, file: str) -> None:
        (folder / file).unlink()
        with pytest.raises(CheckpointError, match=f"lacks {re.escape(Path(file).name)}"):
            load(folder)

    def test_a_missing_shard_is_named(self, folder: Path) -> None:
        shard(folder, 3)
        (folder / "model-00002-of-00003.safetensors").unlink()
        with pytest.raises(CheckpointError, match=r"lacks model-00002-of-00003\.safetensors"):
            load(folder)

    @pytest.mark.parametrize("content", [b"", b"not JSON", b"\xff\xfe", b"[1]", b"null", b"{}"])
    @pytest.mark.parametrize(
        "file", ["config.json", "preprocessor_config.json", "tokenizer.json", "adapters/adapter_config.json"]
    )
    def test_garbage_in_a_json_file(self, folder: Path, file: str, content: bytes) -> None:
        (folder / file).write_bytes(content)
        with pytest.raises(CheckpointError):
            load(folder)

    @pytest.mark.parametrize("index", ["{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', '{"weight_map": null}'])
    def test_an_index_without_files(self, folder: Path, index: str) -> None:
        (folder / INDEX).write_text(index)
        with pytest.raises(CheckpointError, match=r"index\.json has no weight_map"):
            load(folder)

    @pytest.mark.parametrize(
        "field",
        ["hidden_size", "num_hidden_layers", "num_key_value_heads", "vocab_size", "rms_norm_eps", "image_token_id"],
    )
    def test_a_missing_field_is_named(self, folder: Path, field: str) -> None:
        edit(folder / "config.json", lambda value: value.pop(field))
        with pytest.raises(CheckpointError, match=f"lacks the field '{field}'"):
            load(folder)

    @pytest.mark.parametrize("field", ["depth", "out_hidden_size", "window_size", "fullatt_block_indexes"])
    def test_a_missing_field_of_the_tower_is_named(self, folder: Path, field: str) -> None:
        edit(folder / "config.json", lambda value: value["vision_config"].pop(field))
        with pytest.raises(CheckpointError, match=f"lacks the field '{field}'"):
            load(folder)

    @pytest.mark.parametrize("field", ["r", "lora_alpha"])
    def test_a_missing_field_of_the_adapters_is_named(self, folder: Path, field: str) -> None:
        edit(folder / "adapters/adapter_config.json", lambda value: value.pop(field))
        with pytest.raises(CheckpointError, match=f"lacks the field '{field}'"):
            load(folder)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"vision_config": None}, "lacks the field"),
            ({"rope_scaling": None}, "lacks the field 'mrope_section'"),
            ({"rope_scaling": {"mrope_section": 5}}, "has the wrong type"),
            ({"vision_config": [1]}, "has the wrong type"),
            ({"num_attention_heads": "4"}, "num_heads"),  # the shape checker of the tests may see it first
            ({"num_attention_heads": 0}, "num_heads of DecoderConfig must be a whole number above 0, .* 0"),
            ({"num_key_value_heads": 3}, r"num_attention_heads \(4\) must be divisible by the 3 heads"),
            ({"num_attention_heads": 5}, r"hidden_size \(48\) must be divisible by the 5 heads"),
            ({"hidden_size": 96}, r"out_hidden_size \(48\) must equal hidden_size \(96\)"),
            ({"rope_scaling": {"mrope_section": [1, 2, 2]}}, "mrope_section must add up to half of the head's 12"),
        ],
    )
    def test_fields_that_contradict_each_other(self, folder: Path, fields: dict[str, Any], message: str) -> None:
        edit(folder / "config.json", lambda value: value.update(fields))
        with pytest.raises(CheckpointError, match=message):
            load(folder)

    def test_rslora(self, folder: Path) -> None:
        """It scales by another rule: loading such a file as if it did not would give other vectors in silence."""
        edit(folder / "adapters/adapter_config.json", lambda value: value.update(use_rslora=True))
        with pytest.raises(CheckpointError, match="use_rslora"):
            load(folder)


class TestWriting:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("shard_bytes", [None, 350_000], ids=["single", "sharded"])
    def test_what_was_read_is_written_byte_for_byte(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, shard_bytes: int | None
    ) -> None:
        if shard_bytes is not None:
            monkeypatch.setattr(export, "SHARD_BYTES", shard_bytes)
        before = tiny.write(tmp_path / "before", dtype=dtype)
        loaded = load(before, dtype)
        after = tmp_path / "after"
        save_checkpoint(after, loaded.family, loaded.model, loaded.processor)

        files = sorted(after.glob("model*.safetensors"))
        base: dict[str, Tensor] = {}
        for file in files:
            assert sum(t.numel() * t.element_size() for t in load_file(file).values()) <= (shard_bytes or 10**9)
            base |= load_file(file)
        assert same_bytes(base, load_file(before / BASE))
        assert same_bytes(load_file(after / ADAPTER), load_file(before / ADAPTER))
        assert (len(files) == 1) == (shard_bytes is None) == (not (after / INDEX).exists())
        if shard_bytes is not None:
            index = json.loads((after / INDEX).read_text())
            assert index["metadata"]["total_size"] == sum(t.numel() * t.element_size() for t in base.values())
            assert index["weight_map"] == {name: file.name for file in files for name in load_file(file)}

        again = load(after, dtype)
        assert same_bytes(again.model.state_dict(), loaded.model.state_dict())
        assert again.model.config == loaded.model.config
        assert again.processor.image_config == loaded.processor.image_config
        assert again.processor.tokenizer.to_str() == loaded.processor.tokenizer.to_str()

    def test_a_model_in_another_type_is_written_in_that_type(self, tmp_path: Path, written: Path) -> None:
        loaded = load(written, torch.bfloat16)
        save_checkpoint(tmp_path, loaded.family, loaded.model, loaded.processor)
        expected = {name: tensor.bfloat16() for name, tensor in load_file(written / BASE).items()}
        assert same_bytes(load_file(tmp_path / BASE), expected)

    def test_onto_itself(self, written: Path, folder: Path) -> None:
        """The tensors are mapped from the very files that are replaced."""
        loaded = load(folder)
        save_checkpoint(folder, loaded.family, loaded.model, loaded.processor)
        assert same_bytes(load(folder).model.state_dict(), load(written).model.state_dict())

    def test_over_the_other_form(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Shards of an older model must not be read in place of the new one, nor the other way round."""
        old, new = (load(tiny.write(tmp_path / f"{seed}", seed=seed)) for seed in (1, 2))
        target = tmp_path / "target"
        with monkeypatch.context() as patch:
            patch.setattr(export, "SHARD_BYTES", 350_000)
            save_checkpoint(target, old.family, old.model, old.processor)
        save_checkpoint(target, new.family, new.model, new.processor)
        assert same_bytes(load(target).model.state_dict(), new.model.state_dict())
        monkeypatch.setattr(export, "SHARD_BYTES", 350_000)
        save_checkpoint(target, old.family, old.model, old.processor)
        assert same_bytes(load(target).model.state_dict(), old.model.state_dict())
        assert not (target / BASE).exists()

    def test_a_folder_that_was_not_finished_has_no_config(
        self, written: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loaded = load(written)

        def fail(*_: object) -> None:
            raise OSError("no space left on device")

        monkeypatch.setattr(export, "_write_tokenizer", fail)
        with pytest.raises(OSError, match="no space"):
            save_checkpoint(folder, loaded.family, loaded.model, loaded.processor)
        assert not (folder / "config.json").exists()
        with pytest.raises(CheckpointError, match=r"lacks config\.json"):
            load(folder)

    def test_nothing_half_written_stays(self, tmp_path: Path, written: Path) -> None:
        loaded = load(written)
        save_checkpoint(tmp_path, loaded.family, loaded.model, loaded.processor)
        names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
        assert names == {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
        assert all(path.stat().st_mode & 0o444 == 0o444 for path in tmp_path.rglob("*") if path.is_file())

    def test_configurations_read_back(self) -> None:
        config = parse_config(render_config(tiny.CONFIG), render_adapter_config(tiny.CONFIG.lora))
        assert config == tiny.CONFIG
