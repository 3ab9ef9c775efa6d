"""Vectors that come back from a server, beside those of a plain request to `/v1/embeddings`."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import PIL.Image
from tests.support.serving import Running

ROUNDING = 2e-6  # float32: unit vectors that were computed in another batch; other texts are 0.01 and more apart
TEXTS = ["A beautiful sunset over the beach", "Grüße aus 東京", "x", "an invoice of March"]
DIM = 256  # of nano

Vectors = np.ndarray[Any, Any]


def picture(seed: int, width: int = 84, height: int = 56) -> PIL.Image.Image:
    """Noise of a size in pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


def png(seed: int, width: int = 84, height: int = 56) -> bytes:
    """Noise, as a file."""
    buffer = io.BytesIO()
    picture(seed, width, height).save(buffer, "PNG")
    return buffer.getvalue()


def plain(server: Running, value: Any, **fields: Any) -> Vectors:
    """The vectors of a plain request, in order."""
    rows = server.embed(value, **fields)["data"]
    assert [row["index"] for row in rows] == list(range(len(rows)))
    return np.array([row["embedding"] for row in rows], dtype=np.float32)


def ranking(server: Running, query: str, documents: list[str], model: str = "nano", **fields: Any) -> Any:
    """The results of a plain request for a ranking."""
    response = server.post("/v1/rerank", {"model": model, "query": query, "documents": documents, **fields})
    assert response.status_code == 200, response.text
    return response.json()["results"]


def assert_same(found: Any, expected: Vectors) -> None:
    """Same vectors in the same order; and no two of them alike, or the order could not be seen."""
    vectors = np.asarray(found, dtype=np.float32)
    assert vectors.shape == expected.shape
    assert np.abs(vectors - expected).max() < ROUNDING
    apart = np.abs(expected[:, None] - expected[None]).max(axis=-1) + np.eye(len(expected))
    assert apart.min() > 0.01


def differ(one: Any, other: Any) -> bool:
    """Whether two lists of vectors are of other texts or tasks."""
    return bool(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).max() > 0.01)


def same_direction(numbers: Any, expected: Vectors) -> bool:
    """Whether vectors of whole numbers point where those of floats do, but for rounding to 255 steps."""
    found = np.asarray(numbers, np.float32)
    cosines = (found * expected).sum(-1) / np.linalg.norm(found, axis=-1) / np.linalg.norm(expected, axis=-1)
    return bool(cosines.min() > 0.999)
