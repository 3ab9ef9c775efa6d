"""Processing of inputs: from texts to tokens, and from images to patches, within the prompts of the checkpoint.

Shapes: H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
from jaxtyping import UInt8
from tokenizers import Tokenizer
from torch import Tensor

from polylens.errors import CheckpointError, InputError
from polylens.models.files import read_json, read_tokenizer
from polylens.models.pixels import PixelScale
from polylens.models.protocol import Grid, Item
from polylens.models.qwen2_vl.config import Qwen2VLConfig
from polylens.models.qwen2_vl.prompts import PLACEHOLDER, TEXT
from polylens.models.qwen_vl.images import (
    ImageConfig,
    check_patches,
    fit,
    grid_of,
    num_visual_tokens,
    parse_image_config,
    smart_resize,
    to_patches,
)

PROMPT_NAMES = ("query", "passage")
TASKS = ("retrieval", *(f"retrieval.{name}" for name in PROMPT_NAMES))
PICTURE = (56, 56)
"""Pixels of the black picture that comes with a text where its prompt has a place for one."""


class Qwen2VLProcessor:
    """The processor of one checkpoint: from texts to tokens, and from images to patches.

    Args:
        config: The sizes of the model, and its prompts.
        image: The content of `preprocessor_config.json`; the limits of the prompts' published code come before its own.
        tokenizer: The content of `tokenizer.json`.
    """

    def __init__(self, config: Qwen2VLConfig, image: ImageConfig, tokenizer: Tokenizer) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.max_length = config.max_length
        check_patches(image, config.vision)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        prompts, area = config.prompts, image.factor**2
        least = image.min_pixels if prompts.min_tokens is None else prompts.min_tokens * area
        self.image_config = replace(image, min_pixels=least, max_pixels=prompts.max_tokens * area)
        self.max_pixels = self.image_config.max_pixels

        self._image_ids = self._encode(prompts.image)
        self._require_place(self._image_ids, prompts.image)
        self._before, _, self._after = prompts.text.partition(TEXT)
        self._num_end = len(self._encode(self._after))
        self._picture: _Picture | None = None
        if PLACEHOLDER in self._before:
            self._require_place(self._encode(self._before), prompts.text)
            self._picture = self._patches(fit(PIL.Image.new("RGB", PICTURE), self.image_config, None))
        self._least = len(self._ids(""))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The one task of these models."""
        return ("retrieval",)

    def role(self, task: str | None, prompt_name: str | None) -> tuple[None, str]:
        """Translates a task and a prompt to (no adapter, prompt).

        Queries and passages have the same prompt. gme's queries may have an instruction, and have its default one here.
        vdr's texts are queries, whose prompt its wrapper in MTEB gives to passages too; it was trained on passages that
        are pictures of pages.

        Raises:
            InputError: There is no such task or prompt.
        """
        asked = "query" if prompt_name is None else prompt_name
        if asked not in PROMPT_NAMES:
            raise InputError(f"prompt_name must be one of {', '.join(PROMPT_NAMES)}, got {prompt_name!r}")
        if task is not None and task not in TASKS:
            raise InputError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
        return None, (task or "").partition(".")[2] or asked

    @classmethod
    def from_folder(cls, folder: Path, config: Qwen2VLConfig) -> Qwen2VLProcessor:
        """Reads `preprocessor_config.json` and `tokenizer.json`.

        Raises:
            CheckpointError: One of them is missing, broken, or belongs to another model.
        """
        image = parse_image_config(read_json(folder / "preprocessor_config.json"))
        return cls(config, image, read_tokenizer(folder))

    def text(self, text: str, *, task: str | None, prompt_name: str, max_length: int | None) -> Item:  # noqa: ARG002
        """A text within its prompt, cut to `max_length` tokens, those of the prompt and its picture counted.

        gme's whole string is cut on the right, as in its published code: the last token that is left is pooled. vdr's
        published code cuts nothing; here its text is cut, and the end of its prompt stays. No item has fewer tokens
        than its prompt, whatever `max_length` is: a picture cannot be cut.
        """
        limit = max(self._least, min(max_length or self.max_length, self.max_length))
        ids = self._ids(text)
        truncated = len(ids) > limit
        if truncated:
            end = self._num_end if self.config.prompts.keeps_end else 0
            ids = ids[: limit - end] + ids[len(ids) - end :]
        if self._picture is None:
            return _item(ids, truncated=truncated)
        # the prompt's placeholders come first: one that stands in the text itself is only a token
        return _item(ids, self._picture, ids.index(self.config.trunk.image_token_id), truncated=truncated)

    def chunks(self, texts: Sequence[str], *, task: str | None, prompt_name: str, max_length: int | None) -> Item:  # noqa: ARG002
        """Refuses late chunking.

        Raises:
            InputError: Always.
        """
        raise InputError(
            "late chunking takes the mean of each text's tokens, and this model's vector is that of its last token; "
            "send the texts one by one"
        )

    def num_image_tokens(self, width: int, height: int) -> int:
        """Returns the number of tokens of the prompt, plus one per square of merged patches after resizing."""
        rows, columns = self._first_size(width, height, None)
        return len(self._image_ids) - 1 + num_visual_tokens(columns, rows, self.image_config)

    def image(self, image: PIL.Image.Image, *, task: str | None, max_pixels: int | None) -> Item:  # noqa: ARG002
        """Puts an RGB image into its prompt.

        It is resized twice, as in the published code: by Pillow, between limits of its own, then by the processor.
        """
        return self.pixels(self._fitted(image, max_pixels))

    @property
    def fuses(self) -> bool:
        """Whether the checkpoint has a prompt for an image and a text that are one input."""
        return self.config.prompts.fused is not None

    def fused(
        self,
        parts: Sequence[str | PIL.Image.Image],
        *,
        task: str | None,  # noqa: ARG002
        prompt_name: str,  # noqa: ARG002
        max_length: int | None,
    ) -> Item:
        """An RGB image and the text beside it within one prompt, as gme's `get_fused_embeddings` puts them.

        The image comes first, wherever it stands among the parts; several texts are lines of one. The whole string is
        cut on the right, as a text alone, but never within the image.

        Raises:
            InputError: The checkpoint has no such prompt, or there is more or less than one image.
        """
        prompt = self.config.prompts.fused
        if prompt is None:
            raise InputError("this model reads a text or an image and not both together")
        images = [part for part in parts if not isinstance(part, str)]
        if len(images) != 1:
            raise InputError(f"this model reads one image together with a text, got {len(images)} images")
        before, _, after = prompt.partition(TEXT)
        picture = self._patches(self._fitted(images[0], None))
        text = "\n".join(part for part in parts if isinstance(part, str))
        ids, start = self._expanded(self._encode(before + text + after), picture.grid)
        least = len(self._expanded(self._encode(before), picture.grid)[0])
        limit = max(least, min(max_length or self.max_length, self.max_length))
        return _item(ids[:limit], picture, start, truncated=len(ids) > limit)

    def _fitted(self, image: PIL.Image.Image, max_pixels: int | None) -> UInt8[Tensor, "3 H W"]:
        """Resizes an RGB image, twice as published."""
        rows, columns = self._first_size(*image.size, max_pixels)
        if image.size != (columns, rows):
            image = image.resize((columns, rows), PIL.Image.Resampling.BICUBIC)
        return fit(image, self.image_config, max_pixels)

    def pixels(self, pixels: UInt8[Tensor, "3 H W"]) -> Item:
        """Puts an image into its prompt that already has a size the model takes."""
        picture = self._patches(pixels)
        ids, start = self._expanded(self._image_ids, picture.grid)
        return _item(ids, picture, start)

    def _first_size(self, width: int, height: int, max_pixels: int | None) -> tuple[int, int]:
        """Returns the rows and columns of pixels to which Pillow resizes an image."""
        factor = self.image_config.factor
        least, most = self.image_config.min_pixels, max_pixels or self.max_pixels
        if self.config.prompts.first_bounds is not None:
            least, most = (tokens * factor**2 for tokens in self.config.prompts.first_bounds)
        return smart_resize(
            height, width, factor=factor, min_pixels=min(least, most), max_pixels=most, least_side=factor
        )

    def _patches(self, pixels: UInt8[Tensor, "3 H W"]) -> _Picture:
        config = self.image_config
        return _Picture(to_patches(pixels, config), config.pixel_scale, grid_of(pixels, config))

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _ids(self, text: str) -> list[int]:
        """Returns the tokens of a text within its prompt, with the placeholders of its picture."""
        ids = self._encode(self._before + text + self._after)
        return ids if self._picture is None else self._expanded(ids, self._picture.grid)[0]

    def _expanded(self, ids: list[int], grid: Grid) -> tuple[list[int], int]:
        """Repeats the first placeholder once per visual token; returns the tokens, and where the first of these is."""
        token = self.config.trunk.image_token_id
        start = ids.index(token)
        num_visual = grid[0] * grid[1] // self.image_config.merge_size**2
        return [*ids[:start], *[token] * num_visual, *ids[start + 1 :]], start

    def _require_place(self, ids: list[int], prompt: str) -> None:
        token = self.config.trunk.image_token_id
        if ids.count(token) != 1:
            raise CheckpointError(
                f"tokenizer.json turns the prompt {prompt!r} into {ids}, which should hold image_token_id ({token}) "
                "exactly once: tokenizer and config.json do not belong together"
            )


class _Picture(NamedTuple):
    """A picture as an item has it."""

    patches: Tensor
    scale: PixelScale
    grid: Grid


def _item(ids: list[int], picture: _Picture | None = None, start: int = 0, *, truncated: bool = False) -> Item:
    """Makes the item of a text or an image, which is pooled at its last token."""
    token_ids, pool = np.asarray(ids, dtype=np.int64), (len(ids) - 1, len(ids))
    if picture is None:
        return Item(token_ids=token_ids, pool=pool, truncated=truncated)
    return Item(
        token_ids=token_ids,
        pool=pool,
        patches=picture.patches,
        pixel_scale=picture.scale,
        grids=(picture.grid,),
        image_starts=(start,),
        truncated=truncated,
    )
