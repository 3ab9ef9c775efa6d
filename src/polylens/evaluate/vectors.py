"""Embeds the two sides of a search and scores them in each way that a model supports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from polylens.evaluate.metrics import Scores
from polylens.runtime.prepare import Input
from polylens.types import Embedding, FloatArray


class TextModel(Protocol):
    """What a benchmark asks of a model: an `Embedder` has it, and so has anything else that is measured beside one."""

    @property
    def tasks(self) -> tuple[str, ...]: ...
    @property
    def multivector_dim(self) -> int | None: ...
    def embed(
        self,
        inputs: Sequence[Input],
        *,
        task: str | None = ...,
        prompt_name: str | None = ...,
        progress: Callable[[int], None] = ...,
    ) -> list[Embedding]: ...
    def similarity(self, queries: Any, documents: Any) -> FloatArray: ...


def embed_side(
    embedder: TextModel,
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


def similarities(embedder: TextModel, asked: Sequence[Embedding], documents: Sequence[Embedding]) -> dict[str, Scores]:
    """Returns scores `[Q, D]` by name: "dense", preceded by "multi-vector" if the model has late interaction."""
    dense = embedder.similarity(np.stack([a.dense for a in asked]), np.stack([d.dense for d in documents]))
    if embedder.multivector_dim is None:
        return {"dense": dense}
    late = embedder.similarity([a.multivector for a in asked], [d.multivector for d in documents])
    return {"multi-vector": late, "dense": dense}
