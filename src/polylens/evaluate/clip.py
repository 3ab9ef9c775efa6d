"""The protocols of CLIP models: retrieval between images and captions both ways, and classification without training.

Shapes: N images, T captions, C classes, E width.

Radford et al. 2021, https://arxiv.org/abs/2103.00020. A caption is found where its image is among the first k; an image
where one of its captions is, whichever: that is CLIP's recall@k, and not the share of its captions. A class is the mean
of its prompts' unit vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from polylens.errors import InputError
from polylens.evaluate.metrics import recall
from polylens.evaluate.vectors import embed_side
from polylens.evaluate.webdataset import ClipSet, Sample
from polylens.nn.pooling import truncate
from polylens.runtime.embedder import Embedder
from polylens.types import FloatArray, Image

IMAGES_AT_ONCE = 32  # encoded images in memory; their vectors are kept
QUERIES_AT_ONCE = 256  # rows of the similarities in memory


@dataclass(frozen=True, slots=True)
class ClipScores:
    """The scores of one data set at one width."""

    name: str
    dim: int
    items: int
    """Images."""
    scores: dict[str, float]
    """Metric -> share, 0 to 1."""


def evaluate(
    embedder: Embedder,
    data: ClipSet,
    *,
    dims: Sequence[int] = (),
    k: int = 5,
    progress: Callable[[int], None] = lambda _: None,
) -> list[ClipScores]:
    """Scores a model on one data set, at several widths of its dense vectors.

    Args:
        embedder: The model; it must take texts and images.
        data: Captions give both directions of retrieval; classes give top-1, top-5 and the mean recall per class.
        dims: Widths, of the model's `matryoshka_dims`; none is its full width.
        k: How many results count in retrieval.
        progress: Called with the number of images of each batch.

    Returns:
        One per width.

    Raises:
        InputError: The model does not take images, or has no such width; the data cannot be read or is empty.
    """
    widths = tuple(dims) or (embedder.dim,)
    for dim in widths:
        if dim != embedder.dim and dim not in embedder.matryoshka_dims:
            known = ", ".join(map(str, embedder.matryoshka_dims))
            raise InputError(f"dims must be among {known}, got {dim}")
    if set(embedder.modalities) != {"text", "image"}:
        raise InputError(
            f"this needs a model of texts and images, got {embedder.model_id} for {embedder.modalities[0]}"
        )
    classes = data.classes
    images, said = _embed_images(embedder, data, bool(classes), progress)
    if classes:
        labels = np.array([sample.label for sample in said])
        if labels.max() >= len(classes) or labels.min() < 0:
            raise InputError(f"{data.folder} has {len(classes)} classes, and a sample of class {labels.max()}")
        texts = _embed_classes(embedder, classes, data.templates)
        return [
            ClipScores(data.name, dim, len(images), zero_shot(_cut(images, dim), _cut_classes(texts, dim), labels))
            for dim in widths
        ]
    captions = [caption for sample in said for caption in sample.captions]
    owners = np.array([number for number, sample in enumerate(said) for _ in sample.captions])
    if not captions:
        raise InputError(f"{data.folder} has neither captions nor classnames.txt")
    texts = np.stack([each.dense for each in embed_side(embedder, captions, "query")])
    return [
        ClipScores(data.name, dim, len(images), retrieval(_cut(images, dim), _cut(texts, dim), owners, k))
        for dim in widths
    ]


def retrieval(images: FloatArray, texts: FloatArray, owners: npt.NDArray[np.int64], k: int) -> dict[str, float]:
    """CLIP's recall@k in both directions.

    Args:
        images: `[N, E]`, unit rows.
        texts: `[T, E]`, unit rows.
        owners: `[T]`, the image that each caption belongs to.
        k: How many results count.

    Returns:
        "text to image" and "image to text", over captions, and over images that have captions.

    Example:
        >>> captions = np.array([[1.0, 0.0], [0.8, 0.6]])  # both are nearer to the first image
        >>> retrieval(np.eye(2), captions, np.array([0, 1]), k=1)
        {'text to image R@1': 0.5, 'image to text R@1': 1.0}
    """
    everywhere = np.arange(len(images))
    to_image = _hits(texts, images, lambda rows: owners[rows][:, None] == everywhere, k)
    captioned = np.unique(owners)
    to_text = _hits(images[captioned], texts, lambda rows: captioned[rows][:, None] == owners, k)
    return {f"text to image R@{k}": to_image, f"image to text R@{k}": to_text}


def zero_shot(images: FloatArray, classes: FloatArray, labels: npt.NDArray[np.int64]) -> dict[str, float]:
    """Classifies each image by the nearest class.

    Args:
        images: `[N, E]`, unit rows.
        classes: `[C, E]`, unit rows.
        labels: `[N]`, the right classes.

    Returns:
        "top-1" and "top-5", over images, and "mean per class", the mean over classes of the share that is right.

    Example:
        >>> zero_shot(np.eye(4), np.eye(4), np.array([0, 1, 1, 1]))["top-1"]  # the last two look like others
        0.5
    """
    right = np.zeros((len(images), 2))
    for start in range(0, len(images), QUERIES_AT_ONCE):
        rows = slice(start, start + QUERIES_AT_ONCE)
        wanted = labels[rows][:, None] == np.arange(len(classes))
        scores = images[rows] @ classes.T
        right[rows] = np.stack([recall(scores, wanted, 1), recall(scores, wanted, 5)], axis=1)
    by_class = [right[labels == label, 0].mean() for label in np.unique(labels)]
    top_1, top_5 = right.mean(axis=0).tolist()
    return {"top-1": top_1, "top-5": top_5, "mean per class": float(np.mean(by_class))}


def _hits(
    queries: FloatArray,
    documents: FloatArray,
    wanted: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.bool_]],
    k: int,
) -> float:
    found = 0
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        rows = np.arange(start, min(start + QUERIES_AT_ONCE, len(queries)))
        found += int((recall(queries[rows] @ documents.T, wanted(rows), k) > 0).sum())
    return found / len(queries)


def _embed_images(
    embedder: Embedder, data: ClipSet, classified: bool, progress: Callable[[int], None]
) -> tuple[FloatArray, list[Sample]]:
    """The images' vectors, `[N, E]`, and the samples without their images."""
    vectors: list[FloatArray] = []
    said: list[Sample] = []
    batch: list[bytes] = []

    def embed() -> None:
        for each in embed_side(embedder, [Image(image) for image in batch], "passage"):
            vectors.append(each.dense)
        progress(len(batch))
        batch.clear()

    for sample in data.samples():
        if (sample.label is None) == classified:
            has = "a class" if sample.label is None else "captions"
            raise InputError(f"sample {sample.key} of {data.folder} has not {has}, as others have")
        said.append(Sample(sample.key, b"", sample.captions, sample.label))
        batch.append(sample.image)
        if len(batch) == IMAGES_AT_ONCE:
            embed()
    if batch:
        embed()
    if not vectors:
        raise InputError(f"{data.folder} has no samples")
    return np.stack(vectors), said


def _embed_classes(embedder: Embedder, classes: Sequence[str], templates: Sequence[str]) -> FloatArray:
    """`[C, P, E]`: the vectors of every class in every prompt."""
    prompts = [template.replace("{c}", name) for name in classes for template in templates]
    vectors = np.stack([each.dense for each in embed_side(embedder, prompts, "query")])
    return vectors.reshape(len(classes), len(templates), -1)


def _cut(vectors: FloatArray, dim: int) -> FloatArray:
    if vectors.shape[-1] == dim:
        return vectors
    cut: FloatArray = truncate(torch.from_numpy(vectors), dim).numpy()
    return cut


def _cut_classes(prompts: FloatArray, dim: int) -> FloatArray:
    """Each prompt is cut to a unit vector; their mean is one again: `[C, E]`."""
    mean = _cut(prompts.reshape(-1, prompts.shape[-1]), dim).reshape(*prompts.shape[:2], -1).mean(axis=1)
    return mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)
