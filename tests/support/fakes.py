"""Stand-ins for slow components."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image

from polylens import types
from polylens.errors import ImageError
from polylens.types import Embedding, FloatArray


class FakeEmbedder:
    """Makes deterministic vectors without a model: one random vector per word of a text and per colour of an image.

    The dense vector is the mean of the token vectors, so texts and pages with words in common are close together.

    Args:
        model_id: The name that an index records.
        dim: Width of the dense vectors; at most `token_dim`.
        delay: Seconds per input.
        token_dim: Width of the multi-vectors.
    """

    def __init__(self, model_id: str = "fake", dim: int = 32, delay: float = 0.0, token_dim: int = 128) -> None:
        self.model_id = model_id
        self.dim = dim
        self.max_pixels = 1_003_520
        self.token_dim = token_dim
        self.delay = delay
        self.num_inputs = 0
        self.calls: list[list[Any]] = []
        self.prompt_names: list[str] = []

    def embed(self, inputs: Sequence[Any], *, task: str = "retrieval", prompt_name: str = "query") -> list[Embedding]:
        assert task == "retrieval"
        self.calls.append(list(inputs))
        self.prompt_names.append(prompt_name)
        embeddings = []
        for item in inputs:
            time.sleep(self.delay)
            tokens = np.stack([_vector(token, self.token_dim) for token in _tokens(item)])
            dense = tokens.mean(axis=0)[: self.dim]
            embeddings.append(Embedding((dense / np.linalg.norm(dense)).astype(np.float32), tokens))
            self.num_inputs += 1
        return embeddings


def _tokens(item: Any) -> list[str]:
    if isinstance(item, str):
        return ["<text>", *item.lower().split()]
    image = item.source if isinstance(item, types.Image) else item
    assert isinstance(image, PIL.Image.Image) and image.mode == "RGB", item
    if image.width > 50 * image.height:
        raise ImageError(f"is {image.width} x {image.height}, far too wide")
    colours = image.resize((8, 8), PIL.Image.Resampling.NEAREST).getcolors() or []
    return ["<image>", *(f"colour {colour}" for _, colour in sorted(colours, key=lambda found: str(found[1])))]


def _vector(token: str, dim: int) -> FloatArray:
    seed = int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest(), "big")
    vector = np.random.default_rng(seed).standard_normal(dim)
    return (vector / np.linalg.norm(vector)).astype(np.float32)
