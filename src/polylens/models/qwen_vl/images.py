"""Processing of images: from pixels of any size to patches in merge order.

Shapes: H, W pixels; P patches, D bytes per patch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor

from polylens.errors import CheckpointError, ImageError, InputError
from polylens.models.pixels import PixelScale
from polylens.models.protocol import Grid
from polylens.models.qwen_vl.config import VisionConfig

MAX_ASPECT = 200  # longer to shorter side; the published processor refuses more


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageConfig:
    """How images are processed, from `preprocessor_config.json`."""

    patch_size: int  # pixels per side
    merge_size: int  # patches per side that become one token
    num_frames: int  # frames per patch
    min_pixels: int  # an image is enlarged to at least this area
    max_pixels: int  # and shrunk to at most this one
    mean: tuple[float, ...]  # per channel, on a scale from 0 to 1
    std: tuple[float, ...]

    @property
    def factor(self) -> int:
        """Pixels per side of one visual token; both sides of a resized image are multiples of it."""
        return self.patch_size * self.merge_size

    @property
    def pixel_scale(self) -> PixelScale:
        """How the model normalises pixels."""
        return PixelScale(self.mean, self.std)


def parse_image_config(preprocessor: Mapping[str, Any]) -> ImageConfig:
    """Reads `preprocessor_config.json`, which has `min_pixels` and `max_pixels` or, from newer writers, `size`."""
    try:
        size = preprocessor.get("size") or {}
        return ImageConfig(
            patch_size=preprocessor["patch_size"],
            merge_size=preprocessor["merge_size"],
            num_frames=preprocessor["temporal_patch_size"],
            min_pixels=preprocessor.get("min_pixels") or size["shortest_edge"],
            max_pixels=preprocessor.get("max_pixels") or size["longest_edge"],
            mean=tuple(preprocessor["image_mean"]),
            std=tuple(preprocessor["image_std"]),
        )
    except KeyError as missing:
        raise CheckpointError(f"preprocessor_config.json lacks the field {missing}") from missing
    except (TypeError, AttributeError) as wrong:
        raise CheckpointError(f"a field of preprocessor_config.json has the wrong type: {wrong}") from wrong


def render_image_config(config: ImageConfig, processor_class: str = "Qwen2_5_VLProcessor") -> dict[str, Any]:
    """Returns the `preprocessor_config.json` of a model, which names transformers' class of its whole processor."""
    return {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": processor_class,
        "patch_size": config.patch_size,
        "merge_size": config.merge_size,
        "temporal_patch_size": config.num_frames,
        "min_pixels": config.min_pixels,
        "max_pixels": config.max_pixels,
        "image_mean": list(config.mean),
        "image_std": list(config.std),
        "do_convert_rgb": True,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "resample": 3,
    }


def smart_resize(
    height: int, width: int, *, factor: int, min_pixels: int, max_pixels: int, least_side: int = 0
) -> tuple[int, int]:
    """Returns the size to which an image is resized.

    Both sides are multiples of `factor`, the area is within the bounds, and the aspect ratio is nearly kept. This is
    the function of Qwen2-VL's image processor; as in Python, halves are rounded to even.

    Args:
        height: Pixels of the image.
        width: Pixels of the image.
        factor: Pixels per side of one visual token.
        min_pixels: Smallest area after resizing.
        max_pixels: Largest area after resizing.
        least_side: Pixels to which a rounded side is raised before areas are compared. The image processor raises
            none; the functions of the same name in Qwen's utilities and on model cards raise it to `factor`.

    Raises:
        ImageError: One side is more than 200 times the other.

    Example:
        >>> smart_resize(1000, 700, factor=28, min_pixels=3136, max_pixels=602112)
        (924, 644)
    """
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise ImageError(
            f"an image's longer side may be at most {MAX_ASPECT} times the shorter one, got {width} x {height} pixels"
        )
    rows, columns = (max(least_side, round(side / factor) * factor) for side in (height, width))
    if rows * columns > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rows = max(factor, math.floor(height / shrink / factor) * factor)
        columns = max(factor, math.floor(width / shrink / factor) * factor)
    elif rows * columns < min_pixels:
        enlarge = math.sqrt(min_pixels / (height * width))
        rows = math.ceil(height * enlarge / factor) * factor
        columns = math.ceil(width * enlarge / factor) * factor
    return rows, columns


