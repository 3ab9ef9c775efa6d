"""One frame of bytes through the patch embedding: the same as every frame through the published convolution."""

from __future__ import annotations

import torch
from tests.support import tiny
from tests.support.frames import repeat_frames

from polylens.models.pixels import PixelScale
from polylens.models.qwen_vl.vision import PatchEmbedding

VISION = tiny.CONFIG.vision


def test_one_frame_equals_the_convolution_over_all() -> None:
    embedding = PatchEmbedding(VISION)
    patches = torch.randint(0, 256, (6, VISION.patch_dim), generator=torch.Generator().manual_seed(0)).byte()
    pixels = tiny.IMAGES.pixel_scale.normalise(patches)
    side = VISION.patch_size
    kernel = embedding.weight.view(VISION.width, VISION.num_channels, VISION.num_frames, side, side)
    volumes = repeat_frames(pixels).view(-1, VISION.num_channels, VISION.num_frames, side, side)
    convolved = torch.nn.functional.conv3d(volumes, kernel).flatten(1)
    torch.testing.assert_close(embedding(pixels), convolved, rtol=0, atol=1e-5)  # float32 sums of 1,176 products


def test_every_frame_of_the_kernel_is_trained() -> None:
    embedding = PatchEmbedding(VISION)
    embedding(torch.ones(2, VISION.patch_dim)).sum().backward()
    assert embedding.weight.grad is not None and bool((embedding.weight.grad != 0).all())


def test_bytes_are_normalised_as_published() -> None:
    """Per channel, whatever else the patches' dimensions are, in float32 before any rounding."""
    scale = PixelScale(mean=(0.25, 0.5), std=(0.5, 0.125))
    patches = torch.tensor([[[0, 255, 51, 102]]], dtype=torch.uint8)  # two pixels of each channel
    expected = torch.tensor([[[(0 - 0.25) / 0.5, (1 - 0.25) / 0.5, (0.2 - 0.5) / 0.125, (0.4 - 0.5) / 0.125]]])
    torch.testing.assert_close(scale.normalise(patches), expected, rtol=0, atol=1e-6)
    assert torch.equal(scale.normalise(patches, torch.bfloat16), scale.normalise(patches).bfloat16())
