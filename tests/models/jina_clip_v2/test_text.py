"""The text tower against transformers' own, with the same random weights; adapters against weights merged by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.support import tiny_clip
from tests.support.xlm_reference import assert_close, from_official, pooled, theirs

import polylens
from polylens.models.jina_clip_v2.model import JinaClip
from polylens.models.xlm_rotary.state_dict import merged
from polylens.nn.lora import LoRAEmbedding, LoRALinear
from polylens.runtime.embedder import Embedder

TEXTS = ["", "a", "Leuchtturm am Abend", "灯台 λιμάνι маяк " * 3, "x" * 120]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made = {
        name: tiny_clip.write(tmp_path_factory.mktemp(name), published)
        for name, published in (("clip", tiny_clip.CLIP), ("v3", tiny_clip.V3), ("native", tiny_clip.NATIVE))
    }
    return lambda name: made[name]


def load(folder: Path) -> Embedder:
    return polylens.load(folder, dtype="float32", device="cpu")


def test_native_checkpoint(folders: Callable[[str], Path]) -> None:
    embedder = load(folders("native"))
    reference = theirs(load_file(folders("native") / "model.safetensors"))
    assert_close(embedder.encode_text(TEXTS), pooled(reference, embedder, TEXTS), "native")
    assert embedder.tasks == ()
    with pytest.raises(polylens.errors.InputError, match="no adapters, so it has no tasks: leave task out"):
        embedder.encode_text("sea", task="retrieval")


def test_what_transformers_saves(folders: Callable[[str], Path], tmp_path: Path) -> None:
    """`save_pretrained` gives most weights other names than the class itself has."""
    reference = theirs(load_file(folders("native") / "model.safetensors"))
    reference.config.matryoshka_dimensions = tiny_clip.NATIVE["matryoshka_dimensions"]
    reference.save_pretrained(tmp_path)
    assert "encoder.layers.0.mixer.Wqkv.weight" in load_file(tmp_path / "model.safetensors")
    (tmp_path / "tokenizer.json").write_bytes((folders("native") / "tokenizer.json").read_bytes())
    embedder = load(tmp_path)
    assert_close(embedder.encode_text(TEXTS), pooled(reference, embedder, TEXTS), "saved by transformers")


def test_clip_always_goes_through_its_adapter(folders: Callable[[str], Path]) -> None:
    embedder = load(folders("clip"))
    tensors = load_file(folders("clip") / "model.safetensors")
    reference = theirs(from_official(tensors, "text_model.transformer.roberta.", 1.0, 0))
    assert_close(embedder.encode_text(TEXTS), pooled(reference, embedder, TEXTS), "jina-clip-v2, text")
    without = theirs(from_official(tensors, "text_model.transformer.roberta.", 1.0, None))
    assert np.abs(embedder.encode_text(TEXTS) - pooled(without, embedder, TEXTS).numpy()).max() > 0.05


@pytest.mark.parametrize("task", [None, *tiny_clip.V3["lora_adaptations"]])
def test_v3_chooses_an_adapter_for_each_text(folders: Callable[[str], Path], task: str | None) -> None:
    embedder = load(folders("v3"))
    tensors = load_file(folders("v3") / "model.safetensors")
    number = None if task is None else tiny_clip.V3["lora_adaptations"].index(task)
    reference = theirs(from_official(tensors, "roberta.", 0.25, number))
    instruction = embedder.processor.instructions.get(task or "", "")
    texts = [text for text in TEXTS if len(text) < 60]  # so that none is cut behind its instruction
    expected = pooled(reference, embedder, [instruction + text for text in texts])
    assert_close(embedder.encode_text(texts, task=task), expected, f"jina-embeddings-v3, {task}")


def test_a_batch_may_mix_adapters(folders: Callable[[str], Path]) -> None:
    embedder = load(folders("v3"))
    tasks = [None, "retrieval.query", "separation", "retrieval.passage", "text-matching"]
    alone = np.stack([embedder.encode_text(text, task=task) for text, task in zip(TEXTS, tasks, strict=True)])
    together = embedder.encode_text(TEXTS, task=tasks)
    permuted = embedder.encode_text(TEXTS[::-1], task=tasks[::-1])[::-1]
    assert np.abs(together - alone).max() < 2e-6  # float32 sums over other blocks
    assert np.abs(permuted - alone).max() < 2e-6


def test_adapters_equal_merged_weights(folders: Callable[[str], Path]) -> None:
    """The same adapter beside the weights and merged into them."""
    embedder = load(folders("v3"))
    model = embedder.model
    assert isinstance(model, JinaClip) and model.text is not None
    beside = embedder.encode_text(TEXTS, task="classification")
    for module in model.text.modules():
        if isinstance(module, (LoRALinear, LoRAEmbedding)):
            a, b = module.lora_a["classification"], module.lora_b["classification"]
            left, right = (a, b) if isinstance(module, LoRAEmbedding) else (b, a)
            with torch.no_grad():
                module.weight.copy_(merged(module.weight, left, right, 0.25, torch.float32))
    assert np.abs(embedder.encode_text(TEXTS) - beside).max() < 2e-6


class TestProcessing:
    @pytest.fixture
    def clip(self, folders: Callable[[str], Path]) -> Embedder:
        return load(folders("clip"))

    def ids(self, embedder: Embedder, text: str, **options: object) -> list[int]:
        options = {"task": None, "prompt_name": "", "max_length": None, **options}
        return embedder.processor.text(text, **options).token_ids.tolist()  # type: ignore[arg-type]

    def test_marks_around_a_text(self, clip: Embedder) -> None:
        assert self.ids(clip, "") == [0, 2]
        ids = self.ids(clip, "ab")
        assert (len(ids), ids[0], ids[-1]) == (4, 0, 2)

    def test_a_long_text_keeps_its_end_mark(self, clip: Embedder) -> None:
        whole = self.ids(clip, "abcdef" * 40)
        assert len(whole) == 128 and whole[-1] == 2  # 130 positions, two of which XLM-RoBERTa never uses
        cut = self.ids(clip, "abcdef", max_length=5)
        assert cut == [*self.ids(clip, "abc")[:4], 2]
        assert self.ids(clip, "abc", max_length=1) == [0]

    def test_a_pad_that_a_text_spells_out_is_no_token(self, clip: Embedder) -> None:
        assert self.ids(clip, "a<pad>b") == self.ids(clip, "ab")

    def test_the_instruction(self, clip: Embedder) -> None:
        plain, query = clip.encode_text("sea"), clip.encode_text("sea", task="retrieval.query")
        assert np.array_equal(query, clip.encode_text(tiny_clip.QUERY + "sea"))
        assert np.array_equal(query, clip.encode_text("sea", task="retrieval", prompt_name="query"))
        assert np.array_equal(plain, clip.encode_text("sea", task="retrieval", prompt_name="passage"))
        assert not np.allclose(plain, query, atol=1e-3)

    @pytest.mark.parametrize("task", ["code", "text-matching", "retrieval.answer", ""])
    def test_other_tasks_are_refused(self, clip: Embedder, task: str) -> None:
        with pytest.raises(
            polylens.errors.InputError, match=r"task must be one of retrieval\.query, retrieval\.passage"
        ):
            clip.encode_text("sea", task=task)

    def test_default_lengths(self) -> None:
        from polylens.models.jina_clip_v2.config import parse_config

        published = {**tiny_clip.CLIP, "text_config": {**tiny_clip.CLIP["text_config"]}}
        published["text_config"]["hf_model_config_kwargs"] = {
            **tiny_clip.CLIP["text_config"]["hf_model_config_kwargs"],
            "max_position_embeddings": 8194,
        }
        text = parse_config(published).text
        assert (text.default_length, text.max_length) == (512, 8192)
        assert parse_config({**tiny_clip.V3, "max_position_embeddings": 8194}).text.default_length == 8192