def resize(pixels: UInt8[Tensor, "3 H W"], height: int, width: int) -> UInt8[Tensor, "3 H2 W2"]:
    """Resizes bytes bicubically with antialiasing, the same operation as the published processor's resize."""
    if pixels.shape[1:] == (height, width):
        return pixels
    return F.interpolate(pixels[None], size=(height, width), mode="bicubic", antialias=True, align_corners=False)[0]


def to_patches(pixels: UInt8[Tensor, "3 H W"], config: ImageConfig) -> UInt8[Tensor, "P D"]:
    """Cuts an image into patches in merge order, each as channel, row, column: one frame, as all would be the same."""
    cut = rearrange(  # by numpy, which stays in its thread: torch would take the cores on which a model computes
        pixels.numpy(),
        "c (h mh ph) (w mw pw) -> (h w mh mw) (c ph pw)",
        mh=config.merge_size,
        mw=config.merge_size,
        ph=config.patch_size,
        pw=config.patch_size,
    )
    return torch.from_numpy(cut)


def fit(image: PIL.Image.Image, config: ImageConfig, max_pixels: int | None) -> UInt8[Tensor, "3 H W"]:
    """Returns the pixels of an RGB image, resized to what the model takes.

    Args:
        image: Of any size.
        config: The checkpoint's own limits.
        max_pixels: Another upper limit of the area, if the caller asks for one.

    Raises:
        InputError: `max_pixels` is less than the area of one visual token.
        ImageError: One side is more than 200 times the other.
    """
    least = config.factor**2
    if max_pixels is not None and max_pixels < least:
        raise InputError(f"max_pixels must be at least {least}, the area of one visual token, got {max_pixels}")
    limit = max_pixels or config.max_pixels
    height, width = smart_resize(
        image.height, image.width, factor=config.factor, min_pixels=min(config.min_pixels, limit), max_pixels=limit
    )
    return resize(torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1), height, width)


def grid_of(pixels: UInt8[Tensor, "3 H W"], config: ImageConfig) -> Grid:
    """Returns the rows and columns of patches of an image that already has a size the model takes."""
    return pixels.shape[1] // config.patch_size, pixels.shape[2] // config.patch_size


def num_visual_tokens(width: int, height: int, config: ImageConfig) -> int:
    """Returns the number of visual tokens of an image: one per square of merged patches after resizing.

    Raises:
        ImageError: One side is more than 200 times the other.
    """
    rows, columns = visual_grid(width, height, config)
    return rows * columns


def visual_grid(width: int, height: int, config: ImageConfig) -> tuple[int, int]:
    """Returns the rows and columns of an image's visual tokens, from its size before resizing.

    Raises:
        ImageError: One side is more than 200 times the other.
    """
    rows, columns = smart_resize(
        height, width, factor=config.factor, min_pixels=config.min_pixels, max_pixels=config.max_pixels
    )
    return rows // config.factor, columns // config.factor


def check_patches(image: ImageConfig, vision: VisionConfig) -> None:
    """Checks that a checkpoint cuts images into the patches that its vision tower takes.

    Raises:
        CheckpointError: `preprocessor_config.json` and `config.json` contradict each other.
    """
    ours = (image.patch_size, image.merge_size, image.num_frames)
    towers = (vision.patch_size, vision.merge_size, vision.num_frames)
    if ours != towers:
        raise CheckpointError(
            f"preprocessor_config.json has (patch, merge, frames) {ours}, the vision tower takes {towers}"
        )
