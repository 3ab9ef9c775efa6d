"""The rows of a Ray dataset embedded by a pool of actors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from polylens import types
from polylens.errors import InputError
from polylens.integrations.ray.actors import Batch, Model
from polylens.library.page_embedding import PageEmbedder


class RowEmbedding:
    """Embeds the texts or images of rows; each is one of a pool of actors.

    Args:
        model: Gives the model.
        column: The column of inputs.
        is_image: Whether they are encoded images, else texts.
        options: `task` and `prompt_name`.
        multivector: Whether rows get multi-vectors as well.
    """

    def __init__(
        self,
        model: Callable[[], PageEmbedder],
        column: str,
        is_image: bool,
        options: dict[str, str],
        multivector: bool,
    ) -> None:
        self._embedder = model()
        self._column, self._is_image, self._options, self._multivector = column, is_image, options, multivector

    def __call__(self, batch: Batch) -> Batch:
        inputs = [types.Image(bytes(each)) if self._is_image else str(each) for each in batch[self._column]]
        embeddings = self._embedder.embed(inputs, **self._options)
        made: Batch = {**batch, "dense": np.stack([each.dense for each in embeddings])}
        if self._multivector:
            made["multivector"] = np.empty(len(embeddings), object)
            made["multivector"][:] = [each.multivector.tolist() for each in embeddings]
        return made


def embed(
    dataset: Any,
    model: str | Model | Callable[[], PageEmbedder],
    *,
    column: str = "text",
    images: bool = False,
    task: str = "retrieval",
    prompt_name: str = "passage",
    multivector: bool = False,
    embedders: int = 1,
    batch_size: int = 32,
    gpus: float = 0.0,
) -> Any:
    """A Ray dataset with the vectors of its rows, computed lazily by a pool of actors that Ray restarts when they die.

    Args:
        dataset: A `ray.data.Dataset`.
        model: As for `polylens.load`, or a function that gives a model.
        column: The column of texts, or of encoded images.
        images: Whether it holds images: bytes of JPEG, PNG and so on.
        task: As for `Embedder.encode`.
        prompt_name: As for `Embedder.encode`.
        multivector: Whether to add the column `multivector`, a list of vectors per row.
        embedders: Actors, each with a model of its own.
        batch_size: Rows that a model is handed at a time.
        gpus: GPUs that each actor has.

    Returns:
        The same rows with the column `dense`, a float32 vector of unit length each.

    Raises:
        InputError: There is no such column.
    """
    from ray.data import ActorPoolStrategy

    names = dataset.schema().names
    if column not in names:
        raise InputError(f"column must be one of {', '.join(names)}, got {column!r}")
    return dataset.map_batches(
        RowEmbedding,
        fn_constructor_args=(
            Model(model) if isinstance(model, str) else model,
            column,
            images,
            {"task": task, "prompt_name": prompt_name},
            multivector,
        ),
        batch_size=batch_size,
        batch_format="numpy",
        compute=ActorPoolStrategy(size=embedders),
        num_gpus=gpus or None,
    )
