"""Embeds the two sides of a search and scores them in each way that a model supports."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from polylens.evaluate.metrics import Scores
from polylens.runtime.embedder import Embedder
from polylens.runtime.prepare import Input
from polylens.types import Embedding


def embed_side(
    embedder: Embedder,
    inputs: Sequence[Input],
    prompt_name: str,
    *,
    task: str = "retrieval",
    progress: Callable[[int], None] = lambda _: None,
) -> list[Embedding]:
    """Embeds one side of a search, with the adapter of a task if the model has it.

    Args:
        embedder: The model.
        inputs: Texts or images.
        prompt_name: "query" or "passage".
        task: The task whose adapter is used.
        progress: Called with the number of inputs of each batch.
    """
    adapter = task if task in embedder.tasks else None
    return embedder.embed(inputs, task=adapter, prompt_name=prompt_name if adapter else None, progress=progress)


def similarities(embedder: Embedder, asked: Sequence[Embedding], documents: Sequence[Embedding]) -> dict[str, Scores]:
    """Returns scores `[Q, D]` by name: "dense", preceded by "multi-vector" if the model has late interaction."""
    dense = embedder.similarity(np.stack([a.dense for a in asked]), np.stack([d.dense for d in documents]))
    if embedder.multivector_dim is None:
        return {"dense": dense}
    late = embedder.similarity([a.multivector for a in asked], [d.multivector for d in documents])
    return {"multi-vector": late, "dense": dense}
