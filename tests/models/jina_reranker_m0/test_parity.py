"""Ours against transformers' Qwen2-VL and the head in a few lines, same random weights, in float32.

The bound is 1e-4 of the signal's standard deviation; measured figures are around 1e-6 and are printed (`pytest -s`).
Transformers' own processor of the model needs torchvision, so its parts are put together here: its tokenizer, its image
processor, and the repetition of the placeholder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from tests.support import tiny_m0
from tests.support.frames import published_patches
from torch import Tensor

from polylens.checkpoints.loading import load_scorer, read_header
from polylens.models.jina_reranker_m0.model import JinaRerankerM0
from polylens.models.jina_reranker_m0.processing import JinaRerankerM0Processor
from polylens.models.protocol import Item
from polylens.models.qwen_vl.positions import token_positions
from polylens.models.qwen_vl.trunk import hidden_states

BOUND = 1e-4  # of the signal's standard deviation
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
Value = str | PIL.Image.Image


def noise(rows: int, columns: int, seed: int) -> PIL.Image.Image:
    """A picture of so many visual tokens, of a size that needs no resizing."""
    pixels = np.random.default_rng(seed).integers(0, 256, (28 * rows, 28 * columns, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


PAIRS: dict[str, list[tuple[Value, Value]]] = {
    "texts": [("a", "b"), ("what is it?", "Grüße aus 東京, " * 20), ("", ""), ("q " * 50, "d"), ("x", "y z")],
    "images as documents": [("a lighthouse", noise(2, 2, 0)), ("Karte", noise(5, 3, 1)), ("", noise(2, 9, 2))],
    "images as queries": [(noise(2, 3, 3), "a text"), (noise(7, 2, 4), "another " * 9), (noise(2, 2, 5), "")],
    "images on both sides": [(noise(2, 3, 6), noise(4, 4, 7)), (noise(6, 2, 8), noise(2, 2, 9))],
    "mixed": [
        ("text", "text"),
        ("text", noise(3, 4, 10)),
        (noise(4, 2, 11), "a longer text " * 12),
        (noise(2, 2, 12), noise(3, 5, 13)),
        ("the last one", "of the batch"),
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_m0.write(tmp_path_factory.mktemp("tiny") / "m0")


@pytest.fixture(scope="module")
def ours(folder: Path) -> tuple[JinaRerankerM0, JinaRerankerM0Processor]:
    header = read_header(folder)
    model = load_scorer(header, device=torch.device("cpu"), dtype=torch.float32)
    assert isinstance(model, JinaRerankerM0) and isinstance(header.pairs, JinaRerankerM0Processor)
    return model, header.pairs


@pytest.fixture(scope="module")
def theirs(folder: Path):
    from transformers import Qwen2VLConfig, Qwen2VLModel

    model = Qwen2VLModel(Qwen2VLConfig.from_pretrained(folder)).float().eval()
    tensors = {
        name.replace("model.", "language_model."): tensor
        for name, tensor in tiny_m0.random_tensors().items()
        if not name.startswith(("score.", "lm_head."))
    }
    model.load_state_dict(tensors, strict=True)
    return model


def join(ours: tuple[JinaRerankerM0, JinaRerankerM0Processor], pairs: Sequence[tuple[Value, Value]]) -> list[Item]:
    processor = ours[1]
    return [
        processor.pair(
            processor.query(query, max_length=None, max_pixels=None),
            processor.document(document, max_length=None, max_pixels=None),
            max_length=None,
        )
        for query, document in pairs
    ]


def their_batch(folder: Path, pairs: Sequence[tuple[Value, Value]]) -> dict[str, Tensor]:
    """A left-padded batch, as the published code makes it."""
    from transformers import PreTrainedTokenizerFast
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    images = [side for pair in pairs for side in reversed(pair) if not isinstance(side, str)]  # the document first
    process = Qwen2VLImageProcessorPil(min_pixels=3136, max_pixels=602_112)
    pixels = process(images=images, return_tensors="pt") if images else {}
    counts = [int(grid.prod()) // 4 for grid in pixels.get("image_grid_thw", [])]
    texts = []
    for query, document in pairs:
        query_part, document_part = (side if isinstance(side, str) else IMAGE for side in (query, document))
        text = f"**Document**:\n{document_part}\n**Query**:\n{query_part}"
        for _ in range(text.count("<|image_pad|>")):
            text = text.replace("<|image_pad|>", "<one more>" * counts.pop(0), 1)
        texts.append(text.replace("<one more>", "<|image_pad|>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), padding_side="left", pad_token="<|endoftext|>"
    )
    batch = tokenizer(texts, padding=True, truncation=True, max_length=10_239, return_tensors="pt")
    ids = torch.cat((batch["input_ids"], torch.full((len(pairs), 1), 100)), dim=1)
    return {
        **pixels,
        "input_ids": ids,
        "attention_mask": torch.cat((batch["attention_mask"], torch.ones(len(pairs), 1, dtype=torch.long)), dim=1),
        "mm_token_type_ids": (ids == tiny_m0.CONFIG.trunk.image_token_id).long(),
    }


def their_logits(theirs, batch: dict[str, Tensor]) -> Tensor:
    tensors = tiny_m0.random_tensors()
    with torch.no_grad():
        last = theirs(**batch).last_hidden_state[:, -1]
    inner = torch.relu(last @ tensors["score.0.weight"].T + tensors["score.0.bias"])
    return (inner @ tensors["score.2.weight"].T + tensors["score.2.bias"])[:, 0]


def compare(name: str, mine: Tensor, reference: Tensor) -> None:
    ratio = float((mine - reference).abs().max() / reference.std())
    print(f"\nparity, {name}: largest difference {ratio:.1e} of the signal's standard deviation")
    assert ratio <= BOUND


@pytest.mark.parametrize("name", PAIRS)
def test_logits_and_scores(ours, theirs, folder, name):
    items = join(ours, PAIRS[name])
    expected = their_logits(theirs, their_batch(folder, PAIRS[name]))
    with torch.no_grad():
        logits, scores = ours[0].logits(items), ours[0].score(items)
    compare(f"logits, {name}", logits, expected)
    compare(f"scores, {name}", scores, 1 / (1 + torch.exp(2.65 - expected)))
    assert scores.dtype == torch.float32 and 0 < float(scores.min()) <= float(scores.max()) < 1


def test_every_hidden_state(ours, theirs, folder):
    """The head reads one row of each pair and could hide a difference elsewhere."""
    pairs = PAIRS["mixed"]
    batch = their_batch(folder, pairs)
    with torch.no_grad():
        states = theirs(**batch).last_hidden_state[batch["attention_mask"].bool()]
        mine = hidden_states(join(ours, pairs), vision=ours[0].vision, decoder=ours[0].decoder)
    compare("hidden states", mine, states)


@pytest.mark.parametrize("name", PAIRS)
def test_positions_equal_get_rope_index(ours, theirs, folder, name):
    batch = their_batch(folder, PAIRS[name])
    for index, item in enumerate(join(ours, PAIRS[name])):
        real = batch["attention_mask"][index].bool()
        assert item.token_ids.tolist() == batch["input_ids"][index, real].tolist()
        ids = torch.from_numpy(item.token_ids)[None]
        expected, _ = theirs.get_rope_index(
            ids,
            mm_token_type_ids=(ids == tiny_m0.CONFIG.trunk.image_token_id).long(),
            image_grid_thw=torch.tensor([[1, *grid] for grid in item.grids]) if item.grids else None,
            attention_mask=torch.ones_like(ids),
        )
        assert torch.equal(token_positions(item.num_tokens, item.image_starts, item.grids, merge=2), expected[:, 0].T)


def test_patches_equal_transformers_image_processor(ours, folder):
    pairs = PAIRS["mixed"]
    mine = [published_patches(item) for item in join(ours, pairs) if item.patches is not None]
    torch.testing.assert_close(torch.cat(mine), their_batch(folder, pairs)["pixel_values"], rtol=0, atol=1e-6)


def test_a_pairs_score_does_not_depend_on_its_batch(ours):
    items = join(ours, [pair for pairs in PAIRS.values() for pair in pairs])
    with torch.no_grad():
        together = ours[0].logits(items)
        alone = torch.cat([ours[0].logits([item]) for item in items])
        backwards = ours[0].logits(items[::-1]).flip(0)
    compare("alone", alone, together)
    compare("backwards", backwards, together)


@pytest.mark.parametrize("side", ["query", "document"])
def test_an_image_of_several_pairs_goes_through_the_tower_once(ours, side):
    """The same page for several queries, the same picture for several documents, and beside it another of its size."""
    model, _ = ours
    image, other = noise(3, 4, 20), noise(3, 4, 21)
    texts = ["one", "two", "three"]
    pairs: list[tuple[Value, Value]] = [(image, text) if side == "query" else (text, image) for text in texts]
    pairs += [(image, other), (other, image)]
    items = join(ours, pairs)
    seen: list[int] = []
    hook = model.vision.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[1])))
    with torch.no_grad():
        together = model.logits(items)
        alone = torch.cat([model.logits([item]) for item in items])
    hook.remove()
    assert seen == [2, 1, 1, 1, 2, 2]
    compare("an image in several pairs", together, alone)


def test_a_literal_placeholder_in_a_text_is_no_image(ours, theirs):
    """Beside an image it stays one token at a text's position, whichever side the image is on."""
    model, _ = ours
    image, text = noise(3, 2, 30), f"before <|image_pad|> and {IMAGE} behind"
    for pair in ((text, image), (image, text), (text, text)):
        [item] = join(ours, [pair])
        num_images = sum(not isinstance(side, str) for side in pair)
        assert len(item.grids) == len(item.image_starts) == num_images
        assert (item.token_ids == tiny_m0.CONFIG.trunk.image_token_id).sum() == 6 * num_images + 2 * (2 - num_images)
        embedded = model.decoder.embed(torch.from_numpy(item.token_ids))
        if num_images:
            start = item.image_starts[0]
            assert item.token_ids[start - 1] == tiny_m0.CONFIG.trunk.vision_start_token_id
            embedded[start : start + 6] = model.vision(item.pixel_scale.normalise(item.patches), item.grids)
        with torch.no_grad():
            expected = theirs.language_model(
                inputs_embeds=embedded[None],
                position_ids=token_positions(item.num_tokens, item.image_starts, item.grids, merge=2).T[:, None],
            ).last_hidden_state[0]
            mine = hidden_states([item], vision=model.vision, decoder=model.decoder)
        compare("a literal placeholder", mine, expected)
