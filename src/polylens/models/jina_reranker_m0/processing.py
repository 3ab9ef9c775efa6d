"""Processing of pairs: from a query and a document, each a text or an image, to the one sequence that is scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import PIL.Image
import torch
from tokenizers import Tokenizer

from polylens.errors import CheckpointError, InputError
from polylens.models.files import read_json, read_tokenizer
from polylens.models.jina_reranker_m0.config import (
    MAX_LENGTH,
    MAX_PIXELS,
    MAX_QUERY_LENGTH,
    MIN_PIXELS,
    SCORE_TOKEN_ID,
    JinaRerankerM0Config,
)
from polylens.models.protocol import Item, Side
from polylens.models.qwen_vl.images import (
    ImageConfig,
    check_patches,
    fit,
    grid_of,
    num_visual_tokens,
    parse_image_config,
    to_patches,
)

PROMPT = "**Document**:\n{document}\n**Query**:\n{query}"
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
NUM_MARKS = 2  # tokens around the visual ones of an image

TruncationSide = Literal["left", "right"]


class JinaRerankerM0Processor:
    """The processor of one checkpoint.

    Args:
        config: The sizes of the model.
        image: The content of `preprocessor_config.json`.
        tokenizer: The content of `tokenizer.json`.
        truncation_side: The side on which a sequence that is too long loses tokens.
    """

    max_length = MAX_LENGTH
    max_query_length = MAX_QUERY_LENGTH

    def __init__(
        self,
        config: JinaRerankerM0Config,
        image: ImageConfig,
        tokenizer: Tokenizer,
        truncation_side: TruncationSide = "right",
    ) -> None:
        self.config = config
        self.image_config = image
        self.tokenizer = tokenizer
        self.truncation_side = truncation_side
        self.max_pixels = image.max_pixels
        check_patches(image, config.trunk.vision)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        marked = tokenizer.encode(IMAGE, add_special_tokens=False).ids
        if len(marked) != 1 + NUM_MARKS or marked[1] != config.trunk.image_token_id:
            raise CheckpointError(
                f"tokenizer.json turns {IMAGE} into {marked}, which should be three tokens with image_token_id "
                f"({config.trunk.image_token_id}) in the middle: tokenizer and config.json do not belong together"
            )

    @classmethod
    def from_folder(cls, folder: Path, config: JinaRerankerM0Config) -> JinaRerankerM0Processor:
        """Reads `preprocessor_config.json`, `tokenizer.json` and, where it is there, `tokenizer_config.json`.

        Raises:
            CheckpointError: One of them is missing, broken, or belongs to another model.
        """
        published = read_json(folder / "preprocessor_config.json")
        image = parse_image_config({**published, "min_pixels": MIN_PIXELS, "max_pixels": MAX_PIXELS})
        tokenizer = read_tokenizer(folder)
        return cls(config, image, tokenizer, _truncation_side(folder, tokenizer))

    def query(self, value: str | PIL.Image.Image, *, max_length: int | None, max_pixels: int | None) -> Side:
        """Prepares a query once for all its documents. A text is not cut, whatever `max_length`: published behaviour.

        Raises:
            InputError: `max_pixels` is less than the area of one visual token.
        """
        _ = max_length
        return Side(text=value) if isinstance(value, str) else self._image(value, max_pixels)

    def document(self, value: str | PIL.Image.Image, *, max_length: int | None, max_pixels: int | None) -> Side:
        """Prepares a document. A text with more than `max_length` tokens, by default 9,728, is cut and decoded again.

        Raises:
            InputError: `max_pixels` is less than the area of one visual token.
        """
        if not isinstance(value, str):
            return self._image(value, max_pixels)
        limit = max_length or self.max_length - self.max_query_length
        ids = self.tokenizer.encode(value, add_special_tokens=False).ids
        if len(ids) <= limit:
            return Side(text=value)
        kept = ids[:limit] if self.truncation_side == "right" else ids[-limit:]
        return Side(text=self.tokenizer.decode(kept, skip_special_tokens=False), truncated=True)

    def _image(self, image: PIL.Image.Image, max_pixels: int | None) -> Side:
        pixels = fit(image, self.image_config, max_pixels)
        config = self.image_config
        grid = grid_of(pixels, config)
        return Side(patches=to_patches(pixels, config), pixel_scale=config.pixel_scale, grid=grid)

    def pair(self, query: Side, document: Side, *, max_length: int | None) -> Item:
        """Joins document and query, in this order, to one sequence that ends in the score token.

        A sequence of more than `max_length` tokens is cut as the published processor cuts it, on the right unless the
        checkpoint says otherwise: a long query loses its end.

        Args:
            query: From `query`.
            document: From `document`.
            max_length: Tokens of the sequence; None, and everything above it, is the model's own limit of 10,240.

        Raises:
            InputError: The sequence is too long, and cutting it would divide an image.
        """
        sides = (document, query)
        document_text, query_text = (IMAGE if side.text is None else side.text for side in sides)
        prompt = PROMPT.format(document=document_text, query=query_text)
        ids, starts = self._expand(self.tokenizer.encode(prompt, add_special_tokens=False).ids, query, document)
        limit = min(max_length or self.max_length, self.max_length) - 1  # the score token is the last
        first, stop = 0, len(ids)
        if len(ids) > limit:
            first, stop = (0, limit) if self.truncation_side == "right" else (len(ids) - limit, len(ids))
        images = [side for side in sides if side.grid is not None]
        for start, side in zip(starts, images, strict=True):
            if start < first or start + self._num_visual(side) > stop:
                raise InputError(
                    f"the pair has {len(ids) + 1} tokens and an image of {self._num_visual(side)} among them, which "
                    f"may not be cut; max_length must leave room for it, got {limit + 1}. A shorter text or a smaller "
                    "max_pixels has fewer"
                )
        patches = [side.patches for side in images if side.patches is not None]
        return Item(
            token_ids=np.asarray([*ids[first:stop], SCORE_TOKEN_ID], dtype=np.int64),
            patches=torch.cat(patches) if len(patches) > 1 else next(iter(patches), None),
            pixel_scale=images[0].pixel_scale if images else None,
            grids=tuple(side.grid for side in images if side.grid is not None),
            image_starts=tuple(start - first for start in starts),
            truncated=len(ids) > limit or any(side.truncated for side in sides),
        )

    def _expand(self, ids: Sequence[int], query: Side, document: Side) -> tuple[list[int], list[int]]:
        """Repeats the placeholder of each image once per visual token.

        A text may contain the placeholder literally, which stays one token and no image. The document's image is the
        first placeholder, because only the prompt stands before it, and the query's is the last one.

        Returns:
            The tokens, and the first visual token of each image.
        """
        image_token_id = self.config.trunk.image_token_id
        places = [place for place, token in enumerate(ids) if token == image_token_id]
        images = [(places[at], side) for at, side in ((0, document), (-1, query)) if side.grid is not None]
        expanded: list[int] = []
        starts: list[int] = []
        done = 0
        for place, side in images:
            expanded += ids[done:place]
            starts.append(len(expanded))
            expanded += [image_token_id] * self._num_visual(side)
            done = place + 1
        return [*expanded, *ids[done:]], starts

    def _num_visual(self, side: Side) -> int:
        assert side.grid is not None
        return side.grid[0] * side.grid[1] // self.image_config.merge_size**2

    def num_image_tokens(self, width: int, height: int) -> int:
        """Returns the number of tokens of an image: its marks, and one per square of merged patches after resizing."""
        return NUM_MARKS + num_visual_tokens(width, height, self.image_config)


def _truncation_side(folder: Path, tokenizer: Tokenizer) -> TruncationSide:
    """Returns where transformers cuts: as `tokenizer_config.json` says, else as `tokenizer.json`, else on the right."""
    path = folder / "tokenizer_config.json"
    saved = tokenizer.truncation or {}
    side = (read_json(path) if path.exists() else {}).get("truncation_side", saved.get("direction", "right"))
    if side not in ("left", "right"):
        raise CheckpointError(f"truncation_side of tokenizer_config.json must be 'left' or 'right', got {side!r}")
    return "left" if side == "left" else "right"
