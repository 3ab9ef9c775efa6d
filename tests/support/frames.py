"""Patches as the published processors of Qwen2-VL and Qwen2.5-VL make them: normalised, and each frame repeated."""

from __future__ import annotations

from torch import Tensor

from polylens.models.protocol import Item

FRAMES, CHANNELS = 2, 3


def published_patches(item: Item) -> Tensor:
    """`[patches, channels * frames * side * side]` float32, of an item with images."""
    assert item.patches is not None and item.pixel_scale is not None
    return repeat_frames(item.pixel_scale.normalise(item.patches))


def repeat_frames(patches: Tensor) -> Tensor:
    """`[patches, channels * side * side]` with every channel's pixels twice, once per frame."""
    return patches.view(len(patches), CHANNELS, 1, -1).expand(-1, -1, FRAMES, -1).flatten(1)
