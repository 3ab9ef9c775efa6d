"""Processing of inputs: from texts to tokens, and from images to patches.

Shapes: H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from jaxtyping import UInt8
from tokenizers import Tokenizer
from torch import Tensor

from polylens.errors import CheckpointError, InputError
from polylens.models.chunks import chunk_spans, joined
from polylens.models.description import HeatGrid
from polylens.models.files import read_json, read_tokenizer
from polylens.models.jina_v4.config import JinaV4Config
from polylens.models.protocol import Item
from polylens.models.qwen_vl.images import (
    ImageConfig,
    check_patches,
    fit,
    grid_of,
    num_visual_tokens,
    parse_image_config,
    to_patches,
    visual_grid,
)

PREFIXES = {"query": "Query: ", "passage": "Passage: "}
IMAGE_TEMPLATE = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Describe the image.<|im_end|>\n"


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
        check_patches(image, config.vision)
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
        return len(self._before) + num_visual_tokens(width, height, self.image_config) + len(self._after)

    def heat_grid(self, width: int, height: int) -> HeatGrid:
        """Returns where the visual tokens of an image of this size lie on it and in its item."""
        rows, columns = visual_grid(width, height, self.image_config)
        first = len(self._before)
        return HeatGrid(rows, columns, np.arange(first, first + rows * columns))

    def image(self, image: PIL.Image.Image, *, task: str | None, max_pixels: int | None) -> Item:
        """Puts an RGB image into the published template.

        Its dense vector is pooled over the visual tokens and the mark on either side.
        """
        return self.pixels(fit(image, self.image_config, max_pixels), task=task)

    def pixels(self, pixels: UInt8[Tensor, "3 H W"], *, task: str | None) -> Item:
        """Puts an image into the template that already has a size the model takes."""
        config = self.image_config
        grid = grid_of(pixels, config)
        num_visual = grid[0] * grid[1] // config.merge_size**2
        ids = [*self._before, *[self.config.image_token_id] * num_visual, *self._after]
        # the marks stand right before and right behind the visual tokens
        pool = (len(self._before) - 1, len(self._before) + num_visual + 1)
        return Item(
            token_ids=np.asarray(ids, dtype=np.int64),
            pool=pool,
            task=task,
            patches=to_patches(pixels, config),
            pixel_scale=config.pixel_scale,
            grids=(grid,),
            image_starts=(len(self._before),),
        )
