"""Texts to tokens and pictures to patches: against the facts, transformers' processor and Pillow."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
import torch
from tests.support import tiny
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from polylens.errors import CheckpointError, ImageError, InputError
from polylens.models.jina_v4.processing import JinaV4Processor
from polylens.models.protocol import Item
from polylens.models.qwen_vl.images import (
    normalise,
    parse_image_config,
    render_image_config,
    resize,
    smart_resize,
    to_patches,
)

CONFIG = tiny.CONFIG


@pytest.fixture(scope="module")
def processor() -> JinaV4Processor:
    return JinaV4Processor(CONFIG, tiny.IMAGES, tiny.byte_tokenizer())


def noise(height: int, width: int, seed: int = 0) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def tensor(image: PIL.Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


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


class TestSmartResize:
    def test_equals_transformers(self) -> None:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as theirs

        rng = random.Random(0)
        for _ in range(3000):
            height, width = (int(2 ** rng.uniform(0, 13)) for _ in range(2))
            factor = rng.choice([28, 28, 32, 4])
            low = rng.choice([3136, 4 * factor**2, factor**2])
            high = rng.choice([602_112, 12_845_056, 50_000, max(low, 10_000)])
            if max(height, width) > 200 * min(height, width):
                continue
            mine = smart_resize(height, width, factor=factor, min_pixels=low, max_pixels=high)
            assert mine == theirs(height, width, factor, low, high), (height, width, factor, low, high)

    def test_halves_round_to_even(self) -> None:
        """42 / 28 = 1.5 -> 2, 70 / 28 = 2.5 -> 2."""
        assert smart_resize(42, 70, factor=28, min_pixels=1, max_pixels=10**9) == (56, 56)

    @pytest.mark.parametrize(("height", "width"), [(1, 201), (2010, 10), (8041, 40)])
    def test_more_than_two_hundred_to_one_is_refused(self, height: int, width: int) -> None:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as theirs

        with pytest.raises(ImageError, match=f"at most 200 times the shorter one, got {width} x {height} pixels"):
            smart_resize(height, width, factor=28, min_pixels=3136, max_pixels=602_112)
        with pytest.raises(ValueError, match="aspect ratio"):
            theirs(height, width)

    @pytest.mark.parametrize(("height", "width"), [(1, 200), (2000, 10), (8000, 40)])
    def test_exactly_two_hundred_to_one_is_taken(self, height: int, width: int) -> None:
        rows, columns = smart_resize(height, width, factor=28, min_pixels=3136, max_pixels=602_112)
        assert rows % 28 == 0 and columns % 28 == 0


def cubic(x: float) -> float:
    """Keys' kernel with a = -0.5, the one of Pillow and of antialiased resizing in PyTorch."""
    x, a = abs(x), -0.5
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def resampling(before: int, after: int) -> npt.NDArray[np.float64]:
    """What each old pixel gives to each new one; the kernel is stretched where the picture shrinks."""
    scale = before / after
    stretch = max(scale, 1.0)
    matrix = np.zeros((after, before))
    for new in range(after):
        centre = (new + 0.5) * scale
        for old in range(before):
            matrix[new, old] = cubic((old + 0.5 - centre) / stretch)
        matrix[new] /= matrix[new].sum()
    return matrix


