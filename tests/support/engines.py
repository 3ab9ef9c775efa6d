"""A checkpoint with two engines, and how far apart their vectors are."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from polylens.checkpoints.loading import load_model, read_header
from polylens.models.description import Header
from polylens.models.protocol import Item, Model
from polylens.runtime.engines.openvino.engine import OpenVinoEngine
from polylens.runtime.engines.protocol import Engine
from polylens.runtime.engines.torch import TorchEngine
from polylens.types import Embedding

CPU = torch.device("cpu")
TEXTS = ("a", "the harbour closes at nine", "which ferry is the last one today, and where does it leave?")


class Checkpoint:
    """A checkpoint with both engines; the cache of graphs lies beside it."""

    def __init__(self, folder: Path, *, dtype: torch.dtype = torch.float32, quantization: str | None = None) -> None:
        self.header: Header = read_header(folder)
        self.model: Model = load_model(self.header, device=CPU, dtype=dtype)
        self.cache = folder.parent / "cache"
        self.background = ThreadPoolExecutor(1)
        self.torch = TorchEngine(self.model)
        self.openvino = self.engine(quantization)

    def engine(self, quantization: str | None = None) -> OpenVinoEngine:
        assert quantization in (None, "int8", "int4")
        return OpenVinoEngine(
            self.model, self.header, quantization=quantization, cache=self.cache, background=self.background
        )

    def texts(self, texts: Sequence[str] = TEXTS, task: str | None = None) -> list[Item]:
        processor = self.header.processor
        return [processor.text(text, task=task, prompt_name="", max_length=None) for text in texts]

    def images(self) -> list[Item]:
        rng = np.random.default_rng(0)
        pictures = [Image.fromarray(rng.integers(256, size=(60, 90, 3), dtype=np.uint8)) for _ in range(2)]
        return [self.header.processor.image(picture, task=None, max_pixels=None) for picture in pictures]


def run(engine: Engine, items: Sequence[Item]) -> list[Embedding]:
    return [embeddings[0] for embeddings in engine.run(items)]


def cosines(engine: Engine, reference: Engine, items: Sequence[Item]) -> list[float]:
    pairs = zip(run(engine, items), run(reference, items), strict=True)
    return [float(mine.dense @ theirs.dense) for mine, theirs in pairs]


def largest_difference(mine: Sequence[Embedding], theirs: Sequence[Embedding]) -> float:
    return max(float(np.abs(a.dense - b.dense).max()) for a, b in zip(mine, theirs, strict=True))
