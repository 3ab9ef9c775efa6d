"""Processing of inputs: from texts to tokens, and from images to patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from tokenizers import Tokenizer

from polylens.errors import CheckpointError, InputError
from polylens.models.chunks import chunk_spans, joined
from polylens.models.eva02.images import ImageConfig, ImageProcessor, parse_image_config
from polylens.models.files import read_json, read_tokenizer
from polylens.models.jina_bert.config import JinaBertConfig
from polylens.models.protocol import Item

_RETRIEVAL = ("retrieval", "retrieval.query", "retrieval.passage")


class JinaBertProcessor:
    """The processor of one checkpoint: from texts to tokens, and from images to patches.

    Args:
        config: The sizes of the model.
        image: The content of `preprocessor_config.json`; None for a checkpoint without a vision tower.
        tokenizer: The content of `tokenizer.json`.
    """

    tasks: tuple[str, ...] = ()

    def __init__(self, config: JinaBertConfig, image: ImageConfig | None, tokenizer: Tokenizer) -> None:
        self.config = config
        self.image_config = image
        self.tokenizer = tokenizer
        self.max_pixels = image.size**2 if image is not None else 0
        self._images = None
        if image is not None and config.vision is not None:
            self._images = ImageProcessor(image, config.vision)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        ends = tokenizer.encode("").ids
        if len(ends) != 2:
            raise CheckpointError(f"tokenizer.json should put one token before and one behind a text, it gives {ends}")
        self._start, self._end = ends
        # The published code of jina-clip-v1 takes every such token for padding; that of jina-embeddings-v2 does not.
        self._dropped = tokenizer.token_to_id("[PAD]") if config.vision is not None else None

    @classmethod
    def from_folder(cls, folder: Path, config: JinaBertConfig) -> JinaBertProcessor:
        """Reads `tokenizer.json` and, for a model with a vision tower, `preprocessor_config.json`.

        Raises:
            CheckpointError: One of them is missing, broken, or belongs to another model.
        """
        image = None
        if config.vision is not None:
            image = parse_image_config(read_json(folder / "preprocessor_config.json"))
        return cls(config, image, read_tokenizer(folder))

    def role(self, task: str | None, prompt_name: str | None) -> tuple[str | None, str]:
        """Returns (None, ""): these models have neither adapters nor prompts.

        Retrieval is accepted with either prompt, because queries and passages are embedded as they are.

        Raises:
            InputError: Another task or prompt is asked for.
        """
        if task is not None and task not in _RETRIEVAL:
            raise InputError(f"task must be left out or retrieval, this model has no others; got {task!r}")
        if prompt_name not in (None, "query", "passage"):
            raise InputError(f"prompt_name must be query or passage, got {prompt_name!r}")
        return None, ""

    def text(self, text: str, *, task: str | None, prompt_name: str, max_length: int | None) -> Item:  # noqa: ARG002
        """Puts a text between the marks of its tokenizer, such as `[CLS]` and `[SEP]`.

        It is cut to `max_length` tokens, including these two. The default is the model's limit of 8,192 tokens in
        jina-embeddings-v2, and 512 tokens in jina-clip-v1.
        """
        limits = self.config.text
        limit = min(max_length or limits.default_length, limits.max_length)
        ids = [self._start, *self._words(text), self._end]
        truncated = len(ids) > limit
        if truncated:
            ids = [*ids[: max(1, limit - 1)], self._end][:limit]
        return Item(token_ids=np.asarray(ids, dtype=np.int64), pool=(0, len(ids)), task=None, truncated=truncated)

    def chunks(
        self,
        texts: Sequence[str],
        *,
        task: str | None,  # noqa: ARG002
        prompt_name: str,  # noqa: ARG002
        max_length: int | None,
    ) -> Item:
        """Puts texts one after the other, all between the two marks, with one span per text."""
        parts = [self._words(text) for text in joined(texts)]
        limit = min(max_length or self.config.text.max_length, self.config.text.max_length)
        spans = chunk_spans([len(part) for part in parts], start=1, limit=limit - 1)
        ids = [self._start, *(token for part in parts for token in part), self._end]
        return Item(token_ids=np.asarray(ids, dtype=np.int64), pool=(0, len(ids)), task=None, chunks=spans)

    def _words(self, text: str) -> list[int]:
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return [token for token in ids if token != self._dropped]

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
