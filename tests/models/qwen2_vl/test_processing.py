"""Texts to tokens and pictures to patches: against the published strings, transformers' processor and Pillow."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch
from tests.support import tiny_qwen2_vl
from tests.support.frames import published_patches
from tests.support.tiny import IMAGES, byte_tokenizer

from polylens.errors import CheckpointError, ImageError, InputError
from polylens.models.protocol import Item
from polylens.models.qwen2_vl.config import Qwen2VLConfig
from polylens.models.qwen2_vl.processing import Qwen2VLProcessor
from polylens.models.qwen2_vl.prompts import MCDSE

SETS = tuple(tiny_qwen2_vl.TEMPLATES)


def processor(name: str) -> Qwen2VLProcessor:
    return Qwen2VLProcessor(tiny_qwen2_vl.CONFIGS[name], IMAGES, byte_tokenizer())


def text_item(name: str, text: str, max_length: int | None = None) -> Item:
    return processor(name).text(text, task=None, prompt_name="query", max_length=max_length)


def decode(item: Item) -> str:
    return byte_tokenizer().decode(item.token_ids.tolist(), skip_special_tokens=False)


def noise(height: int, width: int) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("text", ["", "Grüße, 東京", " 100 %s %d ", "<|im_end|>", "a <|image_pad|> b"])
def test_texts_stand_in_the_published_string(name: str, text: str) -> None:
    item = text_item(name, text)
    before, _, after = tiny_qwen2_vl.TEMPLATES[name]["query"].partition("%s")
    assert decode(item) == before.replace("<|image_pad|>", "<|image_pad|>" * 4) + text + after
    assert item.pool == (item.num_tokens - 1, item.num_tokens) and not item.truncated


def test_a_text_of_vdr_has_a_black_picture_of_four_tokens() -> None:
    item = text_item("vdr", "a <|image_pad|> b")
    [start] = item.image_starts
    assert item.grids == ((4, 4),)
    assert decode(item)[: decode(item).index("Query: ")].endswith(
        "<|vision_start|>" + "<|image_pad|>" * 4 + "<|vision_end|>"
    )
    assert set(item.token_ids[start : start + 4]) == {tiny_qwen2_vl.TRUNK.image_token_id}
    assert item.patches is not None and item.patches.shape == (16, 588)
    black = -torch.tensor(IMAGES.mean) / torch.tensor(IMAGES.std)
    torch.testing.assert_close(published_patches(item).view(16, 3, -1), black[None, :, None].expand(16, 3, 392))
    assert text_item("gme", "a <|image_pad|> b").patches is None


def test_gmes_whole_string_is_cut() -> None:
    """Published: `truncation=True` and `max_length=1800` cut the string, and the last token that is left is pooled."""
    item = text_item("gme", "x" * 5000)
    assert item.num_tokens == 1800 and item.truncated
    assert decode(item) == tiny_qwen2_vl.SYSTEM + "x" * (1800 - len(byte_tokenizer().encode(tiny_qwen2_vl.SYSTEM).ids))
    assert item.pool == (1799, 1800)
    assert text_item("gme", "x" * 5000, max_length=4000).num_tokens == 1800


def test_the_end_of_vdrs_prompt_stays() -> None:
    item = text_item("vdr", "abcdefgh", max_length=text_item("vdr", "").num_tokens + 3)
    assert decode(item).endswith("Query: abc<|im_end|>\n<|endoftext|>") and item.truncated
    whole = text_item("vdr", "abc", max_length=text_item("vdr", "").num_tokens + 3)
    assert np.array_equal(item.token_ids, whole.token_ids) and not whole.truncated


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("max_length", [1, 4, 30])
def test_no_item_has_fewer_tokens_than_its_prompt(name: str, max_length: int) -> None:
    item, empty = text_item(name, "abc", max_length), text_item(name, "")
    assert item.num_tokens == empty.num_tokens > 30 and item.truncated
    assert item.grids == empty.grids and item.image_starts == empty.image_starts


@pytest.mark.parametrize("name", SETS)
def test_late_chunking_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"late chunking .* last token"):
        processor(name).chunks(["a", "b"], task=None, prompt_name="query", max_length=None)


def test_roles() -> None:
    role = processor("vdr").role
    assert role(None, None) == role("retrieval", "query") == role("retrieval.query", None) == (None, "query")
    assert role("retrieval.passage", None) == role(None, "passage") == (None, "passage")
    with pytest.raises(InputError, match=r"task must be one of retrieval, retrieval\.query, .* got 'code'"):
        role("code", None)
    with pytest.raises(InputError, match="prompt_name must be one of query, passage, got 'document'"):
        role(None, "document")


def published_size(height: int, width: int, least: int, most: int) -> tuple[int, int]:
    """The function of that purpose in Qwen's utilities and on the model cards; tokens become pixels."""
    least, most = least * 784, most * 784
    rows, columns = (max(28, round(side / 28) * 28) for side in (height, width))
    if rows * columns > most:
        beta = math.sqrt(height * width / most)
        return math.floor(height / beta / 28) * 28, math.floor(width / beta / 28) * 28
    if rows * columns < least:
        beta = math.sqrt(least / (height * width))
        return math.ceil(height * beta / 28) * 28, math.ceil(width * beta / 28) * 28
    return rows, columns


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *((name, size) for name in SETS for size in [(56, 84), (100, 61), (28, 300), (10, 100), (333, 250), (13, 13)]),
        ("vdr", (1240, 1000)),  # larger than its limit: gme's second resize would be another operation than Pillow's
    ],
)
def test_pixels_equal_those_of_the_published_code(name: str, size: tuple[int, int]) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    image = noise(*size)
    rows, columns = published_size(*size, *((4, 16_384) if name == "gme" else (1, 768)))
    least, most = (4, 1280) if name == "gme" else (1, 768)
    theirs = Qwen2VLImageProcessorPil(min_pixels=least * 784, max_pixels=most * 784)(
        images=[image.resize((columns, rows))], return_tensors="pt"
    )
    item = processor(name).image(image, task=None, max_pixels=None)
    assert theirs["image_grid_thw"].tolist() == [[1, *item.grids[0]]]
    torch.testing.assert_close(published_patches(item), theirs["pixel_values"], rtol=0, atol=1e-6)
    before, _, after = tiny_qwen2_vl.TEMPLATES[name]["image"].partition("<|image_pad|>")
    assert decode(item) == before + "<|image_pad|>" * (item.patches.shape[0] // 4) + after
    assert item.pool == (item.num_tokens - 1, item.num_tokens)


@pytest.mark.parametrize("name", SETS)
def test_the_number_of_tokens_is_known_before_an_image_is_read(name: str) -> None:
    rng, tested = random.Random(0), processor(name)
    for _ in range(30):
        width, height = (int(2 ** rng.uniform(2, 10.5)) for _ in range(2))
        item = tested.image(PIL.Image.new("RGB", (width, height)), task=None, max_pixels=None)
        assert tested.num_image_tokens(width, height) == item.num_tokens


def test_limits() -> None:
    assert [processor(name).max_pixels for name in SETS] == [1280 * 784, 768 * 784]
    mcdse = Qwen2VLProcessor(Qwen2VLConfig(trunk=tiny_qwen2_vl.TRUNK, prompts=MCDSE), IMAGES, byte_tokenizer())
    assert mcdse.max_pixels == 960 * 784
    page = PIL.Image.new("RGB", (1240, 1754))
    for name, most in (("gme", 1280), ("vdr", 768)):
        [grid] = processor(name).image(page, task=None, max_pixels=None).grids
        assert 0.9 * most < grid[0] * grid[1] / 4 <= most
        [grid] = processor(name).image(page, task=None, max_pixels=100 * 784).grids
        assert 80 < grid[0] * grid[1] / 4 <= 100
        with pytest.raises(InputError, match="max_pixels must be at least 784"):
            processor(name).image(page, task=None, max_pixels=783)
        with pytest.raises(ImageError, match="at most 200 times"):
            processor(name).num_image_tokens(1, 201)


def test_a_tokenizer_of_another_model_is_refused() -> None:
    other = byte_tokenizer()
    other.add_special_tokens(["<|other|>"])
    config = tiny_qwen2_vl.CONFIGS["gme"]
    trunk = replace(config.trunk, image_token_id=other.token_to_id("<|other|>"))
    with pytest.raises(CheckpointError, match="should hold image_token_id"):
        Qwen2VLProcessor(replace(config, trunk=trunk), IMAGES, other)


class TestFused:
    """An image and a text that are one input, as gme's published code puts them: the image, then the text."""

    def test_the_published_string(self) -> None:
        image = noise(60, 90)
        item = processor("gme").fused(["Umsatz", image], task=None, prompt_name="query", max_length=None)
        alone = processor("gme").image(image, task=None, max_pixels=None)
        head, _, tail = tiny_qwen2_vl.TEMPLATES["gme"]["image"].partition("<|image_pad|>")
        visual = alone.num_tokens - len(byte_tokenizer().encode(head + tail, add_special_tokens=False).ids)
        after = tail.replace("<|vision_end|>", "<|vision_end|>Umsatz", 1)
        assert decode(item) == head + "<|image_pad|>" * visual + after
        assert item.image_starts == alone.image_starts and item.grids == alone.grids
        assert item.patches is not None and alone.patches is not None and torch.equal(item.patches, alone.patches)
        assert item.pool == (item.num_tokens - 1, item.num_tokens)

    def test_it_is_cut_on_the_right_but_never_within_the_image(self) -> None:
        image = noise(60, 90)
        whole = processor("gme").fused([image, "a" * 900], task=None, prompt_name="query", max_length=None)
        cut = processor("gme").fused([image, "a" * 900], task=None, prompt_name="query", max_length=200)
        least = processor("gme").fused([image, "a" * 900], task=None, prompt_name="query", max_length=1)
        assert not whole.truncated and cut.truncated and least.truncated
        assert cut.token_ids.tolist() == whole.token_ids[:200].tolist()
        assert decode(least).endswith("<|image_pad|><|vision_end|>")

    def test_what_cannot_be_read_together(self) -> None:
        with pytest.raises(InputError, match="one image together with a text, got 2"):
            processor("gme").fused([noise(60, 90), "a", noise(60, 90)], task=None, prompt_name="query", max_length=None)
        assert not processor("vdr").fuses
        with pytest.raises(InputError, match="not both together"):
            processor("vdr").fused([noise(60, 90), "a"], task=None, prompt_name="query", max_length=None)
