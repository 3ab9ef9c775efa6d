"""One score from late interaction and full text.

Late interaction sees every page and is the better judge (docs/log.md); BM25 knows for certain which words are there,
but nothing of a scan, nor of a query in another language than the page. So the late score of a page with text moves by
how much of the query its words are, measured against the page that has most of it: a question as people ask it has
words that no page has, and those speak against none. Fusing ranks (reciprocal rank fusion) forgets all of that, and
makes late interaction worse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from polylens.types import FloatArray

TEXT_WEIGHT = 0.25
"""What all the words of a query weigh. From 0.2 to 0.4 ranks hardly change: nDCG@5 within 0.01 (docs/log.md)."""

NEUTRAL = 0.9
"""Share of the best page's words with which a page neither rises nor falls beside a scan. Below 0.8 scans are pushed
away by what stands on other pages; at 1 pages that have every word do not rise above them."""


def fuse(late: FloatArray, text: FloatArray, has_text: npt.NDArray[np.bool_], *, best_text: float) -> FloatArray:
    """Scores of pages by late interaction and full text together.

    Args:
        late: MaxSim divided by the query's tokens, -1 to 1.
        text: The share of the query that the page's words are, 0 to 1; see `share`.
        has_text: Whether the page has any words. Of a page without, `text` says nothing.
        best_text: The greatest share that any page has, be it among these or not.

    Returns:
        One score a page, at most 1.

    Example:
        >>> late, text = np.array([0.6, 0.5, 0.6], np.float32), np.array([0, 0.8, 0], np.float32)
        >>> fuse(late, text, np.array([True, True, False]), best_text=0.8).round(3)  # no words, some, a scan
        array([0.42, 0.52, 0.6 ], dtype=float32)
    """
    moved = np.float32(TEXT_WEIGHT) * (text - np.float32(NEUTRAL * best_text))
    return np.minimum(late + has_text * moved, np.float32(1.0))


def share(bm25: Sequence[float | None], num_words: int, num_pages: int) -> FloatArray:
    """BM25 as a share of what it would be for a page that has each word of the query, as the only one to have it.

    Args:
        bm25: Scores; None where a page has none of the words.
        num_words: Of the query.
        num_pages: Of the library.

    Returns:
        0 to 1. Words that every page has are worth next to nothing, as they should be.

    Example:
        >>> share([None, 4.39, 20.0], num_words=2, num_pages=120).round(2)
        array([0. , 0.5, 1. ], dtype=float32)
    """
    rarest = math.log(1 + (num_pages - 0.5) / 1.5)  # Robertson's idf of a word on one page of so many
    scores = np.array([score or 0.0 for score in bm25], np.float32)
    return np.clip(scores / max(1e-6, num_words * rarest), 0, 1)
