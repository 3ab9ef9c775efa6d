"""The reasons why a page was found: heat maps of the places where each word of the query matches best.

Late interaction compares every token of a query with every visual token of a page. Each visual token is a square of the
page, so the similarities form a map of the page. Shapes: R rows, C columns of squares.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image

from polylens import types
from polylens.index.ranking.looks import heat
from polylens.server.engine.bridge import ServedEmbedder
from polylens.types import FloatArray

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a query on a page."""

    text: str
    score: float
    """The mean, over its tokens, of the best cosine on the page."""
    heat: list[float]
    """The heat of each square, row by row, between 0 and 1."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A query on a page."""

    rows: int
    """0 where the model has no heat maps."""
    columns: int
    words: list[Word]
    whole: list[float]
    """The heat of each square over all tokens of the query."""


def explain(embedder: ServedEmbedder, query: str, image: PIL.Image.Image) -> Explanation:
    """Computes heat maps of a query over a page, at the size at which the model sees the page.

    Args:
        embedder: The embedder of the index. A model without heat maps gives an empty explanation.
        query: The text of the query.
        image: The picture of the page.
    """
    sight = embedder.sight
    if sight is None:
        return Explanation(0, 0, [], [])
    question, seen = embedder.embed([query, types.Image(image)])
    grid = sight.grid(*image.size)
    likeness = question.multivector @ seen.multivector[grid.tokens].T
    spans = sight.spans(query)[: len(likeness)]  # a long query was cut
    words = [(text, likeness[tokens]) for text, tokens in words_of(query, spans)]
    top = max((float(part.max()) for _, part in words), default=1.0)
    return Explanation(
        grid.rows,
        grid.columns,
        [Word(text, float(part.max(axis=1).mean()), _heat(part, top)) for text, part in words],
        _heat(np.concatenate([part for _, part in words]), top) if words else [],
    )


def words_of(query: str, spans: Sequence[tuple[int, int]]) -> list[tuple[str, list[int]]]:
    """The words of a query, and the tokens that each is made of; the prompt is none of them.

    Args:
        query: The query as the user wrote it.
        spans: The characters of the query that each token stands for; see `HeatMaps.spans`.

    Example:
        >>> words_of("a ship", [(0, 0), (0, 1), (1, 4), (4, 6)])
        [('a', [1]), ('ship', [2, 3])]
    """
    words = []
    for match in _WORD.finditer(query):
        start, stop = match.span()
        tokens = [index for index, (first, last) in enumerate(spans) if first < stop and last > start]
        if tokens:
            words.append((match.group(), tokens))
    return words


def _heat(likeness: FloatArray, top: float) -> list[float]:
    """The best match of some tokens on each square: 0 for none at all, 1 for the best match of the whole query."""
    return [round(float(value), 3) for value in heat(likeness, top)]
