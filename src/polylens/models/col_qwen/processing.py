"""Processing of inputs: from texts to tokens, and from images to patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import UInt8
from tokenizers import Tokenizer
from torch import Tensor

from polylens.errors import CheckpointError, InputError
from polylens.models.chunks import chunk_spans, joined
from polylens.models.col_qwen.config import ColQwenConfig
from polylens.models.description import HeatGrid
from polylens.models.files import read_json, read_tokenizer
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

AUGMENTATION = "<|endoftext|>"
"""The token behind a query, ten times: its vectors are kept, and the model was trained to use them as further terms."""
NUM_AUGMENTATIONS = 10
PROMPTS = ("query", "passage")
TASK = "retrieval"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompts:
    """What stands around the inputs; transformers' layout may name its own in `processor_config.json`."""

    query: str = "Query: "
    image: str = (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Describe the image.<|im_end|><|endoftext|>"
    )


def parse_prompts(processor: Mapping[str, Any]) -> Prompts:
    """Reads `processor_config.json`.

    Raises:
        CheckpointError: A prompt is no text.
    """
    named = {"query": processor.get("query_prefix"), "image": processor.get("visual_prompt_prefix")}
    for prompt in named.values():
        if prompt is not None and not isinstance(prompt, str):
            raise CheckpointError(f"a prompt in processor_config.json must be a text, got {prompt!r}")
    return Prompts(**{name: prompt for name, prompt in named.items() if prompt is not None})


class ColQwenProcessor:
    """The processor of one checkpoint: from texts to tokens, and from images to patches.

    Args:
        config: The sizes of the model.
        image: The content of `preprocessor_config.json`.
        tokenizer: The content of `tokenizer.json`.
        prompts: What stands around the inputs.
    """

    def __init__(self, config: ColQwenConfig, image: ImageConfig, tokenizer: Tokenizer, prompts: Prompts) -> None:
        self.config = config
        self.image_config = image
        self.tokenizer = tokenizer
        self.prompts = prompts
        self.max_length = config.trunk.max_length
        self.max_pixels = image.max_pixels
        check_patches(image, config.trunk.vision)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        template, image_token_id = self._ids(prompts.image), config.trunk.image_token_id
        if template.count(image_token_id) != 1:
            raise CheckpointError(
                f"tokenizer.json turns the image template into {template}, which should hold image_token_id "
                f"({image_token_id}) exactly once: tokenizer and config.json do not belong together"
            )
        at = template.index(image_token_id)
        self._before, self._after = template[:at], template[at + 1 :]
        self._augmentation = self._ids(AUGMENTATION * NUM_AUGMENTATIONS)
        if len(self._augmentation) != NUM_AUGMENTATIONS:
            raise CheckpointError(f"tokenizer.json does not have {AUGMENTATION} as one token")

    @classmethod
    def from_folders(cls, folders: Sequence[Path], config: ColQwenConfig) -> ColQwenProcessor:
        """Reads `preprocessor_config.json`, `processor_config.json` and `tokenizer.json`.

        Args:
            folders: Those of an adapter and of its base model, or of a whole model; a file is read from the first that
                has it.
            config: The sizes of the model.

        Raises:
            CheckpointError: A file is missing, broken, or belongs to another model.
        """

        def home(name: str) -> Path:
            return next((folder for folder in folders if (folder / name).exists()), folders[0])

        name = "processor_config.json"
        has_prompts = (home(name) / name).exists()
        processor = read_json(home(name) / name) if has_prompts else {}
        name = "preprocessor_config.json"
        nested = processor.get("image_processor")  # where newer writers put it, with no file of its own
        is_nested = isinstance(nested, dict) and not (home(name) / name).exists()
        image = parse_image_config(nested if isinstance(nested, dict) and is_nested else read_json(home(name) / name))
        return cls(config, image, read_tokenizer(home("tokenizer.json")), parse_prompts(processor))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The one task."""
        return (TASK,)

    def role(self, task: str | None, prompt_name: str | None) -> tuple[str | None, str]:
        """Translates a task and a prompt to (adapter, prompt): there is no adapter to choose, and two prompts.

        Raises:
            InputError: There is no such task or prompt.
        """
        asked = "query" if prompt_name is None else prompt_name
        if asked not in PROMPTS:
            raise InputError(f"prompt_name must be one of {', '.join(PROMPTS)}, got {prompt_name!r}")
        name, dot, prompt = (TASK if task is None else task).partition(".")
        if name != TASK or (dot and prompt not in PROMPTS):
            known = (TASK, *(f"{TASK}.{each}" for each in PROMPTS))
            raise InputError(f"task must be one of {', '.join(known)}, got {task!r}")
        return None, prompt or asked

    def text(self, text: str, *, task: str | None, prompt_name: str, max_length: int | None) -> Item:
        """A query behind its prompt and before ten augmentation tokens, or a passage as it is, as published.

        A longer text is cut on the right to `max_length` tokens. Prompt and augmentation count, and the augmentation
        stays, unless it leaves no room for anything else. A passage of no token at all becomes one augmentation token,
        since an item must have a vector.
        """
        limit = min(max_length or self.max_length, self.max_length)
        is_query = prompt_name == "query"
        ids = self._ids(self.prompts.query + text if is_query else text)
        after = self._augmentation if is_query else []
        truncated = len(ids) + len(after) > limit
        room = limit - len(after)
        kept = ([*ids[:room], *after] if room > 0 else ids[:limit]) or self._augmentation[:1]
        return Item(token_ids=np.asarray(kept, dtype=np.int64), pool=(0, len(kept)), task=task, truncated=truncated)

    def chunks(self, texts: Sequence[str], *, task: str | None, prompt_name: str, max_length: int | None) -> Item:
        """Puts texts into one sequence, one span per text, with a blank between two that would run together."""
        is_query = prompt_name == "query"
        before = self._ids(self.prompts.query) if is_query else []
        after = self._augmentation if is_query else []
        parts = [self._ids(text) for text in joined(texts)]
        limit = min(max_length or self.max_length, self.max_length) - len(after)
        spans = chunk_spans([len(part) for part in parts], start=len(before), limit=limit)
        ids = [*before, *(token for part in parts for token in part), *after]
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
        """Puts an RGB image into the published template."""
        return self.pixels(fit(image, self.image_config, max_pixels), task=task)

    def pixels(self, pixels: UInt8[Tensor, "3 H W"], *, task: str | None) -> Item:
        """Puts an image into the template that already has a size the model takes."""
        config = self.image_config
        grid = grid_of(pixels, config)
        visual = [self.config.trunk.image_token_id] * (grid[0] * grid[1] // config.merge_size**2)
        ids = [*self._before, *visual, *self._after]
        return Item(
            token_ids=np.asarray(ids, dtype=np.int64),
            pool=(0, len(ids)),
            task=task,
            patches=to_patches(pixels, config),
            pixel_scale=config.pixel_scale,
            grids=(grid,),
            image_starts=(len(self._before),),
        )

    def spans(self, text: str, prompt_name: str) -> list[tuple[int, int]]:
        """Returns first character and one past the last of the text for each token of its item; empty for the rest."""
        prefix = self.prompts.query if prompt_name == "query" else ""
        after = NUM_AUGMENTATIONS if prompt_name == "query" else 0
        offsets = self.tokenizer.encode(prefix + text, add_special_tokens=False).offsets[: self.max_length - after]
        start = len(prefix)
        return [*((max(0, first - start), max(0, last - start)) for first, last in offsets), *[(0, 0)] * after]

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)
