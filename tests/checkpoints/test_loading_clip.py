"""jina-clip-v2's and jina-embeddings-v3's layouts: every published name, refusals by name, one tower alone."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support import tiny_clip
from tests.support.root import ROOT
from torch import Tensor

import polylens
from polylens.checkpoints import catalog
from polylens.checkpoints.export import save_checkpoint
from polylens.errors import CheckpointError, InputError
from polylens.models.jina_clip_v2.config import parse_config
from polylens.models.jina_clip_v2.model import JinaClip
from polylens.models.jina_clip_v2.processing import JinaClipProcessor
from polylens.models.jina_clip_v2.state_dict import clip_rules
from polylens.models.xlm_rotary.state_dict import MERGE_ROWS, adapted_rules, merged, native_rules

DATA = ROOT / "benchmarks/data"
SHAPES: dict[str, list[int]] = json.loads((DATA / "jina_clip_v2_state_dict.json").read_text())
FILES = json.loads((DATA / "jina_clip_v2_files.json").read_text())
BOTH = ("text", "image")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.write(tmp_path_factory.mktemp("written"))


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "model"))


def load(folder: Path, **options: Any) -> polylens.Embedder:
    return polylens.load(folder, dtype="float32", device="cpu", **options)


def edit(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


class TestPublishedSizes:
    """jina_clip_v2 facts, sections 1.1 to 1.3."""

    def test_every_published_tensor_has_one_rule(self) -> None:
        rules = clip_rules(parse_config(FILES["config.json"]), BOTH)
        named = [name for rule in rules for name in rule.published]
        assert len(SHAPES) == 999 and len(named) == len(set(named)) == 998
        assert set(SHAPES) - set(named) == {"logit_scale"}
        shapes = {name: list(shape) for rule in rules for name, shape in rule.published.items()}
        assert all(shapes[name] == SHAPES[name] for name in named)

    def test_every_parameter_of_ours_is_filled_once(self) -> None:
        config = parse_config(FILES["config.json"])
        with torch.device("meta"):
            ours = {name for name, _ in JinaClip(config, BOTH).named_parameters()}
        filled = [name for rule in clip_rules(config, BOTH) for name in rule.ours]
        assert len(filled) == len(set(filled)) and set(filled) == ours

    def test_the_number_of_parameters(self) -> None:
        count = {part: sum(math.prod(shape) for name, shape in SHAPES.items() if name.startswith(part))
                 for part in ("text_model", "vision_model", "logit_scale")}  # fmt: skip
        assert count == {"text_model": 560_895_564, "vision_model": 304_382_912, "logit_scale": 1}
        assert sum(count.values()) == catalog.find("jina-clip-v2").parameters == 865_278_477
        adapters = sum(math.prod(shape) for name, shape in SHAPES.items() if ".lora_" in name)
        assert adapters == 2_581_068

    def test_the_networks(self) -> None:
        config = parse_config(FILES["config.json"])
        with torch.device("meta"):
            model = JinaClip(config, BOTH)
        assert model.vision is not None and model.text is not None and config.vision is not None
        norms = {name: module.eps for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)}
        assert sum(eps == 1e-6 for name, eps in norms.items() if name.startswith("vision.")) == 97
        assert sum(eps == 1e-5 for name, eps in norms.items() if name.startswith("text.")) == 49
        assert (config.text.theta, config.vision.theta, config.text.head_dim) == (20_000.0, 10_000.0, 64)
        assert (config.vision.grid, config.vision.num_tokens, config.vision.mlp_width) == (36, 1297, 2730)
        assert not any("key.bias" in name for name, _ in model.named_parameters())
        vision = sum(parameter.numel() for parameter in model.vision.parameters())
        assert vision == 304_382_912

    def test_jina_embeddings_v3(self) -> None:
        """Five adapters where jina-clip-v2 has one; the hub's 572,310,396 count a pooler and its adapters too."""
        shapes = {name: shape for rule in adapted_rules(parse_config({"lora_rank": 4}).text, "roberta.")
                  for name, shape in rule.published.items()}  # fmt: skip
        total = sum(map(math.prod, shapes.values()))
        assert total == 560_895_564 + 4 * 2_581_068
        pooler = 1024 * 1024 + 1024 + 5 * 2 * 4 * 1024
        assert total + pooler == catalog.find("jina-embeddings-v3").parameters == 572_310_396

    def test_angles_of_the_vision_tower(self) -> None:
        """Row then column, positions 0, 16/36, ... 16 x 35/36; the class token is not turned."""
        from polylens.models.eva02.vision import token_angles

        vision = parse_config(FILES["config.json"]).vision
        assert vision is not None
        angles = token_angles(vision)
        assert angles.shape == (1297, 32) and not angles[0].any()
        speeds = 10_000.0 ** (-2 * np.arange(16) / 32)
        for row, column in ((0, 0), (0, 35), (35, 0), (7, 20)):
            wanted = np.concatenate([at / 36 * 16 * speeds for at in (row, column)])
            np.testing.assert_allclose(angles[1 + row * 36 + column].numpy(), wanted, rtol=1e-5, atol=1e-6)


