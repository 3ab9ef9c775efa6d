"""The reasons why a page was found: heat maps of the places where each word of the query matches best.

Late interaction compares every token of a query with every visual token of a page. Each visual token is a square of the
page, so the similarities form a map of the page. Shapes: R rows, C columns of squares.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import PIL.Image

from polylens.models.jina_v4.processing import PREFIXES, JinaV4Processor
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
        embedder: Its model needs late interaction; any other gives an empty explanation.
        query: A text.
        image: The page.
    """
    processor = embedder.served.header.processor
    if not isinstance(processor, JinaV4Processor):
        return Explanation(0, 0, [], [])
    adapter, prompt = processor.role("retrieval", "query")
    asked = processor.text(query, task=adapter, prompt_name=prompt, max_length=None)
    page = processor.image(image, task=adapter, max_pixels=None)
    question, seen = embedder.run([asked, page])
    assert page.grid is not None
    merge = processor.image_config.merge_size
    rows, columns = page.grid[0] // merge, page.grid[1] // merge
    cells = seen.multivector[page.token_ids == processor.config.image_token_id]
    likeness = question.multivector @ cells.T
    words = [(text, likeness[tokens]) for text, tokens in words_of(processor, query, PREFIXES[prompt], len(likeness))]
    top = max((float(part.max()) for _, part in words), default=1.0)
    return Explanation(
        rows,
        columns,
        [Word(text, float(part.max(axis=1).mean()), _heat(part, top)) for text, part in words],
        _heat(np.concatenate([part for _, part in words]), top) if words else [],
    )


def words_of(processor: JinaV4Processor, query: str, prefix: str, num_tokens: int) -> list[tuple[str, list[int]]]:
    """The words of a query, and which of its tokens each is made of; the prompt is none of them.

    Args:
        processor: Whose tokens they are.
        query: As it was asked.
        prefix: The prompt before it.
        num_tokens: How many of the tokens there are: a long query was cut.
    """
    encoded = processor.tokenizer.encode(prefix + query, add_special_tokens=False)
    spans = encoded.offsets[:num_tokens]
    words = []
    for match in _WORD.finditer(query):
        start, stop = match.start() + len(prefix), match.end() + len(prefix)
        tokens = [index for index, (first, last) in enumerate(spans) if first < stop and last > start]
        if tokens:
            words.append((match.group(), tokens))
    return words


def _heat(likeness: FloatArray, top: float) -> list[float]:
    """The best match of some tokens on each square: 0 for none at all, 1 for the best match of the whole query."""
    best = np.clip(likeness.max(axis=0) / max(top, 1e-6), 0.0, 1.0)
    return [round(float(value), 3) for value in best]
