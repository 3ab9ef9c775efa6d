"""Texts and images to items: against the facts and transformers' processor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch
from tests.support import tiny
from tests.support.frames import published_patches
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from polylens.errors import CheckpointError, InputError
from polylens.models.jina_v4.processing import JinaV4Processor
from polylens.models.protocol import Item

CONFIG = tiny.CONFIG


@pytest.fixture(scope="module")
def processor() -> JinaV4Processor:
    return JinaV4Processor(CONFIG, tiny.IMAGES, tiny.byte_tokenizer())


def noise(height: int, width: int, seed: int = 0) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


class TestText:
    def decode(self, processor: JinaV4Processor, item: Item) -> str:
        return processor.tokenizer.decode(item.token_ids.tolist(), skip_special_tokens=False)

    @pytest.mark.parametrize("task", ["retrieval", "code", None])
    @pytest.mark.parametrize(("prompt_name", "prompt"), [("query", "Query: "), ("passage", "Passage: ")])
    def test_prompts(self, processor: JinaV4Processor, task: str | None, prompt_name: str, prompt: str) -> None:
        item = processor.text("Grüße, 東京", task=task, prompt_name=prompt_name, max_length=None)
        assert self.decode(processor, item) == prompt + "Grüße, 東京"
        assert item.token_ids.dtype == np.int64
        assert (item.pool, item.task, item.patches, item.grids) == ((0, item.num_tokens), task, None, ())

    @pytest.mark.parametrize("prompt_name", ["query", "passage"])
    def test_text_matching_always_takes_the_querys_prompt(self, processor: JinaV4Processor, prompt_name: str) -> None:
        item = processor.text("same", task="text-matching", prompt_name=prompt_name, max_length=None)
        assert self.decode(processor, item) == "Query: same"

    def test_no_token_is_added_around_a_text(self) -> None:
        """Even where the tokenizer would add some, as one that was saved with a post-processor does."""
        from tokenizers.processors import TemplateProcessing

        tokenizer = tiny.byte_tokenizer()
        tokenizer.post_processor = TemplateProcessing(single="<|im_end|> $A", special_tokens=[("<|im_end|>", 258)])
        tokenizer.enable_truncation(4)
        tokenizer.enable_padding(length=64)
        item = JinaV4Processor(CONFIG, tiny.IMAGES, tokenizer).text(
            "abc", task="retrieval", prompt_name="query", max_length=None
        )
        assert item.num_tokens == len("Query: abc")

    @pytest.mark.parametrize("max_length", [1, 7, 12, 1000])
    def test_what_is_longer_is_cut_on_the_right_the_prompt_counted(
        self, processor: JinaV4Processor, max_length: int
    ) -> None:
        item = processor.text("one two three", task="retrieval", prompt_name="query", max_length=max_length)
        assert self.decode(processor, item) == "Query: one two three"[:max_length]
        assert item.pool == (0, item.num_tokens)

    @pytest.mark.parametrize("max_length", [None, 20, 21, 10_000])
    def test_the_models_own_limit_holds_whatever_is_asked(self, max_length: int | None) -> None:
        short = JinaV4Processor(replace(CONFIG, max_length=20), tiny.IMAGES, tiny.byte_tokenizer())
        item = short.text("x" * 100, task="retrieval", prompt_name="query", max_length=max_length)
        assert item.num_tokens == 20

    def test_an_empty_text_is_its_prompt(self, processor: JinaV4Processor) -> None:
        item = processor.text("", task="retrieval", prompt_name="query", max_length=None)
        assert self.decode(processor, item) == "Query: "


def published_tokenizer() -> Tokenizer:
    """Qwen's ids for the pieces of the image template (section 1.9), and for nothing else."""
    pieces = {"user": 872, "\n": 198, "Describe": 74785, " the": 279, " image": 2168, ".": 13}
    special = {
        "<|endoftext|>": 151643,
        "<|im_start|>": 151644,
        "<|im_end|>": 151645,
        "<|vision_start|>": 151652,
        "<|vision_end|>": 151653,
        "<|image_pad|>": 151655,
    }
    tokenizer = Tokenizer(models.WordLevel({**pieces, **special}, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\p{L}+|\.|\n"), behavior="isolated")
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def test_an_image_equals_the_official_processors_where_pillow_resizes(processor: JinaV4Processor) -> None:
    """Pillow's resize in place of torchvision's, on a picture without sharp edges: two levels as in `TestResize`."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    image = noise(4, 9).resize((333, 120), PIL.Image.Resampling.BICUBIC)
    theirs = Qwen2VLImageProcessorPil(min_pixels=3136, max_pixels=602_112)(images=[image], return_tensors="pt")
    mine = processor.image(image, task="retrieval", max_pixels=None)
    assert theirs["image_grid_thw"].tolist() == [[1, *mine.grids[0]]]
    level = 1 / 255 / min(tiny.IMAGES.std)
    difference = (published_patches(mine) - theirs["pixel_values"]).abs()
    assert difference.max() < 2.001 * level
    assert difference.mean() < 0.2 * level


class TestImageTemplate:
    @pytest.mark.parametrize(("height", "width"), [(56, 56), (84, 56), (28 * 29, 28 * 43)])
    def test_published_ids(self, height: int, width: int) -> None:
        published = replace(CONFIG, image_token_id=151655, vision_start_token_id=151652, vision_end_token_id=151653)
        item = JinaV4Processor(published, tiny.IMAGES, published_tokenizer()).pixels(
            torch.zeros(3, height, width, dtype=torch.uint8), task="code"
        )
        visual = (height // 28) * (width // 28)
        expected = [151644, 872, 198, 151652, *[151655] * visual, 151653, 74785, 279, 2168, 13, 151645, 198]
        assert item.token_ids.tolist() == expected
        assert item.num_tokens == visual + 11
        assert item.pool == (3, 3 + visual + 2)

    @pytest.mark.parametrize(("height", "width"), [(100, 100), (1, 1), (40, 700), (3000, 2000)])
    def test_one_placeholder_a_visual_token_and_a_pool_from_mark_to_mark(
        self, processor: JinaV4Processor, height: int, width: int
    ) -> None:
        item = processor.image(noise(height, width), task="retrieval", max_pixels=None)
        assert item.patches is not None
        ids = item.token_ids.tolist()
        [(rows, columns)] = item.grids
        assert rows % 2 == 0 and columns % 2 == 0
        assert ids.count(CONFIG.image_token_id) == rows * columns // 4
        assert item.patches.shape == (rows * columns, 588) and item.patches.dtype == torch.uint8
        start, stop = item.pool
        assert ids[start] == CONFIG.vision_start_token_id and ids[stop - 1] == CONFIG.vision_end_token_id
        assert set(ids[start + 1 : stop - 1]) == {CONFIG.image_token_id}
        assert tiny.IMAGES.min_pixels <= 196 * rows * columns <= tiny.IMAGES.max_pixels

    @pytest.mark.parametrize("max_pixels", [784, 10_000, 50_000])
    def test_max_pixels_bounds_the_visual_tokens(self, processor: JinaV4Processor, max_pixels: int) -> None:
        item = processor.image(noise(300, 400), task=None, max_pixels=max_pixels)
        assert 0 < (item.token_ids == CONFIG.image_token_id).sum() <= max_pixels // 784

    def test_max_pixels_may_exceed_the_checkpoints(self, processor: JinaV4Processor) -> None:
        item = processor.image(noise(1400, 1400), task=None, max_pixels=28 * 28 * 10_000)
        assert item.grids == ((100, 100),)

    def test_less_than_one_visual_token_is_refused(self, processor: JinaV4Processor) -> None:
        with pytest.raises(InputError, match=r"max_pixels must be at least 784, .* got 783"):
            processor.image(noise(30, 30), task=None, max_pixels=783)

    def test_a_tokenizer_of_another_model_is_refused(self) -> None:
        with pytest.raises(CheckpointError, match=r"exactly once: tokenizer and config\.json do not belong together"):
            JinaV4Processor(replace(CONFIG, image_token_id=7), tiny.IMAGES, tiny.byte_tokenizer())

    def test_patches_that_the_tower_does_not_take_are_refused(self) -> None:
        with pytest.raises(CheckpointError, match=r"has \(patch, merge, frames\) \(16, 2, 2\), .* takes \(14, 2, 2\)"):
            JinaV4Processor(CONFIG, replace(tiny.IMAGES, patch_size=16), tiny.byte_tokenizer())
