"""The data of every claim: the same pages, crops and queries for every model, and each model's vectors of them.

Shapes: Q queries, D pages of a task, N crops, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import PIL.Image

from polylens.evaluate.metrics import Scores
from polylens.evaluate.vectors import embed_side
from polylens.lab.benchmarks.synthetic import TASKS, PageTask, embed_task, make_task
from polylens.lab.synthetic.rendered import Crop
from polylens.runtime.embedder import Embedder
from polylens.types import Embedding, FloatArray

UNIFIED, DUAL, WITHOUT_KL = "unified decoder", "two towers", "without KL distillation"
"""The names of the models in the report, by their roles."""

_BATCH = 4  # images in memory at once
_NO_PIXELS = np.zeros((0, 0, 3), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class PageVectors:
    """A model's vectors of a task."""

    queries: FloatArray
    """`[Q, E]`, unit rows."""
    pages: FloatArray
    """`[D, E]`, unit rows, of the images."""
    late: Scores | None
    """`[Q, D]`: MaxSim; None from a model without multi-vectors."""

    @property
    def dense(self) -> Scores:
        """`[Q, D]`: cosines."""
        return self.queries @ self.pages.T


@dataclass(frozen=True, slots=True)
class CropVectors:
    """A model's vectors of the crops; row i of each is of crop i."""

    images: FloatArray
    """`[N, E]`, unit rows, like the others."""
    queries: FloatArray
    """`[N, E]`, of some of the words of each."""
    texts: FloatArray
    """`[N, E]`, of all words of each."""


@dataclass(frozen=True, slots=True)
class Reading:
    """All vectors of one model."""

    matryoshka_dims: tuple[int, ...]
    pages: list[PageVectors]
    """In the order of `Study.tasks`."""
    crops: CropVectors


@dataclass(frozen=True, slots=True)
class Study:
    """Pages without their images, and each model's vectors of them."""

    tasks: list[PageTask]
    readings: dict[str, Reading]
    """Keys are `UNIFIED`, which is always there, `DUAL` and `WITHOUT_KL`."""


def read(
    models: Mapping[str, Embedder],
    crops: Iterator[Crop],
    pages: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> Study:
    """Makes the pages of all tasks of the synthetic benchmark, and embeds them and the crops with every model.

    Args:
        models: By their roles.
        crops: Held out from training; as many are used as there are pages in total.
        pages: Pages per task.
        seed: Decides pages and queries.
        progress: Called after each batch with the number of finished images, and their total.

    Raises:
        InputError: The fonts for the pages are not installed.
    """
    num_crops = len(TASKS) * pages
    done, total = 0, 2 * num_crops * len(models)

    def tell(pictures: int) -> None:
        nonlocal done
        done += pictures
        progress(done, total)

    tell(0)
    tasks: list[PageTask] = []
    found: dict[str, list[PageVectors]] = {name: [] for name in models}
    for name in TASKS:
        task = make_task(name, pages, seed)
        for model, embedder in models.items():
            found[model].append(_read_pages(task, embedder, tell))
        tasks.append(replace(task, pages=[replace(page, image=_NO_PIXELS) for page in task.pages]))
    read_crops = _read_crops(models, islice(crops, num_crops), tell)
    return Study(
        tasks,
        {
            model: Reading(tuple(embedder.matryoshka_dims), found[model], read_crops[model])
            for model, embedder in models.items()
        },
    )


def _read_pages(task: PageTask, embedder: Embedder, progress: Callable[[int], None]) -> PageVectors:
    asked, documents = embed_task(task, embedder, progress)
    late = None
    if embedder.multivector_dim is not None:
        late = embedder.similarity([a.multivector for a in asked], [d.multivector for d in documents])
    return PageVectors(_stacked(asked), _stacked(documents), late)


def _read_crops(
    models: Mapping[str, Embedder], crops: Iterable[Crop], progress: Callable[[int], None]
) -> dict[str, CropVectors]:
    images: dict[str, list[Embedding]] = {name: [] for name in models}
    queries: list[str] = []
    texts: list[str] = []
    stream = iter(crops)
    while batch := list(islice(stream, _BATCH)):
        queries += [crop.query for crop in batch]
        texts += [crop.text for crop in batch]
        pictures = [PIL.Image.fromarray(crop.image) for crop in batch]
        for name, embedder in models.items():
            images[name] += embed_side(embedder, pictures, "passage")
            progress(len(batch))
    return {
        name: CropVectors(
            _stacked(images[name]),
            _stacked(embed_side(embedder, queries, "query")),
            _stacked(embed_side(embedder, texts, "passage")),
        )
        for name, embedder in models.items()
    }


def _stacked(embeddings: Sequence[Embedding]) -> FloatArray:
    return np.stack([embedding.dense for embedding in embeddings])