def to_bytes(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.clip(np.floor(values + 0.5), 0, 255)


SIZES = [
    ((100, 80), (56, 56)),
    ((30, 41), (56, 84)),
    ((200, 50), (84, 28)),
    ((333, 500), (140, 196)),
    ((57, 56), (56, 56)),
    ((5, 5), (56, 56)),
    ((90, 30), (28, 140)),
]


@pytest.mark.parametrize("kind", ["noise", "smooth"])
@pytest.mark.parametrize(("before", "after"), SIZES)
class TestResize:
    """The kernel works on bytes: first along rows, then along columns, with a byte in between.

    Its weights are 16-bit integers, so a value near a rounding border may fall on the other side: a byte of the first
    pass off by one, times a weight a little above one, rounded once more, makes 2 levels at the very most. Measured: a
    mean difference of 0.002 to 0.008 levels.
    """

    def picture(self, kind: str, size: tuple[int, int]) -> PIL.Image.Image:
        if kind == "noise":
            return noise(*size, seed=sum(size))
        return noise(6, 6, seed=sum(size)).resize((size[1], size[0]), PIL.Image.Resampling.BICUBIC)

    def test_equals_the_definition(self, kind: str, before: tuple[int, int], after: tuple[int, int]) -> None:
        image = self.picture(kind, before)
        pixels = np.asarray(image).astype(np.float64)
        wide = to_bytes(np.einsum("hwc,vw->hvc", pixels, resampling(before[1], after[1])))
        expected = to_bytes(np.einsum("hvc,uh->cuv", wide, resampling(before[0], after[0])))
        difference = np.abs(resize(tensor(image), *after).numpy() - expected)
        assert difference.max() <= 2
        assert difference.mean() < 0.02

    def test_equals_pillow(self, kind: str, before: tuple[int, int], after: tuple[int, int]) -> None:
        """One direction at a time: asked for both, newer Pillows begin with the cheaper one, and the byte in between
        is another. Without antialiasing noise would differ by some 20 levels on average."""
        image = self.picture(kind, before)
        wide = image.resize((after[1], before[0]), PIL.Image.Resampling.BICUBIC)
        theirs = np.asarray(wide.resize((after[1], after[0]), PIL.Image.Resampling.BICUBIC)).transpose(2, 0, 1)
        difference = np.abs(resize(tensor(image), *after).numpy().astype(np.float64) - theirs)
        assert difference.max() <= 2
        assert difference.mean() < 0.02

    def test_the_layout_in_memory_changes_nothing(
        self, kind: str, before: tuple[int, int], after: tuple[int, int]
    ) -> None:
        pixels = tensor(self.picture(kind, before))
        assert torch.equal(resize(pixels, *after), resize(pixels.contiguous(), *after))


def test_a_picture_that_has_its_size_already_keeps_its_pixels() -> None:
    pixels = tensor(noise(56, 84))
    assert torch.equal(resize(pixels, 56, 84), pixels)


class TestPatches:
    def test_equal_the_official_processors(self) -> None:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        image = noise(84, 140)
        theirs = Qwen2VLImageProcessorPil()(images=[image], return_tensors="pt", do_resize=False)
        mine = to_patches(normalise(tensor(image), tiny.IMAGES), tiny.IMAGES)
        assert theirs["image_grid_thw"].tolist() == [[1, 6, 10]]
        torch.testing.assert_close(mine, theirs["pixel_values"], rtol=0, atol=1e-6)

    def test_the_whole_way_equals_the_official_processors_where_pillow_resizes(
        self, processor: JinaV4Processor
    ) -> None:
        """Pillow's resize in place of torchvision's, on a picture without sharp edges: two levels as in TestResize."""
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        image = noise(4, 9).resize((333, 120), PIL.Image.Resampling.BICUBIC)
        theirs = Qwen2VLImageProcessorPil(min_pixels=3136, max_pixels=602_112)(images=[image], return_tensors="pt")
        mine = processor.image(image, task="retrieval", max_pixels=None)
        assert theirs["image_grid_thw"].tolist() == [[1, *mine.grids[0]]]
        level = 1 / 255 / min(tiny.IMAGES.std)
        difference = (mine.patches - theirs["pixel_values"]).abs()
        assert difference.max() < 2.001 * level
        assert difference.mean() < 0.2 * level

    def test_layout(self) -> None:
        """jina_embeddings_v4 facts, section 1.13: (rows / 2, columns / 2, 2, 2) x (channel, frame, 14, 14)."""
        height, width = 56, 84
        pixels = torch.arange(3 * height * width, dtype=torch.float32).view(3, height, width)
        mine = to_patches(pixels, tiny.IMAGES)
        assert mine.shape == (4 * 6, 3 * 2 * 14 * 14)
        at = 0
        for row in range(0, height, 28):
            for column in range(0, width, 28):
                for down in (0, 14):
                    for right in (0, 14):
                        top, left = row + down, column + right
                        patch = pixels[:, top : top + 14, left : left + 14]
                        expected = torch.stack([patch, patch], dim=1)  # a still image stands in both frames
                        assert torch.equal(mine[at], expected.flatten())
                        at += 1

    def test_normalisation(self) -> None:
        pixels = torch.tensor([0, 128, 255], dtype=torch.uint8)[None, None].expand(3, 1, 3)
        mine = normalise(pixels, tiny.IMAGES)
        for channel in range(3):
            for i, level in enumerate((0, 128, 255)):
                expected = (level / 255 - tiny.IMAGES.mean[channel]) / tiny.IMAGES.std[channel]
                assert float(mine[channel, 0, i]) == pytest.approx(expected, abs=1e-6)


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
        assert item.patches.shape == (rows * columns, 1176) and item.patches.dtype == torch.float32
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


class TestImageConfig:
    def test_what_is_written_reads_back(self) -> None:
        assert parse_image_config(render_image_config(tiny.IMAGES)) == tiny.IMAGES

    def test_newer_writers_say_size(self) -> None:
        written = render_image_config(tiny.IMAGES)
        written["size"] = {"shortest_edge": written.pop("min_pixels"), "longest_edge": written.pop("max_pixels")}
        assert parse_image_config(written) == tiny.IMAGES

    @pytest.mark.parametrize("field", ["patch_size", "merge_size", "temporal_patch_size", "image_mean", "image_std"])
    def test_a_missing_field_is_named(self, field: str) -> None:
        written = render_image_config(tiny.IMAGES)
        del written[field]
        with pytest.raises(CheckpointError, match=rf"preprocessor_config\.json lacks the field '{field}'"):
            parse_image_config(written)

    def test_no_limits_at_all(self) -> None:
        written = render_image_config(tiny.IMAGES)
        del written["max_pixels"]
        with pytest.raises(CheckpointError, match="lacks the field 'longest_edge'"):
            parse_image_config(written)
