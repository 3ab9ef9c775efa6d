"""Pages of documents as embeddings, and as rows of the index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from polylens import types
from polylens.errors import ImageError, InputError
from polylens.types import Embedding, Kind, Page

if TYPE_CHECKING:
    from polylens.index.table.schema import PageRow

MAX_EMBEDDED_CHARS = 6_000  # of a page's text layer; the rest is kept for display only


@runtime_checkable
class PageEmbedder(Protocol):
    """What a library asks of an embedder; `polylens.load` gives one."""

    @property
    def model_id(self) -> str:
        """The name under which `polylens.load` finds it again."""

    @property
    def max_pixels(self) -> int:
        """Largest area of an image that the model looks at; pages are rendered at that size."""

    def embed(self, inputs: Sequence[Any], *, task: str = "retrieval", prompt_name: str = "query") -> list[Embedding]:
        """Both outputs for each text (a str) and each image (`types.Image` or a PIL image)."""


@runtime_checkable
class PreparingEmbedder(PageEmbedder, Protocol):
    """An embedder that can prepare its inputs in other threads, before it is asked for their vectors."""

    @property
    def preparation_threads(self) -> int:
        """Number of threads that keep the model busy."""

    def prepare(self, value: Any, *, task: str = "retrieval", prompt_name: str = "query") -> Any:
        """What `embed` takes in place of an input."""


@runtime_checkable
class CalibratedEmbedder(PageEmbedder, Protocol):
    """An embedder whose scores were compared with what people want."""

    @property
    def calibration(self) -> Mapping[str, Any] | None:
        """What `polylens eval match` found for its weights; None where it was not run."""


def calibration_of(embedder: PageEmbedder) -> Mapping[str, Any] | None:
    """The calibration of an embedder; None where it has none."""
    return embedder.calibration if isinstance(embedder, CalibratedEmbedder) else None


def prepare_page(embedder: PageEmbedder, page: Page) -> tuple[Any, ...]:
    """The inputs of a page, prepared as far as the embedder can: its picture, its text, or both.

    Raises:
        InputError: The model does not take the picture.
    """
    inputs: list[str | types.Image] = []
    if page.image is not None:
        inputs.append(types.Image(page.image))
    if page.text:
        inputs.append(page.text[:MAX_EMBEDDED_CHARS])
    if not isinstance(embedder, PreparingEmbedder):
        return tuple(inputs)
    return tuple(embedder.prepare(each, task="retrieval", prompt_name="passage") for each in inputs)


def embed_pages(embedder: PageEmbedder, pages: Sequence[tuple[Any, ...]]) -> list[Embedding]:
    """One embedding per page, from `prepare_page`. Where a page has a picture and a text, the two are joined."""
    parts = iter(embedder.embed([each for page in pages for each in page], task="retrieval", prompt_name="passage"))
    return [join([next(parts) for _ in page]) for page in pages]


def embed_apart(embedder: PageEmbedder, pages: Sequence[tuple[Any, ...]]) -> list[Embedding | str]:
    """One embedding per page, from `prepare_page`; of a page that the model does not take, the reason."""
    if not pages:
        return []
    try:
        return list(embed_pages(embedder, pages))
    except InputError as error:
        if len(pages) == 1:
            return [error.message if isinstance(error, ImageError) else str(error)]
    return [one for page in pages for one in embed_apart(embedder, [page])]  # the error is about one: find out which


def join(parts: Sequence[Embedding]) -> Embedding:
    """The embedding of something that is several inputs: dense vectors added and renormalised, multi-vectors in a row.

    The evaluation wrapper of the published model joins the text and the picture of an item in this way.
    """
    if len(parts) == 1:
        return parts[0]
    dense = np.stack([part.dense for part in parts]).sum(axis=0)
    norm = max(float(np.linalg.norm(dense)), 1e-12)  # opposite vectors cancel: keep the zero vector, not NaN
    return Embedding((dense / norm).astype(np.float32), np.concatenate([part.multivector for part in parts]))


def join_alike(parts: Sequence[Embedding]) -> Embedding:
    """The embedding of a query of several parts, which count alike, however many tokens each has.

    The vectors of a part are scaled by the inverse of their number. So MaxSim, which keeps the best page token for each
    of the query and sums, gives the mean of the parts' means, times the number of all tokens: a picture of 300 tokens
    weighs no more than three words.
    """
    if len(parts) == 1:
        return parts[0]
    total = sum(part.num_tokens for part in parts)
    joined = join(parts)
    weights = [np.float32(total / (len(parts) * part.num_tokens)) for part in parts for _ in range(part.num_tokens)]
    return Embedding(joined.dense, joined.multivector * np.array(weights, np.float32)[:, None])


def page_row(kind: Kind, page: Page, embedding: Embedding, pool: int) -> PageRow:
    """A page as a row of the index.

    Args:
        kind: The kind of its document, which counts unless the page has one of its own.
        page: The page itself.
        embedding: Both outputs for it.
        pool: The pooling factor of the index's multi-vectors.
    """
    from polylens.index.ranking.language import language_of
    from polylens.index.ranking.pooling import pool_tokens
    from polylens.index.table.schema import PageRow

    if page.kind is not None:
        kind = page.kind
    elif page.image is not None and kind != "pdf":  # a picture inside a document, too
        kind = "image"
    tokens = pool_tokens(embedding.multivector, pool)
    return PageRow(
        page.number,
        kind,
        page.text,
        embedding.dense,
        tokens.astype(np.float16),
        language_of(page.text),
        page.words,
        None if page.image is None else page.image.size,
    )
