"""Ours against transformers and peft, same random weights put through `state_dict.py`, in float32.

The bound is 1e-4 of the signal's standard deviation; measured figures are around 1e-6 and are printed (`pytest -s`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.support import tiny
from tests.support.frames import published_patches, repeat_frames
from torch import Tensor

from polylens.checkpoints.export import export_merged
from polylens.checkpoints.formats import Format
from polylens.models.jina_v4.family import FAMILY
from polylens.models.jina_v4.model import JinaV4
from polylens.models.jina_v4.processing import IMAGE_TEMPLATE, JinaV4Processor
from polylens.models.protocol import Item
from polylens.models.qwen_vl.positions import token_positions
from polylens.runtime.embedder import load

BOUND = 1e-4  # of the signal's standard deviation

GRIDS = {
    "one window exactly": [(8, 8)],
    "one token": [(2, 2)],
    "windows fit": [(16, 24)],
    "windows do not fit": [(10, 14)],
    "wide": [(4, 60)],
    "tall": [(50, 2)],
    "several of different sizes": [(8, 8), (2, 2), (10, 14), (16, 8), (4, 30), (10, 14)],
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> tuple[JinaV4, JinaV4Processor, Path]:
    folder = tiny.write(tmp_path_factory.mktemp("tiny"))
    loaded = load(folder, device="cpu", dtype=torch.float32)
    return loaded.model, loaded.processor, folder


@pytest.fixture(scope="module")
def theirs(ours: tuple[JinaV4, JinaV4Processor, Path], tmp_path_factory: pytest.TempPathFactory):
    """transformers' model with the retrieval adapter merged by hand: W + (alpha / r) B A."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

    base, adapters = tiny.random_tensors()
    scaling = tiny.CONFIG.lora.alpha / tiny.CONFIG.lora.rank
    prefix = "base_model.model.model.language_model."
    renamed = {}
    for name, tensor in base.items():
        if name.startswith("multi_vector_projector"):
            continue
        if name.startswith("model."):
            stem = name.removeprefix("model.").removesuffix(".weight")
            down = adapters.get(f"{prefix}{stem}.lora_A.retrieval.weight")
            if down is not None:
                tensor = tensor + scaling * adapters[f"{prefix}{stem}.lora_B.retrieval.weight"] @ down
            name = "language_model." + name.removeprefix("model.")
        renamed[name] = tensor
    folder = tmp_path_factory.mktemp("config")
    (folder / "config.json").write_text((ours[2] / "config.json").read_text())
    config = Qwen2_5_VLConfig.from_pretrained(folder)
    model = Qwen2_5_VLModel(config).float().eval()
    model.load_state_dict(renamed, strict=True)
    return model


def image_item(processor: JinaV4Processor, grid: tuple[int, int], seed: int, task: str = "retrieval") -> Item:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (3, grid[0] * 14, grid[1] * 14), generator=generator, dtype=torch.uint8)
    return processor.pixels(pixels, task=task)


def reference(model, items: Sequence[Item], position_ids: Tensor | None = None) -> list[Tensor]:
    """transformers, one input at a time, its own positions and its own kernels."""
    outputs = []
    for item in items:
        ids = torch.from_numpy(item.token_ids)[None]
        kwargs = {}
        if item.patches is not None:
            grid = torch.tensor([[1, *item.grids[0]]])
            kwargs = {"pixel_values": published_patches(item), "image_grid_thw": grid}
            kwargs["mm_token_type_ids"] = (ids == tiny.CONFIG.image_token_id).long()
        with torch.no_grad():
            outputs.append(model(input_ids=ids, attention_mask=torch.ones_like(ids), **kwargs).last_hidden_state[0])
    return outputs


def compare(name: str, mine: Tensor, reference: Tensor) -> None:
    ratio = float((mine - reference).abs().max() / reference.std())
    print(f"\nparity, {name}: largest difference {ratio:.1e} of the signal's standard deviation")
    assert ratio <= BOUND


def test_text_only(ours, theirs):
    model, processor, _ = ours
    texts = ["a", "Query me", "Grüße aus 東京, " * 20]
    items = [processor.text(text, task="retrieval", prompt_name="query", max_length=None) for text in texts]
    compare("text", model.hidden_states(items), torch.cat(reference(theirs, items)))


