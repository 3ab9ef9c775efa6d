"""Checkpoints of jina-reranker-m0: every published tensor once, in both layouts, and the numbers of the real one."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support import tiny_m0
from tests.support.root import ROOT

import polylens
from polylens.checkpoints.catalog import find
from polylens.checkpoints.loading import read_header
from polylens.errors import CheckpointError, InputError
from polylens.models.jina_reranker_m0.config import JinaRerankerM0Config, parse_config, render_config
from polylens.models.jina_reranker_m0.model import JinaRerankerM0
from polylens.models.jina_reranker_m0.state_dict import names
from polylens.models.qwen_vl.config import QWEN2_TOWER
from polylens.models.qwen_vl.state_dict import Places, places_in, published_shape

NEWER = Places("model.language_model.", "model.visual.")
PUBLISHED = json.loads((ROOT / "benchmarks/data/jina_reranker_m0_files.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def published() -> tuple[JinaRerankerM0Config, dict[str, tuple[int, ...]]]:
    """The configuration of the real model, and the shapes of our parameters."""
    config = parse_config(PUBLISHED["config.json"])
    with torch.device("meta"):
        return config, {name: tuple(each.shape) for name, each in JinaRerankerM0(config).named_parameters()}


class TestPublished:
    def test_number_of_parameters(self, published: tuple[JinaRerankerM0Config, dict[str, tuple[int, ...]]]) -> None:
        """field facts, section 4.1: Qwen2-VL-2B without and with its output layer, and the head."""
        config, shapes = published
        head = sum(math.prod(shape) for name, shape in shapes.items() if name.startswith("head."))
        total = sum(math.prod(shape) for shape in shapes.values())
        lm_head = config.trunk.decoder.vocab_size * config.trunk.decoder.width
        assert (head, total - head, lm_head) == (2_362_369, 2_208_985_600, 233_373_696)
        assert total + lm_head == find("jina-reranker-m0").parameters == 2_444_721_665

    def test_names_and_shapes(self, published: tuple[JinaRerankerM0Config, dict[str, tuple[int, ...]]]) -> None:
        config, shapes = published
        table = names(config)
        assert sorted(table.values()) == sorted(shapes)
        found = {theirs: published_shape(config.trunk.vision, ours, shapes[ours]) for theirs, ours in table.items()}
        assert len(found) == 28 * 12 + 2 + 32 * 12 + 7 + 4
        assert found["score.0.weight"] == (1536, 1536) and found["score.2.weight"] == (1, 1536)
        assert found["visual.patch_embed.proj.weight"] == (1280, 3, 2, 14, 14)
        assert found["visual.blocks.31.mlp.fc1.weight"] == (5120, 1280)
        assert found["visual.blocks.31.norm2.bias"] == (1280,)
        assert found["visual.merger.mlp.2.weight"] == (1536, 5120)
        assert found["model.layers.27.self_attn.k_proj.bias"] == (256,)
        assert "model.layers.27.self_attn.o_proj.bias" not in found

    def test_sizes(self, published: tuple[JinaRerankerM0Config, dict[str, tuple[int, ...]]]) -> None:
        trunk = published[0].trunk
        assert (trunk.vision.head_dim, trunk.vision.mlp_width, trunk.decoder.head_dim) == (80, 5120, 128)
        assert trunk.decoder.rope_sections == (16, 24, 24)

    def test_the_row_of_the_catalog(self) -> None:
        entry = find("jinaai/jina-reranker-m0")
        assert (entry.dims, entry.multivector_dim, entry.context) == ((), None, 10_240)
        assert "non-commercial" in entry.licence


class TestConfig:
    def test_what_is_written_reads_back(self) -> None:
        assert parse_config(render_config(tiny_m0.CONFIG)) == tiny_m0.CONFIG

    def test_newer_writers_put_the_text_under_its_own_name(self) -> None:
        written = render_config(tiny_m0.CONFIG)
        kept = {"vision_config", "image_token_id", "vision_start_token_id", "vision_end_token_id"}
        text = {name: value for name, value in written.items() if name not in kept}
        text["rope_parameters"] = {**text.pop("rope_scaling"), "rope_theta": text.pop("rope_theta")}
        newer = {**{name: written[name] for name in kept}, "text_config": text}
        assert parse_config(newer) == tiny_m0.CONFIG

    def test_older_names_of_the_vision_fields(self) -> None:
        written = render_config(tiny_m0.CONFIG)
        for name in ("patch_size", "in_channels"):
            del written["vision_config"][name]
        assert parse_config(written) == tiny_m0.CONFIG

    def test_fields_that_transformers_leaves_out_are_those_of_the_published_tower(self) -> None:
        """What a fine-tuned model's file says of its tower, saved by transformers of 2024 and 2025."""
        config = PUBLISHED["config.json"]
        brief = {"hidden_size": 1536, "in_chans": 3, "model_type": "qwen2_vl", "spatial_patch_size": 14}
        assert parse_config({**config, "vision_config": brief}) == parse_config(config)

    def test_the_defaults_are_transformers(self) -> None:
        from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig

        theirs = Qwen2VLVisionConfig()
        assert {name: getattr(theirs, name) for name in QWEN2_TOWER} == QWEN2_TOWER

    def test_a_tower_of_another_width_than_the_decoder_is_refused(self) -> None:
        with pytest.raises(CheckpointError, match=r"out_hidden_size \(3584\) must equal hidden_size \(1536\)"):
            parse_config({**PUBLISHED["config.json"], "vision_config": {}})

    @pytest.mark.parametrize("field", ["hidden_size", "num_key_value_heads", "rms_norm_eps", "image_token_id"])
    def test_a_missing_field_is_named(self, field: str) -> None:
        written = render_config(tiny_m0.CONFIG)
        del written[field]
        with pytest.raises(CheckpointError, match=f"lacks the field '{field}'"):
            parse_config(written)

    def test_another_activation_is_refused(self) -> None:
        written = render_config(tiny_m0.CONFIG)
        written["vision_config"]["hidden_act"] = "silu"
        with pytest.raises(CheckpointError, match="must be 'quick_gelu', as of every Qwen2-VL, got 'silu'"):
            parse_config(written)


