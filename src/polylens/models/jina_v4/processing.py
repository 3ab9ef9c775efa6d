"""Processing of inputs: from texts to tokens, and from images to patches.

Shapes: H, W pixels; h, w patches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from tokenizers import Tokenizer
from torch import Tensor

from polylens.errors import CheckpointError, ImageError, InputError
from polylens.models.chunks import chunk_spans, joined
from polylens.models.files import read_json, read_tokenizer
from polylens.models.jina_v4.config import JinaV4Config
from polylens.models.protocol import Item

PREFIXES = {"query": "Query: ", "passage": "Passage: "}
IMAGE_TEMPLATE = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Describe the image.<|im_end|>\n"
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


def render_image_config(config: ImageConfig) -> dict[str, Any]:
    """Returns the `preprocessor_config.json` of a model."""
    return {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen2_5_VLProcessor",
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


def smart_resize(height: int, width: int, *, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Returns the size to which an image is resized.

    Both sides are multiples of `factor`, the area is within the bounds, and the aspect ratio is nearly kept. This is
    the function of Qwen2-VL's image processor; as in Python, halves are rounded to even.

    Args:
        height: Pixels of the image.
        width: Pixels of the image.
        factor: Pixels per side of one visual token.
        min_pixels: Smallest area after resizing.
        max_pixels: Largest area after resizing.

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
    rows, columns = round(height / factor) * factor, round(width / factor) * factor
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


def to_patches(pixels: Float[Tensor, "3 H W"], config: ImageConfig) -> Float[Tensor, "P D"]:
    """Cuts an image into patches in merge order, each as channel, frame, row, column; every frame is the same."""
    patches = rearrange(
        pixels,
        "c (h mh ph) (w mw pw) -> (h w mh mw) c ph pw",
        mh=config.merge_size,
        mw=config.merge_size,
        ph=config.patch_size,
        pw=config.patch_size,
    )
    return repeat(patches, "n c ph pw -> n (c t ph pw)", t=config.num_frames)


def normalise(pixels: UInt8[Tensor, "3 H W"], config: ImageConfig) -> Float[Tensor, "3 H W"]:
    """Normalises bytes to the scale of the weights. Rescaling is part of that step, as in the published processor."""
    mean = torch.tensor(config.mean)[:, None, None] * 255
    std = torch.tensor(config.std)[:, None, None] * 255
    return (pixels.float() - mean) / std


class JinaV4Processor:
    """The processor of one checkpoint: from texts to tokens, and from images to patches.

    Args:
        config: The sizes of the model.
        image: The content of `preprocessor_config.json`.
        tokenizer: The content of `tokenizer.json`.
    """

    def __init__(self, config: JinaV4Config, image: ImageConfig, tokenizer: Tokenizer) -> None:
        self.config = config
        self.image_config = image
        self.tokenizer = tokenizer
        self.max_length = config.max_length
        self.max_pixels = image.max_pixels
        ours = (image.patch_size, image.merge_size, image.num_frames)
        towers = (config.vision.patch_size, config.vision.merge_size, config.vision.num_frames)
        if ours != towers:
            raise CheckpointError(
                f"preprocessor_config.json has (patch, merge, frames) {ours}, the vision tower takes {towers}"
            )
        tokenizer.no_truncation()
        tokenizer.no_padding()
        template = tokenizer.encode(IMAGE_TEMPLATE, add_special_tokens=False).ids
        if template.count(config.image_token_id) != 1:
            raise CheckpointError(
                f"tokenizer.json turns the image template into {template}, which should hold image_token_id "
                f"({config.image_token_id}) exactly once: tokenizer and config.json do not belong together"
            )
        at = template.index(config.image_token_id)
        self._before, self._after = template[:at], template[at + 1 :]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the adapters."""
        return self.config.lora.tasks

    def role(self, task: str | None, prompt_name: str | None) -> tuple[str | None, str]:
        """Translates a task and a prompt to (adapter, prompt).

        It understands the names of the model card and those of the HTTP API, which include the prompt. The default is
        retrieval, and the prompt of a query.

        Raises:
            InputError: There is no such task or prompt.
        """
        asked = "query" if prompt_name is None else prompt_name
        if asked not in PREFIXES:
            raise InputError(f"prompt_name must be one of {', '.join(PREFIXES)}, got {prompt_name!r}")
        name = "retrieval" if task is None else task
        base, dot, prompt = name.partition(".")
        if base not in self.tasks or (dot and (prompt not in PREFIXES or base == "text-matching")):
            api = [f"{each}.{prompt}" for each in self.tasks if each != "text-matching" for prompt in PREFIXES]
            raise InputError(f"task must be one of {', '.join((*self.tasks, *api))}, got {name!r}")
        return base, prompt or asked

    @classmethod
    def from_folder(cls, folder: Path, config: JinaV4Config) -> JinaV4Processor:
        """Reads `preprocessor_config.json` and `tokenizer.json`.

        Raises:
            CheckpointError: One of them is missing, broken, or belongs to another model.
        """
        image = parse_image_config(read_json(folder / "preprocessor_config.json"))
        return cls(config, image, read_tokenizer(folder))

    def text(self, text: str, *, task: str | None, prompt_name: str, max_length: int | None) -> Item:
        """A text behind its prompt, cut on the right to `max_length` tokens, the prompt's counted.

        `text-matching` is symmetric and always takes the query's prompt, whatever was asked: published behaviour.
        """
        prefix = PREFIXES["query" if task == "text-matching" else prompt_name]
        ids = self.tokenizer.encode(prefix + text, add_special_tokens=False).ids
        limit = min(max_length or self.max_length, self.max_length)
        kept = np.asarray(ids[:limit], dtype=np.int64)
        return Item(token_ids=kept, pool=(0, len(kept)), task=task, truncated=len(ids) > limit)

    def chunks(self, texts: Sequence[str], *, task: str | None, prompt_name: str, max_length: int | None) -> Item:
        """Puts texts after one prompt, one span per text, with a blank between two that would run together."""
        prefix = PREFIXES["query" if task == "text-matching" else prompt_name]
        before = self.tokenizer.encode(prefix, add_special_tokens=False).ids
        parts = [self.tokenizer.encode(text, add_special_tokens=False).ids for text in joined(texts)]
        limit = min(max_length or self.max_length, self.max_length)
        spans = chunk_spans([len(part) for part in parts], start=len(before), limit=limit)
        ids = [*before, *(token for part in parts for token in part)]
        return Item(token_ids=np.asarray(ids, dtype=np.int64), pool=(0, len(ids)), task=task, chunks=spans)

    def num_image_tokens(self, width: int, height: int) -> int:
        """Returns the number of tokens of the template, plus one per square of merged patches after resizing."""
        config = self.image_config
        rows, columns = smart_resize(
            height, width, factor=config.factor, min_pixels=config.min_pixels, max_pixels=config.max_pixels
        )
        return len(self._before) + rows * columns // config.factor**2 + len(self._after)

    def image(self, image: PIL.Image.Image, *, task: str | None, max_pixels: int | None) -> Item:
        """Puts an RGB image into the published template.

        Its dense vector is pooled over the visual tokens and the mark on either side.
        """
        config = self.image_config
        least = config.factor**2
        if max_pixels is not None and max_pixels < least:
            raise InputError(f"max_pixels must be at least {least}, the area of one visual token, got {max_pixels}")
        limit = max_pixels or config.max_pixels
        height, width = smart_resize(
            image.height, image.width, factor=config.factor, min_pixels=min(config.min_pixels, limit), max_pixels=limit
        )
        pixels = torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)
        return self.pixels(resize(pixels, height, width), task=task)

    def pixels(self, pixels: UInt8[Tensor, "3 H W"], *, task: str | None) -> Item:
        """Puts an image into the template that already has a size the model takes."""
        config = self.image_config
        grid = (pixels.shape[1] // config.patch_size, pixels.shape[2] // config.patch_size)
        num_visual = grid[0] * grid[1] // config.merge_size**2
        ids = [*self._before, *[self.config.image_token_id] * num_visual, *self._after]
        # the marks stand right before and right behind the visual tokens
        pool = (len(self._before) - 1, len(self._before) + num_visual + 1)
        return Item(
            token_ids=np.asarray(ids, dtype=np.int64),
            pool=pool,
            task=task,
            patches=to_patches(normalise(pixels, config), config),
            grids=(grid,),
        )
