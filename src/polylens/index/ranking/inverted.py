"""The first stage on token vectors: the pages whose centroids are nearest to the query's tokens.

Two passes. The *lists* of the centroids that a query token is nearest to say which pages have a token there; a page
that is in none of them is taken to have a token as near as the last centroid that was looked at (Engels et al. and
Scheerer et al. 2025, XTR-WARP, https://arxiv.org/abs/2501.17788). The best few thousand pages by that are then scored
by MaxSim over all of their centroids. Neither pass reads a vector of a page.

Shapes: S query tokens, C centroids, E numbers per vector, P pages of a segment, K candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from polylens.types import FloatArray

PROBES = 8
"""Centroids that are looked at per query token."""

SHORTLIST = 4_096
"""Pages that the lists find, which are then scored by all of their centroids."""

QUERY_TOKENS = 64
"""Query tokens that are compared. Those of a longer query, such as a page's, are added up by the centroids that they
are nearest to: the sum stands for all of them, with their number as its weight."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Some pages of an index by the centroids of their tokens. The arrays may be views of files."""

    code_ends: npt.NDArray[np.int32]
    """`[P + 1]`: where the centroids of each page begin and end in `codes`."""
    codes: npt.NDArray[np.uint16]
    """The distinct centroids of each page, ascending, one page after the other."""
    list_ends: npt.NDArray[np.int32]
    """`[C + 1]`: where the pages of each centroid begin and end in `pages`."""
    pages: npt.NDArray[np.uint32]
    """The pages that have each centroid, ascending, by their numbers in this segment."""

    @property
    def num_pages(self) -> int:
        return len(self.code_ends) - 1


def page_codes(
    labels: npt.NDArray[np.uint16], lengths: Sequence[int]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16]]:
    """The distinct centroids of each page.

    Args:
        labels: The centroid of each token, one page after the other.
        lengths: How many tokens each page has.

    Returns:
        `Segment.code_ends` and `Segment.codes`.

    Example:
        >>> page_codes(np.array([7, 3, 7, 5], np.uint16), [3, 0, 1])
        (array([0, 2, 2, 3], dtype=int32), array([3, 7, 5], dtype=uint16))
    """
    page = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    both = np.unique(page << 16 | labels)
    ends = np.searchsorted(both, np.arange(len(lengths) + 1, dtype=np.int64) << 16)
    return ends.astype(np.int32), (both & 0xFFFF).astype(np.uint16)


def transposed(
    code_ends: npt.NDArray[np.int32], codes: npt.NDArray[np.uint16], num_centroids: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]:
    """`Segment.list_ends` and `Segment.pages` for the centroids of pages.

    Example:
        >>> transposed(np.array([0, 2, 2, 3], np.int32), np.array([0, 2, 2], np.uint16), 3)
        (array([0, 1, 1, 3], dtype=int32), array([0, 0, 2], dtype=uint32))
    """
    page = np.repeat(np.arange(len(code_ends) - 1, dtype=np.uint32), np.diff(code_ends))
    counts = np.bincount(codes, minlength=num_centroids)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32), page[np.argsort(codes, kind="stable")]


def similarities(query: FloatArray, centroids: FloatArray) -> FloatArray:
    """Dot products of a query's tokens with the centroids: `[S, E]`, `[C, E]` -> `[S', C]`, see `QUERY_TOKENS`."""
    found = query @ centroids.T
    if len(query) <= QUERY_TOKENS:
        return found
    labels = found.argmax(axis=1)
    kept, counts = np.unique(labels, return_counts=True)
    kept = kept[np.argsort(-counts, kind="stable")[:QUERY_TOKENS]]
    return np.stack([found[labels == label].sum(axis=0) for label in kept])


def nearest_pages(
    similar: FloatArray, segments: Sequence[Segment], n: int, keep: Sequence[npt.NDArray[np.bool_]] | None = None
) -> list[tuple[int, int]]:
    """The pages with the largest MaxSim over their centroids, as far as the lists find them.

    Args:
        similar: Of the query's tokens with the centroids, `[S, C]`; see `similarities`.
        segments: The pages.
        n: Most pages returned.
        keep: Which pages of each segment are looked among, `[P]` each; None is all.

    Returns:
        Segment and page in it, best first.
    """
    listed = [_by_lists(similar, segment) for segment in segments]
    for scores, kept in zip(listed, keep or (), strict=bool(keep)):
        scores[~kept] = -np.inf
    every = np.concatenate([np.zeros(0, np.float32), *listed])
    shortlist = max(SHORTLIST, n)
    found = np.argpartition(-every, shortlist)[:shortlist] if len(every) > shortlist else np.arange(len(every))
    found = np.sort(found[np.isfinite(every[found])])
    starts = np.cumsum([0, *(segment.num_pages for segment in segments)])
    parts = np.split(found, np.searchsorted(found, starts[1:-1]))
    pages = [part - start for part, start in zip(parts, starts.tolist(), strict=False)]
    exact = [by_codes(similar, segment, part) for segment, part in zip(segments, pages, strict=True)]
    order = np.argsort(-np.concatenate([np.zeros(0, np.float32), *exact]), kind="stable")[:n]
    numbers = np.repeat(np.arange(len(segments)), [len(part) for part in pages])
    return list(zip(numbers[order].tolist(), np.concatenate(pages)[order].tolist(), strict=True)) if segments else []


def _by_lists(similar: FloatArray, segment: Segment) -> FloatArray:
    """Per page, by how much its tokens are nearer than the last centroids that were looked at: `[S, C]` -> `[P]`."""
    total = np.zeros(segment.num_pages, np.float32)
    gained = np.zeros(segment.num_pages, np.float32)  # by the page's best list for this token, so far
    probes = min(PROBES, similar.shape[1] - 1)
    for row in similar:
        near = np.argpartition(-row, probes)[: probes + 1]
        last, *lists = near[np.argsort(row[near], kind="stable")]  # ascending: the best list has the last word
        parts = [segment.pages[segment.list_ends[each] : segment.list_ends[each + 1]] for each in lists]
        for each, part in zip(lists, parts, strict=True):
            gain = row[each] - row[last]
            total[part] += gain - gained[part]
            gained[part] = gain
        for part in parts:
            gained[part] = 0.0
    return total


def by_codes(similar: FloatArray, segment: Segment, pages: npt.NDArray[np.int64]) -> FloatArray:
    """MaxSim of the query with some pages over their centroids: `[S, C]`, `[K]` -> `[K]`; -inf without any."""
    starts = segment.code_ends[pages].astype(np.int64)
    lengths = segment.code_ends[pages + 1] - starts
    some = lengths > 0
    scores = np.full(len(pages), -np.inf, np.float32)
    if not some.any():
        return scores
    begins = np.cumsum(lengths[some]) - lengths[some]
    within = np.arange(int(lengths.sum())) - np.repeat(begins, lengths[some])
    codes = segment.codes[np.repeat(starts[some], lengths[some]) + within]
    scores[some] = 0.0
    for row in similar:
        scores[some] += np.maximum.reduceat(row[codes], begins)
    return scores