@pytest.mark.parametrize("name", GRIDS)
def test_images(ours, theirs, name):
    model, processor, _ = ours
    items = [image_item(processor, grid, seed) for seed, grid in enumerate(GRIDS[name])]
    compare(f"image, {name}", model.hidden_states(items), torch.cat(reference(theirs, items)))


def test_the_vision_tower_alone(ours, theirs):
    """The decoder could hide a small difference of the tower; here it stands alone, images packed together."""
    model, processor, _ = ours
    grids = GRIDS["several of different sizes"]
    items = [image_item(processor, grid, seed) for seed, grid in enumerate(grids)]
    patches = torch.cat([processor.image_config.pixel_scale.normalise(item.patches) for item in items])
    with torch.no_grad():
        reference_tokens = theirs.visual(repeat_frames(patches), grid_thw=torch.tensor([[1, *grid] for grid in grids]))
    reference_tokens = getattr(reference_tokens, "pooler_output", reference_tokens)
    compare("vision tower", model.vision(patches, grids), reference_tokens)


def test_texts_and_images_in_one_batch(ours, theirs):
    model, processor, _ = ours
    items = [
        processor.text("first", task="retrieval", prompt_name="passage", max_length=None),
        image_item(processor, (10, 6), 1),
        processor.text("a longer text behind an image", task="retrieval", prompt_name="query", max_length=None),
        image_item(processor, (2, 2), 2),
    ]
    compare("mixed batch", model.hidden_states(items), torch.cat(reference(theirs, items)))


@pytest.mark.parametrize("grids", [[], [(4, 6)], [(8, 2), (2, 2), (6, 10)]], ids=["text", "one image", "three images"])
def test_positions_equal_get_rope_index(theirs, grids):
    config = tiny.CONFIG
    ids, starts = [5, 6, 7], []
    for rows, columns in grids:
        starts.append(len(ids) + 1)
        pads = [config.image_token_id] * (rows * columns // 4)
        ids += [config.vision_start_token_id, *pads, config.vision_end_token_id, 8, 9]
    tokens = torch.tensor(ids)
    mine = token_positions(len(ids), starts, grids, merge=2)
    position_ids, _ = theirs.get_rope_index(
        tokens[None],
        mm_token_type_ids=(tokens == config.image_token_id).long()[None],
        image_grid_thw=torch.tensor([[1, *grid] for grid in grids]) if grids else None,
        attention_mask=torch.ones_like(tokens)[None],
    )
    assert torch.equal(mine, position_ids[:, 0].T)


def test_heads_equal_the_formulas_of_the_card(ours, theirs):
    """Pooling, projector and normalisation, written out once more from the facts."""
    model, processor, _ = ours
    base, adapters = tiny.random_tensors()
    items = [
        image_item(processor, (6, 8), 3),
        processor.text("what is pooled?", task="retrieval", prompt_name="query", max_length=None),
    ]
    outputs = model.embed(items)
    projector = base["multi_vector_projector.weight"] + 2.0 * (
        adapters["base_model.model.multi_vector_projector.lora_B.retrieval.weight"]
        @ adapters["base_model.model.multi_vector_projector.lora_A.retrieval.weight"]
    )
    dense, rows = [], []
    for item, hidden in zip(items, reference(theirs, items), strict=True):
        ids = item.token_ids.tolist()
        if item.patches is None:
            pooled = hidden.mean(dim=0)
        else:
            start, stop = ids.index(tiny.CONFIG.vision_start_token_id), ids.index(tiny.CONFIG.vision_end_token_id)
            pooled = hidden[start : stop + 1].mean(dim=0)
        dense.append(pooled / pooled.norm())
        projected = hidden @ projector.T + base["multi_vector_projector.bias"]
        rows.append(projected / projected.norm(dim=-1, keepdim=True))
    compare("dense vectors", outputs.dense, torch.stack(dense))
    compare("multi-vectors", outputs.multivector, torch.cat(rows))


@pytest.mark.parametrize("task", tiny.TASKS)
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_adapters_equal_peft(ours, tmp_path, task):
    """peft with the base model and this task's adapter, unmerged."""
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLTextModel

    model, processor, folder = ours
    base, adapters = tiny.random_tensors()
    config = Qwen2_5_VLConfig.from_pretrained(folder).text_config
    text_model = Qwen2_5_VLTextModel(config).float().eval()
    text_model.load_state_dict(
        {name.removeprefix("model."): tensor for name, tensor in base.items() if name.startswith("model.")}
    )
    lora = LoraConfig(
        r=tiny.CONFIG.lora.rank,
        lora_alpha=tiny.CONFIG.lora.alpha,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    )
    peft_model = get_peft_model(text_model, lora).eval()
    wanted = {}
    for name, tensor in adapters.items():
        if f".{task}." in name and "layers" in name:
            stem = name.removeprefix("base_model.model.model.language_model.").replace(f".{task}.", ".default.")
            wanted[f"base_model.model.{stem}"] = tensor
    missing = peft_model.load_state_dict(wanted, strict=False)
    assert not missing.unexpected_keys
    assert len(wanted) == 3 * 7 * 2
    item = processor.text("def add(a, b): return a + b", task=task, prompt_name="query", max_length=None)
    with torch.no_grad():
        reference_states = peft_model(input_ids=torch.from_numpy(item.token_ids)[None]).last_hidden_state[0]
    compare(f"adapter {task} against peft", model.hidden_states([item]), reference_states)


@pytest.mark.parametrize("task", tiny.TASKS)
def test_merged_export_loads_in_stock_transformers(ours, tmp_path, task):
    from transformers import Qwen2_5_VLForConditionalGeneration

    model, processor, _ = ours
    export_merged(tmp_path, FAMILY, model, processor, task)
    stock, info = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        tmp_path, output_loading_info=True, dtype=torch.float32
    )
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    item = processor.text("merged", task=task, prompt_name="query", max_length=None)
    image = image_item(processor, (6, 4), 9, task)
    mine = model.hidden_states([item, image])
    compare(f"merged export, {task}", mine, torch.cat(reference(stock.eval().model, [item, image])))