class TestRefusals:
    def test_missing_and_left_over(self, folder: Path) -> None:
        def change(tensors: dict[str, Tensor]) -> None:
            tensors["vision_model.blocks.9.norm1.weight"] = tensors.pop("vision_model.blocks.0.norm1.weight")

        edit(folder, change)
        with pytest.raises(CheckpointError, match=r"1 missing \(vision_model\.blocks\.0\S+\), 1 left over \(vision_mo"):
            load(folder)

    def test_wrong_shape(self, folder: Path) -> None:
        def change(tensors: dict[str, Tensor]) -> None:
            tensors["vision_model.pos_embed"] = torch.zeros(1, 17, 48)

        edit(folder, change)
        with pytest.raises(CheckpointError, match=r"pos_embed has shape \[1, 17, 48\].*\[1, 26, 48\]"):
            load(folder)

    @pytest.mark.parametrize(
        ("part", "field", "value", "message"),
        [
            ("vision_config", "intp_freq", False, "intp_freq of vision_config is False"),
            ("vision_config", "post_norm", True, "post_norm"),
            ("vision_config", "width", 50, "heads cannot share a width"),
            ("vision_config", "layers", 0, "num_layers of VisionConfig must be a whole number above 0"),
            ("text_config", "pooler_type", "cls_pooler", "pooler_type"),
            ("text_config", "default_lora_task", "separation", "should have this one adapter"),
            (
                "text_config",
                "hf_model_name_or_path",
                "jinaai/jina-bert-flash-implementation",
                "default_lora_task of text_c",
            ),
            ("vision_config", None, None, "lacks the field 'vision_config'"),
        ],
    )
    def test_what_the_code_does_not_compute(
        self, folder: Path, part: str, field: str | None, value: object, message: str
    ) -> None:
        config = copy.deepcopy(tiny_clip.CLIP)
        if field is None:
            del config[part]
        else:
            config[part][field] = value
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match=message):
            load(folder)

    @pytest.mark.parametrize("name", ["tokenizer.json", "preprocessor_config.json", "model.safetensors"])
    def test_a_file_is_missing(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        with pytest.raises(CheckpointError, match=f"lacks {name}"):
            load(folder)

    def test_a_tokenizer_without_marks(self, folder: Path) -> None:
        value = json.loads((folder / "tokenizer.json").read_text())
        value["post_processor"] = None
        (folder / "tokenizer.json").write_text(json.dumps(value))
        with pytest.raises(CheckpointError, match="should put <s> before and </s> behind"):
            load(folder)


class TestOneTower:
    def test_text_alone(self, folder: Path) -> None:
        whole, alone = load(folder), load(folder, modalities=("text",))
        assert np.array_equal(alone.encode_text(["sea", "boat"]), whole.encode_text(["sea", "boat"]))
        names = [name for name, _ in alone.model.named_parameters()]
        assert names and all(name.startswith("text.") for name in names)
        with pytest.raises(InputError, match="input 1 is image, this model accepts text only"):
            alone.encode(["sea", PIL.Image.new("RGB", (9, 9))])

    def test_image_alone(self, folder: Path) -> None:
        whole, alone = load(folder), load(folder, modalities=("image",))
        picture = PIL.Image.new("RGB", (90, 80), "green")
        assert np.array_equal(alone.encode_image(picture), whole.encode_image(picture))
        assert all(name.startswith("vision.") for name, _ in alone.model.named_parameters())
        with pytest.raises(InputError, match="input 0 is text, this model accepts image only"):
            alone.encode_text("sea")

    @pytest.mark.parametrize("modalities", [(), "text", ("sound",), ("text", "sound")])
    def test_other_modalities(self, folder: Path, modalities: Any) -> None:
        with pytest.raises(InputError, match="modalities must be one or several of"):
            load(folder, modalities=modalities)

    def test_v3_takes_texts(self, tmp_path: Path) -> None:
        embedder = load(tiny_clip.write(tmp_path / "v3", tiny_clip.V3))
        assert embedder.modalities == ("text",)
        with pytest.raises(InputError, match="this model accepts text only"):
            embedder.encode_image(PIL.Image.new("RGB", (9, 9)))
        with pytest.raises(InputError, match="modalities must be one or several"):
            load(tmp_path / "v3", modalities=("image",))

    def test_v4_has_one_network(self) -> None:
        with pytest.raises(InputError, match="one network"):
            polylens.load("nano", modalities=("text",))


class TestWriting:
    def test_what_is_written_loads_as_the_same_model(self, folder: Path, tmp_path: Path) -> None:
        """The adapter was merged, so it comes back as zeros; all else has the bytes it had."""
        embedder = load(folder)
        assert isinstance(embedder.model, JinaClip) and isinstance(embedder.processor, JinaClipProcessor)
        save_checkpoint(tmp_path / "copy", embedder.family, embedder.model, embedder.processor, {"logit_scale": 2.6592})
        again = load(tmp_path / "copy")
        ours, theirs = dict(embedder.model.named_parameters()), dict(again.model.named_parameters())
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
        before, after = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "copy"))
        assert {name: tensor.shape for name, tensor in before.items()} == {n: t.shape for n, t in after.items()}
        vision = [name for name in before if name.startswith("vision_model.")]
        assert all(torch.equal(before[name], after[name]) for name in vision)
        assert all(not after[name].any() for name in after if ".lora_" in name)
        assert float(after["logit_scale"]) == pytest.approx(2.6592)
        assert again.processor.instructions == {"retrieval.query": tiny_clip.QUERY}

    def test_adapters_beside_the_weights_come_back_byte_for_byte(self) -> None:
        rules = list(adapted_rules(parse_config(tiny_clip.V3).text, "roberta."))
        published = tiny_clip.random_tensors(rules)
        for rule in rules:
            stored = [published[name] for name in rule.published]
            back = rule.unfold(rule.fold(stored, torch.float32))
            assert all(torch.equal(a, b) for a, b in zip(stored, back, strict=True)), rule.ours

    def test_the_native_form_too(self) -> None:
        rules = native_rules(parse_config(tiny_clip.NATIVE).text)
        published = tiny_clip.random_tensors(rules)
        for rule in rules:
            stored = [published[name] for name in rule.published]
            back = rule.unfold(rule.fold(stored, torch.float32))
            assert all(torch.equal(a, b) for a, b in zip(stored, back, strict=True)), rule.ours


