"""Checkpoints of jina-embeddings-v2 and jina-clip-v1: which are taken, which are refused, and what is written."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support import tiny_bert, tiny_clip
from torch import Tensor

import polylens
from polylens.checkpoints.catalog import find
from polylens.checkpoints.export import save_checkpoint
from polylens.checkpoints.loading import read_header, read_scalars
from polylens.errors import CheckpointError, InputError
from polylens.models.family import family_of
from polylens.models.jina_bert.config import JinaBertConfig, parse_config, render_config
from polylens.models.jina_bert.model import JinaBert
from polylens.models.jina_bert.state_dict import check_variant, clip_rules, text_rules
from polylens.models.rules import Rule
from polylens.runtime.embedder import Embedder

BASE_EN: dict[str, Any] = {**tiny_bert.BASE, "vocab_size": 30_528, "hidden_size": 768, "num_hidden_layers": 12,
                           "num_attention_heads": 12, "intermediate_size": 3072,
                           "max_position_embeddings": 8192}  # fmt: skip
SMALL_EN = {**BASE_EN, "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 2048}
BASE_CODE = {**BASE_EN, "_name_or_path": tiny_bert.CODE["_name_or_path"], "vocab_size": 61_056}
CLIP_V1: dict[str, Any] = {
    "model_type": "jina_clip",
    "text_config": {"hf_model_name_or_path": "jinaai/jina-bert-flash-implementation", "pooler_type": "mean_pooler"},
    "vision_config": {**tiny_bert.CLIP["vision_config"], "width": 768, "layers": 12, "head_width": 64,
                      "image_size": 224, "pt_hw_seq_len": 14},
}  # fmt: skip


def load(folder: Path, **options: Any) -> Embedder:
    return polylens.load(folder, dtype="float32", device="cpu", **options)


def change(folder: Path, edit: Callable[[dict[str, Tensor]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


class TestFullSize:
    """field_2026_11 facts, sections 4.2 and 4.4: the counts are published, to the unit."""

    @pytest.mark.parametrize(
        ("published", "name", "total"),
        [
            (BASE_EN, "jina-embeddings-v2-base-en", 137_368_320),
            (SMALL_EN, "jina-embeddings-v2-small-en", 32_690_688),
            (BASE_CODE, "jina-embeddings-v2-base-code", 160_869_120),
        ],
    )
    def test_jina_embeddings_v2(self, published: dict[str, Any], name: str, total: int) -> None:
        config = parse_config(published)
        pooler = config.text.width**2 + config.text.width
        assert self.published(list(text_rules(config.text))) + pooler == total
        assert self.ours(config) + pooler == total == find(name).parameters
        assert (config.text.max_length, config.text.default_length) == (8192, 8192)

    def test_jina_clip_v1(self) -> None:
        config = parse_config(CLIP_V1)
        assert config.vision is not None
        assert (config.vision.mlp_width, config.vision.num_tokens, config.vision.num_heads) == (2048, 197, 12)
        assert (config.text.max_length, config.text.default_length) == (8192, 512)
        for is_flash in (True, False):
            texts, images = (
                self.published(clip_rules(config, (which,), is_flash=is_flash)) for which in ("text", "image")
            )
            assert (texts, images) == (136_777_728, 85_869_312)
        assert self.ours(config) + 1 == find("jina-clip-v1").parameters == 222_647_041  # with the logit scale

    def published(self, rules: list[Rule]) -> int:
        names = [name for rule in rules for name in rule.published]
        assert len(names) == len(set(names))
        return sum(math.prod(shape) for rule in rules for shape in rule.published.values())

    def ours(self, config: JinaBertConfig) -> int:
        with torch.device("meta"):
            model = JinaBert(config, ("text", "image"))
        return sum(parameter.numel() for parameter in model.parameters())


class TestClaims:
    @pytest.mark.parametrize(
        ("published", "name"),
        [
            (tiny_bert.BASE, "jina_bert"),
            (tiny_bert.CODE, "jina_bert"),
            (tiny_bert.CLIP, "jina_bert"),
            (CLIP_V1, "jina_bert"),
            ({"model_type": "jina_clip", "text_config": {}}, "jina_bert"),  # the published default
            ({"model_type": "bert", "auto_map": {"AutoModel": "jinaai/jina-bert-implementation--m.M"}}, "jina_bert"),
            (tiny_clip.CLIP, "jina_clip_v2"),
            (tiny_clip.V3, "jina_clip_v2"),
            (tiny_clip.NATIVE, "jina_clip_v2"),
        ],
    )
    def test_each_checkpoint_has_one_family(self, published: dict[str, Any], name: str) -> None:
        assert family_of(published).name == name

    @pytest.mark.parametrize(
        "published", [{}, {"model_type": "bert"}, {"model_type": "bert", "position_embedding_type": "absolute"}]
    )
    def test_an_ordinary_bert_is_none_of_them(self, published: dict[str, Any]) -> None:
        with pytest.raises(CheckpointError, match="no model family here supports"):
            family_of(published)


class TestRefusals:
    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("position_embedding_type", "absolute", "position_embedding_type of config.json is 'absolute'"),
            ("feed_forward_type", "reglu", "feed_forward_type of config.json is 'reglu'"),
            ("feed_forward_type", None, "feed_forward_type of config.json is 'original'"),
            ("hidden_act", "relu", "hidden_act of config.json is 'relu'"),
            ("emb_pooler", None, "emb_pooler of config.json is None; this family is computed with 'mean' only"),
            ("emb_pooler", "cls", "emb_pooler of config.json is 'cls'"),
            ("type_vocab_size", 1, "type_vocab_size of config.json is 1"),
            ("hidden_size", 50, "6 heads cannot share a width of 50"),
            ("num_hidden_layers", 0, "num_layers of TextConfig must be a whole number above 0"),
            ("num_attention_heads", 0, "num_heads of TextConfig must be a whole number above 0"),
            ("layer_norm_eps", "small", "wrong type"),
            ("vocab_size", None, "config.json lacks the field 'vocab_size'"),
        ],
    )
    def test_of_jina_embeddings_v2(self, field: str, value: object, message: str) -> None:
        published = {**tiny_bert.BASE, field: value}
        if value is None:
            del published[field]
        with pytest.raises(CheckpointError, match=message):
            parse_config(published)

    @pytest.mark.parametrize(
        ("part", "field", "value", "message"),
        [
            ("text_config", "pooler_type", "cls_pooler", "pooler_type of text_config is 'cls_pooler'"),
            ("text_config", "proj_type", "linear", "proj_type of text_config is 'linear'"),
            ("text_config", "default_lora_task", "retrieval.query", "default_lora_task of text_config"),
            ("text_config", "hf_model_config_kwargs", {"use_qk_norm": True}, "use_qk_norm of the text tower is True"),
            ("text_config", "hf_model_config_kwargs", {"hidden_size": 96}, "both towers must end in one space"),
            ("vision_config", "rope_embeddings", None, "rope_embeddings of vision_config is False"),
            ("vision_config", "subln", False, "subln of vision_config is False"),
            ("vision_config", "pt_hw_seq_len", 16, "must be the number of patches per side, 4; it is 16"),
            ("vision_config", "pt_hw_seq_len", None, "must be the number of patches per side, 4; it is 16"),
            ("vision_config", "patch_size", 0, "patch_size of VisionConfig must be a whole number above 0"),
            ("vision_config", "head_width", 0, "wrong type"),
        ],
    )
    def test_of_jina_clip_v1(self, part: str, field: str, value: object, message: str) -> None:
        published = copy.deepcopy(tiny_bert.CLIP)
        published[part][field] = value
        if value is None:
            del published[part][field]
        with pytest.raises(CheckpointError, match=message):
            parse_config(published)

    def test_the_configuration_and_the_tensors_mean_different_variants(self, tmp_path: Path) -> None:
        for published, other in ((tiny_bert.BASE, tiny_bert.CODE), (tiny_bert.CODE, tiny_bert.BASE)):
            folder = tiny_bert.write(tmp_path / published["_name_or_path"], published)
            (folder / "config.json").write_text(json.dumps(other))
            meant = f"tensors are those of {published['_name_or_path']}, but config.json means {other['_name_or_path']}"
            with pytest.raises(CheckpointError, match=meant):
                load(folder)

    def test_unknown_variants(self) -> None:
        text = parse_config(tiny_bert.BASE).text
        mixed = [["encoder.layer.0.mlp.gated_layers.weight", "encoder.layer.0.attention.self.layer_norm_q.weight"],
                 ["encoder.layer.0.mlp.up_gated_layer.weight"], ["encoder.layer.0.mlp.fc1.weight"]]  # fmt: skip
        for names in mixed:
            with pytest.raises(CheckpointError, match="JinaBERT of an unknown variant: its tensors are named"):
                check_variant(text, names)

    def test_missing_and_left_over(self, tmp_path: Path) -> None:
        folder = tiny_bert.write(tmp_path)

        def rename(tensors: dict[str, Tensor]) -> None:
            tensors["encoder.layer.9.mlp.wo.bias"] = tensors.pop("encoder.layer.1.mlp.wo.bias")

        change(folder, rename)
        with pytest.raises(CheckpointError, match=r"1 missing \(encoder\.layer\.1\S+\), 1 left over \(encoder"):
            load(folder)

    def test_a_head_for_a_task_is_left_over(self, tmp_path: Path) -> None:
        folder = tiny_bert.write(tmp_path)
        change(folder, lambda tensors: tensors.update({"classifier.weight": torch.zeros(1, 48)}))
        with pytest.raises(CheckpointError, match=r"1 left over \(classifier\.weight\)"):
            load(folder)

    def test_a_tokenizer_without_marks(self, tmp_path: Path) -> None:
        folder = tiny_bert.write(tmp_path)
        value = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").write_text(json.dumps({**value, "post_processor": None}))
        with pytest.raises(CheckpointError, match="should put one token before and one behind"):
            load(folder)


class TestOneTower:
    @pytest.mark.parametrize("is_flash", [True, False])
    def test_each_alone(self, tmp_path: Path, is_flash: bool) -> None:
        folder = tiny_bert.write(tmp_path, tiny_bert.CLIP, is_flash=is_flash)
        whole, picture = load(folder), PIL.Image.new("RGB", (90, 80), "green")
        texts, images = load(folder, modalities=("text",)), load(folder, modalities=("image",))
        assert np.array_equal(texts.encode_text(["sea", "boat"]), whole.encode_text(["sea", "boat"]))
        assert np.array_equal(images.encode_image(picture), whole.encode_image(picture))
        assert all(name.startswith("text.") for name, _ in texts.model.named_parameters())
        assert all(name.startswith("vision.") for name, _ in images.model.named_parameters())

    def test_jina_embeddings_v2_takes_texts(self, tmp_path: Path) -> None:
        embedder = load(tiny_bert.write(tmp_path))
        assert embedder.modalities == ("text",)
        with pytest.raises(InputError, match="this model accepts text only"):
            embedder.encode_image(PIL.Image.new("RGB", (9, 9)))


class TestWriting:
    @pytest.mark.parametrize("published", [tiny_bert.BASE, tiny_bert.CODE], ids=["base", "code"])
    def test_jina_embeddings_v2_comes_back_as_it_was(self, tmp_path: Path, published: dict[str, Any]) -> None:
        folder = tiny_bert.write(tmp_path / "here", published, prefix="bert.")
        embedder = load(folder)
        save_checkpoint(tmp_path / "copy", embedder.family, embedder.model, embedder.processor)
        before, after = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "copy"))
        kept = {name.removeprefix("bert."): tensor for name, tensor in before.items() if "pooler" not in name}
        assert kept.keys() == after.keys() and all(torch.equal(kept[name], after[name]) for name in kept)
        assert np.array_equal(load(tmp_path / "copy").encode_text(["sea"]), embedder.encode_text(["sea"]))

    def test_jina_clip_v1_comes_back_as_it_was(self, tmp_path: Path) -> None:
        folder = tiny_bert.write(tmp_path / "here", tiny_bert.CLIP)
        embedder = load(folder)
        scalars = read_scalars(read_header(folder))
        save_checkpoint(tmp_path / "copy", embedder.family, embedder.model, embedder.processor, scalars)
        before, after = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "copy"))
        assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
        again = load(tmp_path / "copy")
        for inputs in (["sea"], [PIL.Image.new("RGB", (70, 60), "red")]):
            assert np.array_equal(again.encode(inputs), embedder.encode(inputs))

    @pytest.mark.parametrize("published", [BASE_EN, SMALL_EN, BASE_CODE, tiny_bert.CLIP, CLIP_V1])
    def test_the_configuration_too(self, published: dict[str, Any]) -> None:
        config = parse_config(published)
        written = render_config(config)
        assert parse_config(written) == config and family_of(written).name == "jina_bert"


class TestUsage:
    def test_images_of_jina_clip_v1_count_by_tiles_of_224_pixels(self, tmp_path: Path) -> None:
        """jina_http_api facts: 1000 tokens per tile; three images of 367 x 267 pixels are 12,000."""
        usage = read_header(tiny_bert.write(tmp_path, tiny_bert.CLIP)).usage
        assert 3 * usage.image_tokens(367, 267) == 12_000
        assert usage.image_tokens(224, 224) == 1_000
        assert (usage.default_task, usage.ignored_tasks) == (None, ())

    def test_jina_embeddings_v2(self, tmp_path: Path) -> None:
        header = read_header(tiny_bert.write(tmp_path))
        assert (header.dim, header.matryoshka_dims, header.context) == (48, (48,), 300)
        assert header.usage.tile == 0
