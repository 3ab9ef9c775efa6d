"""Pictures brought to size, against Pillow doing it the long way as torchvision's `Resize` and `CenterCrop` do."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from tests.support import tiny_clip

import polylens
from polylens.errors import CheckpointError, InputError
from polylens.models.eva02.images import parse_image_config, square, to_patches


def the_long_way(image: PIL.Image.Image, size: int) -> PIL.Image.Image:
    """jina_clip_v2 facts, section 1.6: shortest edge to `size`, the other int(size * long / short), centre crop."""
    width, height = image.size
    if width <= height:
        resized = image.resize((size, int(size * height / width)), PIL.Image.Resampling.BICUBIC)
    else:
        resized = image.resize((int(size * width / height), size), PIL.Image.Resampling.BICUBIC)
    top, left = round((resized.height - size) / 2.0), round((resized.width - size) / 2.0)
    return resized.crop((left, top, left + size, top + size))


def noise(width: int, height: int) -> PIL.Image.Image:
    values = np.random.default_rng(width * 9973 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(values)


SIZES = [(512, 512), (1, 1), (1, 2), (2, 1), (1, 27), (31, 1), (20, 500), (500, 19), (511, 513), (513, 511), (640, 480),
         (481, 641), (1000, 999), (77, 1033), (1920, 1080), (200, 512), (512, 200), (5, 4), (2047, 640)]  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
def test_equals_pillow_to_the_pixel(size: tuple[int, int]) -> None:
    image = noise(*size)
    assert np.array_equal(np.asarray(square(image, 512)), np.asarray(the_long_way(image, 512)))


def test_equals_pillow_on_many_odd_sizes() -> None:
    rng = random.Random(0)
    for _ in range(120):
        image = noise(rng.randint(9, 260), rng.randint(9, 260))
        assert np.array_equal(np.asarray(square(image, 96)), np.asarray(the_long_way(image, 96))), image.size


@pytest.mark.parametrize("size", [(3, 500), (500, 3), (1, 37), (1000, 7)])
def test_a_strip_differs_by_a_rounding_of_each_pass_at_most(size: tuple[int, int]) -> None:
    image = noise(*size)
    ours, long = (np.asarray(each(image, 512), dtype=int) for each in (square, the_long_way))
    assert np.abs(ours - long).max() <= 2


def test_a_strip_costs_no_more_than_a_square() -> None:
    """The long way would make it 512 x 10,240,000."""
    tracemalloc.start()
    picture = square(PIL.Image.new("RGB", (1, 20_000), "red"), 512)
    assert picture.size == (512, 512) and tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F", "HSV"])
def test_every_mode(mode: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tiny_clip.write(tmp_path_factory.mktemp("clip"))
    embedder = polylens.load(folder, dtype="float32", device="cpu")
    image = PIL.Image.new(mode, (60, 90))
    assert embedder.encode_image(image).shape == (48,)


def test_patches_are_what_a_convolution_sees() -> None:
    draw = torch.Generator().manual_seed(0)
    kernel, bias = (torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((8, 3, 14, 14), (8,)))
    pixels = torch.randint(0, 256, (3, 76, 76), generator=draw).byte()
    convolved = torch.nn.functional.conv2d(pixels[None].double(), kernel, bias, stride=14)[0]
    ours = to_patches(pixels, 14).double() @ kernel.flatten(1).T + bias
    torch.testing.assert_close(ours, convolved.flatten(1).T, rtol=0, atol=1e-10)  # float64: sums of 588 products


def test_normalised_as_published(tmp_path: Path) -> None:
    embedder = polylens.load(tiny_clip.write(tmp_path / "clip"), dtype="float32", device="cpu")
    item = embedder.processor.image(PIL.Image.new("RGB", (76, 76), (255, 0, 128)), task=None, max_pixels=None)
    assert item.patches is not None and item.patches.shape == (25, 588) and item.num_tokens == 26
    assert item.patches.dtype == torch.uint8 and item.pixel_scale is not None
    means = item.pixel_scale.normalise(item.patches).view(25, 3, 196).mean(dim=(0, 2))
    wanted = [(value / 255 - m) / s for value, m, s in zip((255, 0, 128), tiny_clip.MEAN, tiny_clip.STD, strict=True)]
    torch.testing.assert_close(means, torch.tensor(wanted), rtol=0, atol=1e-5)


def test_max_pixels_cannot_be_chosen(tmp_path: Path) -> None:
    embedder = polylens.load(tiny_clip.write(tmp_path / "clip"), dtype="float32", device="cpu")
    with pytest.raises(InputError, match="sees every picture as 76 x 76 pixels"):
        embedder.encode_image(noise(10, 10), max_pixels=10_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize_mode": "squash"}, "resize_mode of preprocessor_config.json is 'squash'"),
        ({"interpolation": "nearest"}, "interpolation"),
        ({"mean": [0.5]}, "lacks size, mean or std"),
        ({"std": None}, "lacks size, mean or std"),
    ],
)
def test_other_preprocessing_is_refused(change: dict[str, object], message: str) -> None:
    published = {"size": 512, "mean": tiny_clip.MEAN, "std": tiny_clip.STD, "resize_mode": "shortest"}
    assert parse_image_config(published).size == 512
    with pytest.raises(CheckpointError, match=message):
        parse_image_config({**published, **change})