@pytest.mark.parametrize("task", tiny.TASKS)
def test_multi_vectors_of_the_export_for_vllm(ours, tmp_path, task):
    """What the plug-in of vLLM does: the stock network's last hidden states, the projection in float32, unit length."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    model, processor, _ = ours
    export_merged(tmp_path, FAMILY, model, processor, task, Format.VLLM_MULTIVECTOR)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["JinaV4MultiVector"]
    stock, info = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        tmp_path, output_loading_info=True, dtype=torch.float32
    )
    assert set(info["unexpected_keys"]) == {"multi_vector_projector.weight", "multi_vector_projector.bias"}
    assert not info["missing_keys"] and not info["mismatched_keys"]
    head = load_file(tmp_path / "model.safetensors")
    items = [
        processor.text("projected", task=task, prompt_name="passage", max_length=None),
        image_item(processor, (4, 6), 3, task),
    ]
    hidden = torch.cat(reference(stock.eval().model, items))
    projected = hidden @ head["multi_vector_projector.weight"].T + head["multi_vector_projector.bias"]
    compare(f"multi-vectors, {task}", model.embed(items).multivector, torch.nn.functional.normalize(projected, dim=-1))


def test_the_chat_template_of_the_export_for_vllm_gives_the_published_prompt(ours, tmp_path):
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    model, processor, _ = ours
    export_merged(tmp_path, FAMILY, model, processor, "code", Format.VLLM_MULTIVECTOR)
    source = (tmp_path / "chat_template.jinja").read_text()
    assert json.loads((tmp_path / "chat_template.json").read_text()) == {"chat_template": source}
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(source)
    for image in ({"type": "image"}, {"type": "image_url", "image_url": {"url": "data:"}}):
        content = [image, {"type": "text", "text": "Describe the image."}]
        assert template.render(messages=[{"role": "user", "content": content}]) == IMAGE_TEMPLATE
    assert template.render(messages=[{"role": "user", "content": "a"}]) == "<|im_start|>user\na<|im_end|>\n"
