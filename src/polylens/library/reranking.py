"""The rerank stage of a search: a reranker scores the first pages that were found, and they are ordered by that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import PIL.Image

from polylens import types
from polylens.errors import InputError, PolylensError, WorkerError
from polylens.index.ranking.cut import Ranked
from polylens.library.page_embedding import MAX_EMBEDDED_CHARS
from polylens.library.reading import read_page
from polylens.library.results import DECIMALS
from polylens.media.image import read_image
from polylens.types import PICTURED

if TYPE_CHECKING:
    from polylens.index.search import Hit

DEFAULT_PAGES = 20

BATCH_PAGES = 8
"""Pages that are held in memory and scored at a time. With a time budget it is one, so that little exceeds it."""

Part = str | types.Image | PIL.Image.Image
"""A text or an image of a query."""


@runtime_checkable
class PageReranker(Protocol):
    """What a library asks of a reranker; `polylens.load_reranker` gives one."""

    @property
    def model_id(self) -> str:
        """Name and fingerprint of the weights."""

    @property
    def modalities(self) -> Sequence[str]:
        """ "text", "image" or both: what may stand on either side."""

    @property
    def max_pixels(self) -> int:
        """Largest area of an image that the model looks at; pages are rendered at that size."""

    def rerank(self, query: Any, documents: Sequence[Any]) -> Sequence[types.RankedDocument]:
        """The place and the score of each document, in any order. Inputs are texts (str) and PIL images."""


@dataclass(frozen=True, slots=True)
class Reranking:
    """Which pages of a search are reranked, by what, and how long that may take.

    Raises:
        InputError: `pages` or `seconds` is not above 0.

    Example:
        >>> reranker = polylens.load_reranker("jinaai/jina-reranker-m0")  # doctest: +SKIP
        >>> library.search("the mast", rerank=Reranking(reranker, pages=10, seconds=5.0))  # doctest: +SKIP
    """

    reranker: PageReranker
    pages: int = DEFAULT_PAGES
    """The first pages of the ordinary ranking that are scored. Those behind them keep their order."""
    seconds: float | None = None
    """Time budget: once it is spent no further page is scored, so it is exceeded by the last page only. The first page
    is scored whatever it takes. None sets no limit."""

    def __post_init__(self) -> None:
        if not isinstance(self.pages, int) or isinstance(self.pages, bool) or self.pages < 1:
            raise InputError(f"pages to rerank must be a whole number above 0, got {self.pages!r}")
        if self.seconds is not None and not self.seconds > 0:
            raise InputError(f"seconds to rerank must be above 0, got {self.seconds!r}; None sets no limit")


@dataclass(frozen=True, slots=True)
class Reranked:
    """What a rerank stage did."""

    model_id: str
    pages: int
    """Pages that were found and were to be scored."""
    scored: int
    """Pages that were scored: fewer where the time was spent, or where a page could not be read."""
    seconds: float


class Found(Ranked["Hit"]):
    """The pages that a search of a library found.

    Args:
        ranked: What ranking them found, with the pages in that order.
        hits: The same pages in the order in which they are shown; None is that of `ranked`.
        reranked: What the rerank stage did; None where there was none.
    """

    def __init__(
        self, ranked: Ranked[Hit], hits: Iterable[Hit] | None = None, reranked: Reranked | None = None
    ) -> None:
        super().__init__(
            ranked if hits is None else hits, total=ranked.total, best=ranked.best, num_pages=ranked.num_pages
        )
        self.reranked = reranked


def rerank_pages(
    hits: Sequence[Hit], query: Sequence[Part], reranking: Reranking, folder: Path | None
) -> tuple[list[Hit], Reranked]:
    """Orders the first pages of a ranking by a reranker's scores.

    A page is scored by its image where it has one and the reranker takes images, else by its text. One that has
    neither, whose file has gone or cannot be read, or that the model fails on is not scored.

    Args:
        hits: The pages in the order of the ordinary ranking.
        query: What was looked for. The score of a page is the mean of its scores for each text and image of the query.
        reranking: The reranker and its limits.
        folder: Where the files are; None where only the index is at hand, whose pages are scored by their texts.

    Returns:
        All pages: those that were scored, best first, then the others in their old order. What was done.

    Raises:
        InputError: The query cannot be read, or the reranker does not take such a query.
    """
    started = monotonic()
    stage = _Stage(reranking.reranker, _read_query(query, reranking.reranker.modalities), folder)
    first = hits[: reranking.pages]
    step = BATCH_PAGES if reranking.seconds is None else 1
    scores: dict[int, float] = {}
    for start in range(0, len(first), step):
        if start and reranking.seconds is not None and monotonic() - started >= reranking.seconds:
            break
        scores.update(stage.score(dict(enumerate(first[start : start + step], start))))
    best = sorted(scores, key=lambda index: (-round(scores[index], DECIMALS), index))
    ordered = [replace(hits[index], score=scores[index], rerank_score=scores[index]) for index in best]
    rest = [hit for index, hit in enumerate(hits) if index not in scores]
    seconds = monotonic() - started
    return [*ordered, *rest], Reranked(reranking.reranker.model_id, len(first), len(scores), seconds)


class _Stage:
    """Scores pages for one query."""

    def __init__(self, reranker: PageReranker, query: Sequence[str | PIL.Image.Image], folder: Path | None) -> None:
        self._reranker = reranker
        self._query = query
        self._folder = folder

    def score(self, pages: dict[int, Hit]) -> dict[int, float]:
        """The scores of those pages that can be read, by the same numbers."""
        documents = {index: document for index, hit in pages.items() if (document := self._document(hit)) is not None}
        return self._scores(documents) if documents else {}

    def _scores(self, documents: dict[int, str | PIL.Image.Image]) -> dict[int, float]:
        values = list(documents.values())
        scores = np.zeros((len(self._query), len(values)))
        try:
            for row, part in enumerate(self._query):
                for ranked in self._reranker.rerank(part, values):
                    scores[row, ranked.index] = ranked.score
        except (InputError, WorkerError):  # the query was read: the error is about one of the pages
            if len(documents) == 1:
                return {}
            apart = [self._scores({index: document}) for index, document in documents.items()]
            return {index: score for each in apart for index, score in each.items()}
        return dict(zip(documents, scores.mean(axis=0).tolist(), strict=True))

    def _document(self, hit: Hit) -> str | PIL.Image.Image | None:
        """A page as the reranker is given it; None where it cannot be."""
        text = hit.text
        if self._folder is not None and hit.kind in PICTURED and "image" in self._reranker.modalities:
            try:
                page = read_page(self._folder, hit.file, hit.page, max_pixels=self._reranker.max_pixels)
            except PolylensError:
                return None
            if page.image is not None:
                return page.image
            text = page.text
        elif self._folder is not None and not (self._folder / hit.file).is_file():
            return None
        return text[:MAX_EMBEDDED_CHARS] if text.strip() and "text" in self._reranker.modalities else None


def _read_query(query: Sequence[Part], modalities: Sequence[str]) -> list[str | PIL.Image.Image]:
    """The texts and images of a query, read once for all pages.

    Raises:
        InputError: There is none, the reranker does not take one, or an image cannot be read.
    """
    parts: list[str | PIL.Image.Image] = []
    for part in query:
        if isinstance(part, str) and not part.strip():
            continue
        modality = "text" if isinstance(part, str) else "image"
        if modality not in modalities:
            raise InputError(
                f"the query has {'a text' if modality == 'text' else 'an image'}, and this reranker takes "
                f"{' and '.join(modalities)} only"
            )
        parts.append(part if isinstance(part, str) else read_image(part))
    if not parts:
        raise InputError("the query is empty; a reranker needs a text or an image")
    return parts
