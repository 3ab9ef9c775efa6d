"""Images for an EVA02 tower: resized to one square, and cut into patches.

jina_clip_v2 facts, section 1.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor

from polylens.errors import CheckpointError, InputError
from polylens.models.eva02.config import VisionConfig
from polylens.models.pixels import PixelScale
from polylens.models.protocol import Item

LONGEST = 32  # largest aspect ratio of an image that is resized whole: 25 MB at 512 pixels
PLACEHOLDER = -1  # the id of an image's tokens, none of which is in the vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageConfig:
    """How images are processed, from `preprocessor_config.json`."""

    size: int  # pixels per side
    mean: tuple[float, float, float]  # of red, green and blue, from 0 to 1
    std: tuple[float, float, float]


def parse_image_config(config: Mapping[str, Any]) -> ImageConfig:
    """Reads `preprocessor_config.json`.

    Raises:
        CheckpointError: A field is missing, or asks for another way to resize images.
    """
    for field, wanted in (("resize_mode", "shortest"), ("interpolation", "bicubic")):
        if config.get(field, wanted) != wanted:
            raise CheckpointError(
                f"{field} of preprocessor_config.json is {config[field]!r}, this family has {wanted!r} only"
            )
    try:
        red, green, blue = map(float, config["mean"])
        deviations = tuple(map(float, config["std"]))
        return ImageConfig(
            size=int(config["size"]), mean=(red, green, blue), std=(deviations[0], deviations[1], deviations[2])
        )
    except (KeyError, TypeError, ValueError, IndexError) as wrong:
        raise CheckpointError(f"preprocessor_config.json lacks size, mean or std as numbers: {wrong!r}") from wrong


def render_image_config(config: ImageConfig) -> dict[str, Any]:
    """Returns the `preprocessor_config.json` of a checkpoint."""
    shared = {"resize_mode": "shortest", "interpolation": "bicubic", "fill_color": 0}
    return {**asdict(config), "mean": list(config.mean), "std": list(config.std), **shared}


def square(image: PIL.Image.Image, size: int) -> PIL.Image.Image:
    """Resizes the shorter side of an image to `size` pixels, bicubically, and returns the middle square.

    The pixels equal those of torchvision's `Resize` and `CenterCrop` for a PIL image. Of an image more than `LONGEST`
    times as long as wide only the middle is computed, because the whole would first have to be enlarged to an enormous
    length. That may differ by two levels of 255, since each of two passes rounds.

    Args:
        image: RGB, of any size.
        size: Pixels per side.

    Example:
        >>> square(PIL.Image.new("RGB", (300, 200)), 512).size
        (512, 512)
    """
    shorter, longer = sorted(image.size)
    resized = [size if side == shorter else int(size * side / shorter) for side in image.size]
    left, top = (round((side - size) / 2) for side in resized)
    box = (left, top, left + size, top + size)
    if longer <= LONGEST * shorter:
        return image.resize((resized[0], resized[1]), PIL.Image.Resampling.BICUBIC).crop(box)
    across, down = image.width / resized[0], image.height / resized[1]
    source = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    return image.resize((size, size), PIL.Image.Resampling.BICUBIC, box=source)


def to_patches(pixels: UInt8[Tensor, "C H W"], patch_size: int) -> UInt8[Tensor, "P D"]:
    """Cuts an image into patches, row by row, each as channel, row, column. Incomplete patches are dropped."""
    rows, columns = pixels.shape[1] // patch_size, pixels.shape[2] // patch_size
    whole = pixels[:, : rows * patch_size, : columns * patch_size].numpy()  # which stays in its thread, as in qwen_vl
    return torch.from_numpy(rearrange(whole, "c (h ph) (w pw) -> (h w) (c ph pw)", ph=patch_size, pw=patch_size))


class ImageProcessor:
    """Turns images into items for one tower.

    Args:
        config: How images are processed.
        tower: The vision tower of the same checkpoint.

    Raises:
        CheckpointError: The two have different image sizes.
    """

    def __init__(self, config: ImageConfig, tower: VisionConfig) -> None:
        if config.size != tower.image_size:
            raise CheckpointError(
                f"preprocessor_config.json makes pictures of {config.size} pixels per side, "
                f"the vision tower takes {tower.image_size}"
            )
        self.config = config
        self.tower = tower
        self.pixel_scale = PixelScale(config.mean, config.std)

    def image(self, image: PIL.Image.Image, *, max_pixels: int | None) -> Item:
        """Cuts the middle square of an RGB image into patches. The tower takes this one size.

        Raises:
            InputError: `max_pixels` is given.
        """
        size = self.config.size
        if max_pixels is not None:
            raise InputError(f"max_pixels cannot be chosen: this model sees every picture as {size} x {size} pixels")
        middle = np.array(square(image, size), dtype=np.uint8)
        return self.pixels(torch.from_numpy(middle).permute(2, 0, 1))

    def pixels(self, pixels: UInt8[Tensor, "3 H W"]) -> Item:
        """Cuts an image into patches that already has the size of the tower."""
        patches = to_patches(pixels, self.tower.patch_size)
        placeholders = np.full(self.tower.num_tokens, PLACEHOLDER, dtype=np.int64)
        side = self.tower.grid
        return Item(
            token_ids=placeholders,
            pool=(0, 1),
            task=None,
            patches=patches,
            pixel_scale=self.pixel_scale,
            grids=((side, side),),
        )
