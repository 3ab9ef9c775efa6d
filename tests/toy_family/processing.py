"""Tokens and pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import PIL.Image
import torch
from tokenizers import Tokenizer

from polylens.errors import InputError
from polylens.models.chunks import chunk_spans, joined
from polylens.models.pixels import PixelScale
from polylens.models.protocol import Item, Side

SIDE = 4  # squares per side of a picture


class ToyProcessor:
    tasks = ("retrieval",)
    max_pixels = 64 * 64
    max_length = 512
    max_query_length = 64

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def role(self, task: str | None, prompt_name: str | None) -> tuple[str | None, str]:
        if (task or "retrieval").partition(".")[0] not in self.tasks:
            raise InputError(f"task must be retrieval, got {task!r}")
        return None, prompt_name or "query"

    def text(self, text: str, *, task: str | None, prompt_name: str, max_length: int | None) -> Item:
        ids = self.tokenizer.encode(text or "?").ids[: max_length or 512]
        return Item(token_ids=np.asarray(ids, dtype=np.int64), pool=(0, len(ids)), task=task)

    def chunks(self, texts: Sequence[str], *, task: str | None, prompt_name: str, max_length: int | None) -> Item:
        parts = [self.tokenizer.encode(text).ids for text in joined(texts)]
        spans = chunk_spans([len(part) for part in parts], start=0, limit=max_length or 512)
        ids = [token for part in parts for token in part]
        return Item(token_ids=np.asarray(ids, dtype=np.int64), pool=(0, len(ids)), task=task, chunks=spans)

    def num_image_tokens(self, width: int, height: int) -> int:
        return SIDE * SIDE

    def image(self, image: PIL.Image.Image, *, task: str | None, max_pixels: int | None) -> Item:
        squares = np.array(image.resize((SIDE, SIDE), PIL.Image.Resampling.BOX), dtype=np.uint8).reshape(-1, 3)
        return Item(
            token_ids=np.full(len(squares), -1, dtype=np.int64),
            pool=(0, len(squares)),
            task=task,
            patches=torch.from_numpy(squares),
            pixel_scale=PixelScale(mean=(0, 0, 0), std=(1, 1, 1)),
            grids=((SIDE, SIDE),),
        )

    def query(self, value: str | PIL.Image.Image, *, max_length: int | None, max_pixels: int | None) -> Side:
        if not isinstance(value, str):
            raise InputError("the toy scores texts only")
        return Side(text=value)

    document = query

    def pair(self, query: Side, document: Side, *, max_length: int | None) -> Item:
        return self.chunks([query.text, document.text], task=None, prompt_name="", max_length=max_length)
