"""What a query looks for on the pictures of pages, by the model's late interaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from polylens.library.page_embedding import PageEmbedder
from polylens.types import Embedding

if TYPE_CHECKING:
    from polylens.index.ranking.looks import Grid, Looks
    from polylens.index.table.manifest import Manifest


class Sight(Protocol):
    """Where a model's token vectors belong: `polylens.models.description.Sight`."""

    def grid(self, width: int, height: int) -> Grid:
        """Where the tokens of a picture of this size, in pixels, lie on it."""

    def spans(self, query: str) -> Sequence[tuple[int, int]]:
        """The characters of a query that each of its tokens stands for; empty for those of the prompt."""


@runtime_checkable
class SightedEmbedder(PageEmbedder, Protocol):
    """An embedder that knows where its token vectors belong."""

    @property
    def sight(self) -> Sight | None:
        """None for a model without late interaction, or with vectors that belong to no place."""


def looks_of(
    embedder: PageEmbedder, manifest: Manifest, parts: Sequence[Any], embeddings: Sequence[Embedding]
) -> Looks | None:
    """A query as it is looked for on pictures.

    Args:
        embedder: The model of the index.
        manifest: That of the index.
        parts: The texts (str) and pictures of the query.
        embeddings: The embedding of each.

    Returns:
        None for a model without places, and for an index whose vectors are pooled: those belong to no place any more.
    """
    from polylens.index.ranking.looks import Looks

    sight = embedder.sight if isinstance(embedder, SightedEmbedder) else None
    if sight is None or manifest.pool != 1:
        return None
    vectors = [
        _of_words(sight, part, embedding) if isinstance(part, str) else embedding.multivector
        for part, embedding in zip(parts, embeddings, strict=True)
    ]
    return Looks(np.concatenate(vectors).astype(np.float32, copy=False), sight.grid)


def _of_words(sight: Sight, text: str, embedding: Embedding) -> Any:
    """The vectors of a text's words; all of them where it has none."""
    spans = sight.spans(text)[: len(embedding.multivector)]  # a long text was cut
    rows = [at for at, (first, last) in enumerate(spans) if any(map(str.isalnum, text[first:last]))]
    return embedding.multivector[rows] if rows else embedding.multivector
