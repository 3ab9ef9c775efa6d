"""One score from late interaction and full text.

Late interaction sees every page and is the better judge (docs/log.md); BM25 knows for certain which words are there,
but nothing of a scan, nor of a query in another language than the page. So the late score of a page with text is
adjusted by its share of the query's words, relative to the page with the largest share: a question has words that no
page has, and those count against no page. Fusing ranks (reciprocal rank fusion) ignores all of that, and makes late
interaction worse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from polylens.types import FloatArray

TEXT_WEIGHT = 0.25
"""Weight of all words of a query. From 0.2 to 0.4 ranks hardly change: nDCG@5 within 0.01 (docs/log.md)."""

NEUTRAL = 0.9
"""Share of the best page's words with which a page neither rises nor falls relative to a scan. Below 0.8 pages with
text push scans away; at 1 pages that have every word do not rise above scans."""


def fuse(late: FloatArray, text: FloatArray, has_text: npt.NDArray[np.bool_], *, best_text: float) -> FloatArray:
    """Scores of pages by late interaction and full text together.

    Args:
        late: MaxSim divided by the number of query tokens, -1 to 1.
        text: The page's share of the query's words, 0 to 1; see `share`.
        has_text: Whether the page has any words. `text` says nothing about a page without.
        best_text: The largest share of any page, whether among these or not.

    Returns:
        One score per page, at most 1.

    Example:
        >>> late, text = np.array([0.6, 0.5, 0.6], np.float32), np.array([0, 0.8, 0], np.float32)
        >>> fuse(late, text, np.array([True, True, False]), best_text=0.8).round(3)  # no words, some, a scan
        array([0.42, 0.52, 0.6 ], dtype=float32)
    """
    moved = np.float32(TEXT_WEIGHT) * (text - np.float32(NEUTRAL * best_text))
    return np.minimum(late + has_text * moved, np.float32(1.0))


def share(bm25: Sequence[float | None], num_words: int, num_pages: int) -> FloatArray:
    """BM25 as a share of that of a page which has each word of the query, and is the only page to have it.

    Args:
        bm25: Scores; None where a page has none of the words.
        num_words: Words of the query.
        num_pages: Pages of the library.

    Returns:
        Shares from 0 to 1. Words that every page has count next to nothing, as they should.

    Example:
        >>> share([None, 4.39, 20.0], num_words=2, num_pages=120).round(2)
        array([0. , 0.5, 1. ], dtype=float32)
    """
    rarest = math.log(1 + (num_pages - 0.5) / 1.5)  # Robertson's idf of a word on one page of so many
    scores = np.array([score or 0.0 for score in bm25], np.float32)
    return np.clip(scores / max(1e-6, num_words * rarest), 0, 1)
