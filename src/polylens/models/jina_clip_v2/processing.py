"""Processing of inputs: from texts to tokens, and from images to patches.

jina_clip_v2 facts, sections 1.4 and 1.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from tokenizers import Tokenizer
from torch import Tensor

from polylens.errors import CheckpointError, InputError
from polylens.models.chunks import chunk_spans
from polylens.models.files import read_json, read_tokenizer
from polylens.models.jina_clip_v2.config import JinaClipConfig
from polylens.models.protocol import Item
from polylens.models.xlm_rotary.config import adapter_key

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


def to_patches(pixels: Float[Tensor, "C H W"], patch_size: int) -> Float[Tensor, "P D"]:
    """Cuts an image into patches, row by row, each as channel, row, column. Incomplete patches are dropped."""
    rows, columns = pixels.shape[1] // patch_size, pixels.shape[2] // patch_size
    whole = pixels[:, : rows * patch_size, : columns * patch_size]
    return rearrange(whole, "c (h ph) (w pw) -> (h w) (c ph pw)", ph=patch_size, pw=patch_size)


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
        if image is not None and config.vision is not None and image.size != config.vision.image_size:
            raise CheckpointError(
                f"preprocessor_config.json makes pictures of {image.size} pixels per side, "
                f"the vision tower takes {config.vision.image_size}"
            )
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

    def image(self, image: PIL.Image.Image, *, task: str | None, max_pixels: int | None) -> Item:
        """Normalises the middle square of an RGB image and cuts it into patches. The tower takes this one size."""
        if self.image_config is None or self.config.vision is None:
            raise InputError("this model takes texts only, it has no vision tower")
        if max_pixels is not None:
            raise InputError(
                f"max_pixels cannot be chosen: this model sees every picture as {self.image_config.size} x "
                f"{self.image_config.size} pixels"
            )
        middle = np.array(square(image, self.image_config.size), dtype=np.uint8)
        return self.pixels(torch.from_numpy(middle).permute(2, 0, 1), task=task)

    def pixels(self, pixels: UInt8[Tensor, "3 H W"], *, task: str | None) -> Item:  # noqa: ARG002
        """Normalises an image that already has the size of the tower, and cuts it into patches."""
        assert self.image_config is not None and self.config.vision is not None
        mean, std = (torch.tensor(each)[:, None, None] for each in (self.image_config.mean, self.image_config.std))
        patches = to_patches((pixels.float() / 255 - mean) / std, self.config.vision.patch_size)
        placeholders = np.full(self.config.vision.num_tokens, PLACEHOLDER, dtype=np.int64)
        side = self.config.vision.grid
        return Item(token_ids=placeholders, pool=(0, 1), task=None, patches=patches, grid=(side, side))
