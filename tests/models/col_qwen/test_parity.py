"""Ours against transformers' `ColQwen2ForRetrieval`, on both trunks, with adapters that PEFT made and saved; float32.

The bound is 1e-4 of the signal's standard deviation; measured figures are printed (`pytest -s`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support import tiny_col
from torch import Tensor

from polylens.checkpoints.export import save_checkpoint
from polylens.models.protocol import Item
from polylens.runtime.embedder import Embedder, load

BOUND = 1e-4  # of the signal's standard deviation
TRUNKS = tuple(tiny_col.TRUNKS)
NAMINGS = ("first release", "model class", "whole class", "transformers", "older transformers")


def loaded(folder: Path) -> Embedder:
    return load(folder, device="cpu", dtype=torch.float32)


def inputs(embedder: Embedder) -> list[Item]:
    processor = embedder.processor

    def image(rows: int, columns: int, seed: int) -> Item:
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.randint(0, 256, (3, rows * 14, columns * 14), generator=generator, dtype=torch.uint8)
        return processor.pixels(pixels, task=None)

    texts = [
        processor.text(text, task=None, prompt_name=prompt, max_length=None)
        for text, prompt in (("what is due?", "query"), ("Grüße aus 東京", "passage"), ("a", "query"))
    ]
    return [texts[0], image(10, 14, 1), texts[1], image(2, 2, 2), image(4, 16, 3), texts[2]]


def compare(name: str, mine: Tensor, reference: Tensor) -> None:
    ratio = float((mine - reference).abs().max() / reference.std())
    print(f"\nparity, {name}: largest difference {ratio:.1e} of the signal's standard deviation")
    assert ratio <= BOUND


def compare_to(model: torch.nn.Module, folder: Path, name: str) -> None:
    embedder = loaded(folder)
    items = inputs(embedder)
    outputs = embedder.model.embed(items)
    theirs = tiny_col.vectors(model, items)
    compare(name, outputs.multivector, torch.cat(theirs))
    means = torch.stack([each.mean(dim=0) for each in theirs])
    compare(f"{name}, the mean", outputs.dense, torch.nn.functional.normalize(means, dim=-1))


@pytest.mark.parametrize("trunk_type", TRUNKS)
@pytest.mark.parametrize("naming", tiny_col.BASE_NAMES)
def test_a_merged_model(trunk_type: str, naming: str, tmp_path: Path) -> None:
    model = tiny_col.reference(trunk_type)
    compare_to(model, tiny_col.write_base(tmp_path, model, trunk_type, naming), f"{trunk_type}, {naming}")


@pytest.mark.parametrize("trunk_type", TRUNKS)
@pytest.mark.parametrize("naming", NAMINGS)
def test_an_adapter_in_the_names_of_any_class(trunk_type: str, naming: str, tmp_path: Path) -> None:
    model = tiny_col.reference(trunk_type)
    tiny_col.write_base(tmp_path / "base", model, trunk_type)
    targets = tiny_col.TARGETS.replace("custom_text_proj", "embedding_proj_layer|custom_text_proj")
    folder = tiny_col.add_adapter(tmp_path / "adapter", "base", model, naming, target_modules=targets)
    compare_to(model, folder, f"adapter on {trunk_type}, {naming}")


OPTIONS = {
    "list of names": {"target_modules": ["q_proj", "v_proj", "down_proj", "custom_text_proj"]},
    "every linear layer": {"target_modules": "all-linear"},
    "vision alone": {"target_modules": r".*visual.*(qkv|attn\.proj|mlp\.2)"},
    "rslora": {"use_rslora": True},
    "without the projector": {"target_modules": "(.*(model).*(down_proj|q_proj).*$)"},
    "excluded": {"exclude_modules": r".*layers\.1\..*"},
    "the projector whole": {"target_modules": ["q_proj"], "modules_to_save": ["custom_text_proj"]},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_what_adapter_config_may_ask_for(options: dict[str, object], tmp_path: Path) -> None:
    model = tiny_col.reference("qwen2_5_vl")
    tiny_col.write_base(tmp_path / "base", model, "qwen2_5_vl", "newer")
    folder = tiny_col.add_adapter(tmp_path / "adapter", "base", model, "model class", **options)
    compare_to(model, folder, f"adapter with {options}")


def test_it_packs_what_it_would_do_alone(tmp_path: Path) -> None:
    model = tiny_col.reference("qwen2_vl")
    embedder = loaded(tiny_col.write_base(tmp_path, model, "qwen2_vl"))
    items = inputs(embedder)
    together = embedder.model.embed(items)
    alone = torch.cat([embedder.model.embed([item]).multivector for item in items])
    assert float((together.multivector - alone).abs().max()) <= 1e-5  # unit rows
    assert together.lengths == tuple(item.num_tokens for item in items)


def test_an_export_is_read_by_transformers_and_by_us(tmp_path: Path) -> None:
    from transformers import ColQwen2ForRetrieval

    for trunk_type in TRUNKS:
        model = tiny_col.reference(trunk_type)
        tiny_col.write_base(tmp_path / trunk_type / "base", model, trunk_type)
        folder = tiny_col.add_adapter(tmp_path / trunk_type / "adapter", "base", model, "first release")
        ours = loaded(folder)
        native = tmp_path / trunk_type / "native"
        save_checkpoint(native, ours.family, ours.model, ours.processor)
        items = inputs(ours)
        compare_to(model, native, f"exported, {trunk_type}")
        if trunk_type == "qwen2_vl":  # transformers 5.23 has no class of its own for the other
            stock, info = ColQwen2ForRetrieval.from_pretrained(native, output_loading_info=True, dtype=torch.float32)
            assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
            mine = ours.model.embed(items).multivector
            compare("exported, in transformers", mine, torch.cat(tiny_col.vectors(stock.eval(), items)))


def test_the_public_interface(tmp_path: Path) -> None:
    import PIL.Image

    model = tiny_col.reference("qwen2_5_vl")
    embedder = loaded(tiny_col.write_base(tmp_path, model, "qwen2_5_vl"))
    page = PIL.Image.new("RGB", (70, 90), "white")
    query = embedder.encode_text("due", "retrieval.query", return_multivector=True)
    pages = embedder.encode_image([page], "retrieval.passage", return_multivector=True)
    assert query.shape == (len("Query: due") + 10, 128)
    assert pages[0].shape == (embedder.processor.num_image_tokens(70, 90), 128)
    dense = embedder.encode_text(["due", "paid"])
    assert dense.shape == (2, 128) and np.allclose(np.linalg.norm(dense, axis=1), 1, atol=1e-6)
