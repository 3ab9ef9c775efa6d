"""Pictures to patches: against the facts, transformers' processor and Pillow."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
import torch
from tests.support import tiny
from tests.support.frames import repeat_frames

from polylens.errors import CheckpointError, ImageError
from polylens.models.qwen_vl.images import (
    parse_image_config,
    render_image_config,
    resize,
    smart_resize,
    to_patches,
)


def noise(height: int, width: int, seed: int = 0) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def tensor(image: PIL.Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


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
        mine = repeat_frames(tiny.IMAGES.pixel_scale.normalise(to_patches(tensor(image), tiny.IMAGES)))
        assert theirs["image_grid_thw"].tolist() == [[1, 6, 10]]
        torch.testing.assert_close(mine, theirs["pixel_values"], rtol=0, atol=1e-6)

    def test_layout(self) -> None:
        """jina_embeddings_v4 facts, section 1.13: (rows / 2, columns / 2, 2, 2) x (channel, 14, 14), of one frame."""
        height, width = 56, 84
        pixels = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(0)).byte()
        mine = to_patches(pixels, tiny.IMAGES)
        assert mine.shape == (4 * 6, 3 * 14 * 14) and mine.dtype == torch.uint8
        at = 0
        for row in range(0, height, 28):
            for column in range(0, width, 28):
                for down in (0, 14):
                    for right in (0, 14):
                        top, left = row + down, column + right
                        patch = pixels[:, top : top + 14, left : left + 14]
                        assert torch.equal(mine[at], patch.flatten())
                        at += 1

    def test_normalisation(self) -> None:
        patch = torch.tensor([0, 128, 255] * 3, dtype=torch.uint8)  # three pixels of each channel
        mine = tiny.IMAGES.pixel_scale.normalise(patch[None]).view(3, 3)
        for channel in range(3):
            for i, level in enumerate((0, 128, 255)):
                expected = (level / 255 - tiny.IMAGES.mean[channel]) / tiny.IMAGES.std[channel]
                assert float(mine[channel, i]) == pytest.approx(expected, abs=1e-6)


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