class TestReading:
    def score(self, folder: Path) -> list[float]:
        image = PIL.Image.new("RGB", (84, 56), "red")
        reranker = polylens.load_reranker(folder, device="cpu", dtype="float32")
        return [found.score for found in reranker.rerank("red", ["red", image, "blue"])]

    def test_both_layouts_give_the_same_scores(self, tmp_path: Path) -> None:
        old, new = tiny_m0.write(tmp_path / "old"), tiny_m0.write(tmp_path / "new", places=NEWER)
        found = load_file(new / "model.safetensors")
        assert "model.language_model.norm.weight" in found and "model.visual.merger.ln_q.bias" in found
        assert places_in(found) == NEWER
        assert self.score(old) == self.score(new)

    def test_the_output_layer_may_be_missing(self, tmp_path: Path) -> None:
        """A writer that keeps only what the network holds leaves it out."""
        folder = tiny_m0.write(tmp_path)
        before = self.score(folder)
        tensors = load_file(folder / "model.safetensors")
        del tensors["lm_head.weight"]
        save_file(tensors, folder / "model.safetensors")
        assert self.score(folder) == before

    @pytest.mark.parametrize("name", ["score.2.bias", "visual.blocks.1.norm1.bias", "model.norm.weight"])
    def test_a_missing_tensor_is_named(self, tmp_path: Path, name: str) -> None:
        folder = tiny_m0.write(tmp_path)
        tensors = load_file(folder / "model.safetensors")
        save_file({each: tensor for each, tensor in tensors.items() if each != name}, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=name):
            polylens.load_reranker(folder)

    def test_a_tensor_that_nobody_reads_is_named(self, tmp_path: Path) -> None:
        folder = tiny_m0.write(tmp_path)
        tensors = {**load_file(folder / "model.safetensors"), "score.4.weight": torch.zeros(1)}
        save_file(tensors, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=r"score\.4\.weight"):
            polylens.load_reranker(folder)

    def test_a_network_that_is_there_twice_is_refused(self) -> None:
        twice = ["model.embed_tokens.weight", "model.language_model.embed_tokens.weight"]
        with pytest.raises(
            CheckpointError, match=r"one tensor embed_tokens.weight, got one each in model\., model\.lang"
        ):
            places_in(twice)

    def test_scores_differ_and_are_no_extremes(self, tmp_path: Path) -> None:
        scores = self.score(tiny_m0.write(tmp_path))
        assert len(set(scores)) == 3 and all(0.01 < score < 0.99 for score in scores)

    def test_it_is_a_reranker_and_no_embedder(self, tmp_path: Path) -> None:
        header = read_header(tiny_m0.write(tmp_path))
        assert (header.family.name, header.family.outputs) == ("jina_reranker_m0", {"score"})
        assert (header.dim, header.matryoshka_dims, header.multivector_dim) == (0, (), None)
        assert (header.context, header.modalities) == (10_240, ("text", "image"))
        with pytest.raises(InputError, match="a reranker: it scores pairs of inputs and produces no vectors"):
            polylens.load(tmp_path)

    def test_float16_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="float16"):
            polylens.load_reranker(tiny_m0.write(tmp_path), dtype="float16")

    def test_half_precision_orders_the_same(self, tmp_path: Path) -> None:
        folder = tiny_m0.write(tmp_path, dtype=torch.bfloat16)
        image = PIL.Image.new("RGB", (84, 56), "red")
        exact, half = (polylens.load_reranker(folder, dtype=dtype) for dtype in ("float32", "bfloat16"))
        found = [[each.score for each in model.rerank("red", ["red", image])] for model in (exact, half)]
        assert found[0] == pytest.approx(found[1], abs=0.02)


def test_another_qwen2_vl_is_not_taken_for_it(tmp_path: Path) -> None:
    folder = tiny_m0.write(tmp_path)
    config = {**render_config(tiny_m0.CONFIG), "architectures": ["Qwen2VLForConditionalGeneration"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="has a Qwen2-VL, and nothing says by which prompts it makes vectors"):
        read_header(folder)


def test_the_tower_may_have_another_size(tmp_path: Path) -> None:
    trunk = tiny_m0.CONFIG.trunk
    config = replace(tiny_m0.CONFIG, trunk=replace(trunk, vision=replace(trunk.vision, num_layers=1, mlp_width=128)))
    assert read_header(tiny_m0.write(tmp_path, config)).config == config
