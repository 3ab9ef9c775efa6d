"""jina-embeddings-v3 in transformers' own form: its adapters as PEFT writes them, against transformers with PEFT."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from tests.support import tiny_clip
from tests.support.xlm_reference import assert_close, pooled
from transformers import JinaEmbeddingsV3Config, JinaEmbeddingsV3Model

import polylens
from polylens.checkpoints.loading import fingerprint, read_header
from polylens.errors import CheckpointError
from polylens.models.jina_clip_v2.config import BACKBONE, parse_config
from polylens.models.jina_clip_v2.native import read_adapters
from polylens.models.xlm_rotary.state_dict import native_adapter_rules, native_rules
from polylens.nn.lora import LoRAConfig
from polylens.runtime.embedder import Embedder

TASKS: list[str] = BACKBONE["lora_adaptations"]
FOLDERS = ["retrieval_query", "retrieval_passage", "separation", "classification", "text_matching"]
TARGETS = ["word_embeddings", "token_type_embeddings", "q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2", "dense"]
"""The nine kinds of layer of the published adapters; `dense` is the pooler's."""

TEXTS = ["", "a", "Leuchtturm am Abend", "灯台 λιμάνι маяк " * 3]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, JinaEmbeddingsV3Model]:
    """A checkpoint whose five adapters PEFT wrote, and transformers' model of its base."""
    folder = tiny_clip.write(tmp_path_factory.mktemp("native"), tiny_clip.NATIVE)
    sizes = {**tiny_clip.BACKBONE, "rope_parameters": tiny_clip.NATIVE["rope_parameters"]}
    model = JinaEmbeddingsV3Model(JinaEmbeddingsV3Config(**sizes, attn_implementation="eager")).eval()
    left = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert left.missing_keys == ["pooler.dense.weight", "pooler.dense.bias"] and not left.unexpected_keys
    torch.manual_seed(3)
    for name in FOLDERS:
        lora = LoraConfig(r=4, lora_alpha=2, target_modules=TARGETS, init_lora_weights=False)
        adapted = copy.deepcopy(model)
        adapted.add_adapter(lora, name)
        adapted.save_pretrained(folder / name)
    return folder, model


@pytest.fixture
def folder(base: tuple[Path, JinaEmbeddingsV3Model], tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(base[0], tmp_path / "native"))


@pytest.fixture(scope="module")
def embedder(base: tuple[Path, JinaEmbeddingsV3Model]) -> Iterator[Embedder]:
    yield polylens.load(base[0], dtype="float32", device="cpu")


@pytest.mark.parametrize(("task", "name"), list(zip(TASKS, FOLDERS, strict=True)))
def test_each_adapter(base: tuple[Path, JinaEmbeddingsV3Model], embedder: Embedder, task: str, name: str) -> None:
    folder, model = base
    reference = copy.deepcopy(model)
    reference.load_adapter(str(folder / name), adapter_name=name)
    reference.set_adapter(name)
    instruction = embedder.processor.instructions.get(task, "")
    expected = pooled(reference.eval(), embedder, [instruction + text for text in TEXTS])
    assert_close(embedder.encode_text(TEXTS, task=task), expected, f"{name} against PEFT")
    without = pooled(model, embedder, [instruction + text for text in TEXTS])
    assert float((expected - without).abs().max()) > 0.05


def test_no_task_is_the_base_model(base: tuple[Path, JinaEmbeddingsV3Model], embedder: Embedder) -> None:
    assert_close(embedder.encode_text(TEXTS), pooled(base[1], embedder, TEXTS), "without an adapter")
    assert embedder.tasks == ("retrieval", "separation", "classification", "text-matching")


def test_a_batch_may_mix_adapters(embedder: Embedder) -> None:
    tasks = [None, "retrieval.query", "text-matching", "retrieval.passage"]
    alone = np.stack([embedder.encode_text(text, task=task) for text, task in zip(TEXTS, tasks, strict=True)])
    assert np.abs(embedder.encode_text(TEXTS, task=tasks) - alone).max() < 2e-6  # float32 sums over other blocks


