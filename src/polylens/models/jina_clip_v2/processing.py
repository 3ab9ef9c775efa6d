"""Processing of inputs: from texts to tokens, and from images to patches.

jina_clip_v2 facts, sections 1.4 and 1.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
from jaxtyping import UInt8
from tokenizers import Tokenizer
from torch import Tensor

from polylens.errors import CheckpointError, InputError
from polylens.models.chunks import chunk_spans
from polylens.models.eva02.images import ImageConfig, ImageProcessor, parse_image_config
from polylens.models.files import read_json, read_tokenizer
from polylens.models.jina_clip_v2.config import JinaClipConfig
from polylens.models.protocol import Item
from polylens.models.xlm_rotary.config import adapter_key


class JinaClipProcessor:
    """The processor of one checkpoint: from texts to tokens, and from images to patches.

    Args:
        config: The sizes of the model.
        image: The content of `preprocessor_config.json`; None for a checkpoint without a vision tower.
        tokenizer: The content of `tokenizer.json`.
    """

    def __init__(self, config: JinaClipConfig, image: ImageConfig | None, tokenizer: Tokenizer) -> None:
        self.config = config
        self.image_config = image
        self.tokenizer = tokenizer
        self.instructions = dict(config.text.instructions)
        self.max_pixels = image.size**2 if image is not None else 0
        self._images = None
        if image is not None and config.vision is not None:
            self._images = ImageProcessor(image, config.vision)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        ends = tokenizer.encode("").ids
        if len(ends) != 2:
            raise CheckpointError(f"tokenizer.json should put <s> before and </s> behind a text, it gives {ends}")
        self._end = ends[1]
        self._pad = tokenizer.token_to_id("<pad>")
        always_on = config.text.always_on
        names = [f"{task}.{prompt}" for task in ("retrieval",) for prompt in ("query", "passage")]
        self._names = tuple(names) if always_on is not None else config.text.lora.tasks
        self.tasks = tuple(dict.fromkeys(name.partition(".")[0] for name in self._names))

    @classmethod
    def from_folder(cls, folder: Path, config: JinaClipConfig) -> JinaClipProcessor:
        """Reads `tokenizer.json` and, for a model with a vision tower, `preprocessor_config.json`.

        Raises:
            CheckpointError: One of them is missing, broken, or belongs to another model.
        """
        image = None
        if config.vision is not None:
            image = parse_image_config(read_json(folder / "preprocessor_config.json"))
        return cls(config, image, read_tokenizer(folder))

    def resized(self, image_size: int) -> JinaClipProcessor:
        """Returns the processor of the same model for another image size.

        Args:
            image_size: Pixels per side.
        """
        assert self.image_config is not None and self.config.vision is not None
        config = replace(self.config, vision=replace(self.config.vision, image_size=image_size))
        return JinaClipProcessor(config, replace(self.image_config, size=image_size), self.tokenizer)

    def role(self, task: str | None, prompt_name: str | None) -> tuple[str | None, str]:
        """Translates a task and a prompt to (adapter, name of the instruction).

        The default is that of the published models: no instruction, and in jina-embeddings-v3 no adapter. In
        jina-clip-v2 a passage has no instruction.
        """
        if task is None and prompt_name is None:
            return None, ""
        name = "retrieval" if task is None else task
        if name == "retrieval":
            name = f"retrieval.{prompt_name or 'query'}"
        if not self._names:
            raise InputError(
                f"this checkpoint has no adapters, so it has no tasks: leave task out, got {name!r}; in transformers' "
                "form of jina-embeddings-v3 they lie beside config.json, in retrieval_query and four more folders"
            )
        if name not in self._names:
            given = name if task != "retrieval" else f"{task!r} with prompt_name {prompt_name!r}"
            raise InputError(f"task must be one of {', '.join((*self._names, 'retrieval'))}, got {given}")
        return (adapter_key(name) if self.config.text.always_on is None else None), name

    def text(self, text: str, *, task: str | None, prompt_name: str, max_length: int | None) -> Item:
        """Puts a text after its instruction, between `<s>` and `</s>`.

        It is cut to `max_length` tokens, including these two. The default is 512 tokens in jina-clip-v2, and the
        model's limit in jina-embeddings-v3. A literal `<pad>` in the text is dropped, because the published code takes
        every such token for padding.
        """
        limits = self.config.text
        limit = min(max_length or limits.default_length, limits.max_length)
        ids = self.tokenizer.encode(self.instructions.get(prompt_name, "") + text).ids
        ids = [token for token in ids if token != self._pad]
        truncated = len(ids) > limit
        if truncated:
            ids = [*ids[: max(1, limit - 1)], self._end][:limit]
        return Item(token_ids=np.asarray(ids, dtype=np.int64), pool=(0, len(ids)), task=task, truncated=truncated)

    def chunks(self, texts: Sequence[str], *, task: str | None, prompt_name: str, max_length: int | None) -> Item:
        """Puts texts after one instruction, all between `<s>` and `</s>`, with one span per text."""
        instruction = self.instructions.get(prompt_name, "")
        before = self.tokenizer.encode(instruction).ids[:-1]
        parts = [self._words(text) for text in texts]
        limit = min(max_length or self.config.text.max_length, self.config.text.max_length)
        spans = chunk_spans([len(part) for part in parts], start=len(before), limit=limit - 1)
        ids = [*before, *(token for part in parts for token in part), self._end]
        return Item(token_ids=np.asarray(ids, dtype=np.int64), pool=(0, len(ids)), task=task, chunks=spans)

    def _words(self, text: str) -> list[int]:
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return [token for token in ids if token != self._pad]

    def num_image_tokens(self, width: int, height: int) -> int:  # noqa: ARG002
        """Returns the number of tokens of an image, which is the same for every image."""
        if self.config.vision is None:
            raise InputError("this model takes texts only, it has no vision tower")
        return self.config.vision.num_tokens

    def image(self, image: PIL.Image.Image, *, task: str | None, max_pixels: int | None) -> Item:  # noqa: ARG002
        """Normalises the middle square of an RGB image and cuts it into patches. The tower takes this one size."""
        if self._images is None:
            raise InputError("this model takes texts only, it has no vision tower")
        return self._images.image(image, max_pixels=max_pixels)

    def pixels(self, pixels: UInt8[Tensor, "3 H W"], *, task: str | None) -> Item:  # noqa: ARG002
        """Normalises an image that already has the size of the tower, and cuts it into patches."""
        assert self._images is not None
        return self._images.pixels(pixels)