class TestOutputs:
    def test_matryoshka(self, folder: Path) -> None:
        embedder = load(folder)
        whole = embedder.encode_text(["sea", "boat"])
        short = embedder.encode_text(["sea", "boat"], truncate_dim=16)
        wanted = whole[:, :16] / np.linalg.norm(whole[:, :16], axis=1, keepdims=True)
        np.testing.assert_allclose(short, wanted, rtol=0, atol=1e-6)
        with pytest.raises(InputError, match="truncate_dim must be one of 8, 16, 48"):
            embedder.encode_text("sea", truncate_dim=12)

    def test_no_late_interaction(self, folder: Path) -> None:
        embedder = load(folder)
        with pytest.raises(InputError, match="does not produce multi-vectors"):
            embedder.encode_text("sea", return_multivector=True)
        [one] = embedder.embed(["sea"])
        assert one.multivector.shape == (1, 48) and np.array_equal(one.multivector[0], one.dense)

    def test_a_library_of_it(self, folder: Path, tmp_path: Path) -> None:
        place = tmp_path / "library"
        place.mkdir()
        (place / "sea.txt").write_text("the sea at night")
        PIL.Image.new("RGB", (80, 60), "blue").save(place / "blue.png")
        library = polylens.Library(place, load(folder))
        library.update()
        hits = library.search("the sea at night", top=2)
        assert hits[0].file == "sea.txt"
        assert all(
            hit.late_score == pytest.approx(hit.dense_score, abs=2e-3) for hit in hits
        )  # stored in half precision

    def test_published_type(self, tmp_path: Path) -> None:
        """The file is F16; merged in float32 and then cast, and held in what was asked for."""
        folder = tiny_clip.write(tmp_path / "half", dtype=torch.float16)
        half = polylens.load(folder, dtype="float16", device="cpu").model
        assert {parameter.dtype for parameter in half.parameters()} == {torch.float16}
        full = load(folder).model
        stored = load_file(folder / "model.safetensors")
        name = "text_model.transformer.roberta.encoder.layers.0.mlp.fc1.parametrizations.weight"
        weight, a, b = (stored[f"{name}.{part}"].float() for part in ("original", "0.lora_A", "0.lora_B"))
        wanted = weight + b[0] @ a[0]
        ours = dict(full.named_parameters())["text.blocks.0.mlp.up.weight"]
        torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-6)
        assert torch.equal(dict(half.named_parameters())["text.blocks.0.mlp.up.weight"], ours.half())

    def test_merging_a_stretch_of_rows_at_a_time(self) -> None:
        weight, left, right = torch.randn(MERGE_ROWS + 5, 3), torch.randn(MERGE_ROWS + 5, 2), torch.randn(2, 3)
        wanted = weight + 0.25 * left @ right
        torch.testing.assert_close(merged(weight, left, right, 0.25, torch.float32), wanted, rtol=0, atol=1e-5)