def test_adapters_come_back_byte_for_byte(base: tuple[Path, JinaEmbeddingsV3Model]) -> None:
    config = parse_config(tiny_clip.NATIVE, read_adapters(base[0])).text
    assert config.lora == LoRAConfig(tasks=tuple(TASKS), rank=4, alpha=2.0)
    stored = load_file(base[0] / "text_matching/adapter_model.safetensors")
    rules = list(native_adapter_rules(config, "text-matching"))
    pooler = {name for name in stored if ".pooler." in name}
    assert len(pooler) == 2 and {name for rule in rules for name in rule.published} == stored.keys() - pooler
    for rule in rules:
        before = [stored[name] for name in rule.published]
        after = rule.unfold(rule.fold(before, torch.float32))
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)), rule.ours


def test_published_sizes() -> None:
    """The base and five adapters of rank 4, without pooler; queries, keys and values have an adapter each."""
    config = parse_config({"model_type": "jina_embeddings_v3"}, LoRAConfig(tasks=tuple(TASKS), rank=4, alpha=1.0)).text

    def count(rules: object) -> int:
        return sum(int(np.prod(shape)) for rule in rules for shape in rule.published.values())  # type: ignore[attr-defined]

    width, layers = 1024, 24
    assert count(native_rules(config)) == 558_314_496
    of_one = count(native_adapter_rules(config, "separation"))
    assert of_one == 2_581_068 + layers * 2 * 4 * width  # official adapters share one A for queries, keys and values
    pooler, its_adapter = width * width + width, 2 * 4 * width
    catalogued = polylens.checkpoints.catalog.find("jinaai/jina-embeddings-v3-hf").parameters
    assert catalogued == 558_314_496 + pooler + 5 * (of_one + its_adapter)


class TestRefusals:
    def change(self, folder: Path, **fields: object) -> None:
        path = folder / "separation/adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    def test_without_a_folder_there_is_no_such_task(self, folder: Path) -> None:
        shutil.rmtree(folder / "separation")
        fewer = polylens.load(folder, dtype="float32", device="cpu")
        with pytest.raises(polylens.errors.InputError, match=r"task must be one of retrieval\.query, .*got separation"):
            fewer.encode_text("sea", task="separation")

    def test_a_folder_without_weights(self, folder: Path) -> None:
        (folder / "separation/adapter_model.safetensors").unlink()
        with pytest.raises(CheckpointError, match=r"separation lacks adapter_model\.safetensors"):
            polylens.load(folder)

    def test_an_adapter_that_lacks_a_layer(self, folder: Path) -> None:
        path = folder / "separation/adapter_model.safetensors"
        tensors = load_file(path)
        del tensors["base_model.model.layers.1.mlp.fc1.lora_A.weight"]
        save_file(tensors, path)
        with pytest.raises(CheckpointError, match=r"1 missing \(base_model.model.layers.1.mlp.fc1.lora_A.weight\)"):
            polylens.load(folder)

    def test_adapters_of_different_rank(self, folder: Path) -> None:
        self.change(folder, r=8)
        with pytest.raises(CheckpointError, match="one rank and one alpha, these differ"):
            polylens.load(folder)

    @pytest.mark.parametrize(
        "field", [{"use_dora": True}, {"use_rslora": True}, {"rank_pattern": {"fc1": 8}}, {"bias": "all"}]
    )
    def test_other_kinds_of_adapter(self, folder: Path, field: dict[str, object]) -> None:
        self.change(folder, **field)
        with pytest.raises(CheckpointError, match=r"separation/adapter_config.json must describe a plain LoRA"):
            polylens.load(folder)

    def test_a_config_without_rank(self, folder: Path) -> None:
        self.change(folder, r=None)
        with pytest.raises(CheckpointError, match="lacks r or lora_alpha as numbers"):
            polylens.load(folder)

    def test_other_adapters_are_another_model(self, folder: Path) -> None:
        header = read_header(folder)
        self.change(folder, lora_alpha=3)
        assert fingerprint(folder, header.family) != header.fingerprint
