"""Find pages: by dense vectors and by words first, then by exact late interaction over what those found.

Three stages score a page: *dense* (cosine), *text* (BM25 over the text layer) and *late* (exact MaxSim); each of them
can rank alone, and all of them together, *fused*.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, get_args

import numpy as np

from polylens.index.ranking.filters import Filters
from polylens.index.ranking.full_text import count_words
from polylens.index.ranking.fusion import fuse, share
from polylens.index.ranking.late import maxsim
from polylens.index.ranking.looks import Looks, look_places
from polylens.index.ranking.places import Place, PlacesFrom, word_places
from polylens.index.ranking.snippets import snippet
from polylens.index.ranking.word_boxes import unpack
from polylens.index.table.schema import HalfArray
from polylens.index.table.snapshot import Candidate, Snapshot, StoredPage
from polylens.types import Embedding, Kind

By = Literal["fused", "late", "dense", "text"]
"""What ranks the pages: all stages together, or one of them alone."""

RANKINGS: tuple[By, ...] = get_args(By)

CANDIDATES = 1_024
"""Pages that the dense vectors find. An index with no more pages than this is scored exactly as a whole."""

TEXT_CANDIDATES = 256
"""Pages that the words find. They cost late interaction as much as the others, and the last of them share one word."""

_FIRST = 64  # pages whose multi-vectors are read at first: 32 MB where a page has 2,000 of them
_FETCHED = 32_768  # vectors that are read at a time from then on, 8 MB: 512 pages of 64 vectors, 16 of 2,000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A page that was found."""

    file: str
    """The file's path relative to the library's folder, with forward slashes."""
    page: int
    """The page's number, from 1."""
    score: float
    """The score that ranks: the reranker's where one scored the page, else that of the stage that was to rank."""
    fused_score: float
    """All stages together, at most 1; see `fusion.fuse`."""
    late_score: float
    """Exact MaxSim per query token: the mean, over the query's tokens, of the best cosine with a token of the page."""
    dense_score: float | None
    """Cosine of the dense vectors; None where those did not make the page a candidate."""
    text_score: float | None
    """BM25 of the query's words in the page's text, above 0. None where the page has none of them, or where 256 pages
    have more of them. Where no page has any, BM25 of words one letter off."""
    text: str
    """All text of the page; "" for a picture without any."""
    snippet: str
    """The passage of the text that shares most with the query."""
    kind: Kind
    language: str
    """ISO 639 code of the text's language; "" where it cannot be determined."""
    modified: datetime
    """When the file was last modified, as of its indexing; in this machine's time zone."""
    rerank_score: float | None = None
    """What a reranker scored the page, as `RankedDocument.score`; None where none did."""
    places: tuple[Place, ...] = ()
    """The places on the page's picture that fit, best first, at most 16."""
    places_from: PlacesFrom | None = None
    """What they come from: the words there, or the looks by late interaction; None where there are none."""

    @property
    def found_by(self) -> tuple[Literal["dense", "text"], ...]:
        """The first stages that found the page; late interaction then scored it exactly."""
        dense: tuple[Literal["dense"], ...] = () if self.dense_score is None else ("dense",)
        text: tuple[Literal["text"], ...] = () if self.text_score is None else ("text",)
        return dense + text


def search(
    snapshot: Snapshot,
    query: Embedding,
    top: int = 10,
    candidates: int = CANDIDATES,
    *,
    by: By = "fused",
    query_words: str = "",
    shown_words: str | None = None,
    filters: Filters | None = None,
    places: bool = True,
    looks: Looks | None = None,
) -> list[Hit]:
    """The best pages for a query.

    Args:
        snapshot: The index at one moment.
        query: Both outputs of the model for the query.
        top: Most pages returned.
        candidates: How many pages the dense vectors hand to late interaction; at least `top`.
        by: What ranks. "dense" and "text" look only at what that stage found, "late" and "fused" at the union.
        query_words: The words of the query, for full text; "" where it has none.
        shown_words: The words that snippets and places are chosen by; None is `query_words`.
        filters: Which pages to look among; they hold in every stage before anything is ranked. None is every page.
        places: Whether to find the places on each page that fit.
        looks: The query as it is looked for on a picture where no word of it stands; None where that cannot be done.

    Returns:
        At most `top` pages, best first. Scores that agree to four decimals are ordered by the late score, the dense
        score, the file and the page.
    """
    where = snapshot.where(filters or Filters())
    near = snapshot.dense_candidates(query.dense, max(candidates, top), where=where)
    worded: list[Candidate] = []
    if query_words.strip():
        worded = snapshot.text_candidates(query_words, max(TEXT_CANDIDATES, top), where=where)
    found = _union(near, worded)
    if by == "dense":  # a stage that ranks alone decides before any multi-vector is read
        found = sorted((each for each in found if each.dense_score is not None), key=_by_dense)[:top]
    elif by == "text":
        found = sorted((each for each in found if each.text_score is not None), key=_by_text)[:top]
    scored = _scored(snapshot, query, query_words, found, worded)
    if by == "late":
        scored.sort(key=lambda each: _rank(each.candidate, each.late, each.candidate.dense_score))
    elif by == "fused":
        scored.sort(key=lambda each: _rank(each.candidate, each.fused, each.late))
    best = scored[:top]
    pages = snapshot.fetch([each.candidate.row for each in best])
    words = query_words if shown_words is None else shown_words
    hits = [_hit(each, page, query, words, by) for each, page in zip(best, pages, strict=True)]
    return _placed(snapshot, hits, best, pages, words, looks) if places else hits


def _placed(
    snapshot: Snapshot,
    hits: Sequence[Hit],
    scored: Sequence[_Scored],
    pages: Sequence[StoredPage],
    words: str,
    looks: Looks | None,
) -> list[Hit]:
    """The hits with their places: by the words on the page, else by its looks, for which its vectors are read again."""
    boxes = [unpack(page.words) for page in pages]
    found = [() if box is None else word_places(page.text, box, words) for page, box in zip(pages, boxes, strict=True)]
    sources: list[PlacesFrom | None] = ["words" if each else None for each in found]
    if looks is not None:
        rest = {at: box.size for at, box in enumerate(boxes) if box is not None and not found[at]}
        vectors = snapshot.multivectors([scored[at].candidate.row for at in rest])
        for (at, size), tokens in zip(rest.items(), vectors, strict=True):
            found[at] = look_places(looks, size, tokens)
            sources[at] = "looks" if found[at] else None
    return [
        replace(hit, places=each, places_from=source) for hit, each, source in zip(hits, found, sources, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Scored:
    """A candidate with all of its scores."""

    candidate: Candidate
    late: float  # MaxSim, the sum over the query's tokens
    fused: float


def _hit(scored: _Scored, page: StoredPage, query: Embedding, query_words: str, by: By) -> Hit:
    scores: dict[By, float | None] = {
        "fused": scored.fused,
        "late": scored.late / query.num_tokens,
        "dense": scored.candidate.dense_score,
        "text": scored.candidate.text_score,
    }
    ranking = scores[by]
    assert ranking is not None, "a stage that ranks alone has a score for each page that it found"
    return Hit(
        file=page.file,
        page=page.page,
        score=ranking,
        fused_score=scored.fused,
        late_score=scored.late / query.num_tokens,
        dense_score=scored.candidate.dense_score,
        text_score=scored.candidate.text_score,
        text=page.text,
        snippet=snippet(page.text, query_words),
        kind=page.kind,
        language=page.language,
        modified=datetime.fromtimestamp(page.mtime_ns / 1e9).astimezone(),
    )


def _union(near: Sequence[Candidate], worded: Sequence[Candidate]) -> list[Candidate]:
    """The candidates of both first stages, each page once, with the scores of both."""
    found = {candidate.row: candidate for candidate in near}
    for candidate in worded:
        same = found.get(candidate.row, candidate)
        found[candidate.row] = replace(same, text_score=candidate.text_score)
    return list(found.values())


def _scored(
    snapshot: Snapshot, query: Embedding, query_words: str, found: Sequence[Candidate], worded: Sequence[Candidate]
) -> list[_Scored]:
    """The candidates with their exact MaxSim, and with all stages fused."""
    parts = _parts(snapshot, [candidate.row for candidate in found])
    scores = (maxsim(query.multivector, pages) for pages in parts)
    late = np.concatenate([np.zeros(0), *scores], dtype=np.float32)
    has_text = np.array([candidate.has_text for candidate in found], dtype=bool)
    num_words, num_pages = count_words(query_words), snapshot.count()
    text = share([each.text_score for each in found], num_words, num_pages)
    best_text = share([each.text_score for each in worded], num_words, num_pages).max(initial=0)
    fused = fuse(late / np.float32(query.num_tokens), text, has_text, best_text=float(best_text))
    return [_Scored(*row) for row in zip(found, late.tolist(), fused.tolist(), strict=True)]


def _parts(snapshot: Snapshot, rows: Sequence[int]) -> Iterator[list[HalfArray]]:
    """The multi-vectors of pages in parts; the next part is read while the caller works on this one."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        done, coming = 0, reader.submit(snapshot.multivectors, rows[:_FIRST])
        while done < len(rows):
            pages = coming.result()
            done += len(pages)
            size = max(1, _FETCHED * len(pages) // max(1, sum(map(len, pages))))
            coming = reader.submit(snapshot.multivectors, rows[done : done + size])
            yield pages


def _by_dense(candidate: Candidate) -> tuple[float | str, ...]:
    return _rank(candidate, candidate.dense_score)


def _by_text(candidate: Candidate) -> tuple[float | str, ...]:
    return _rank(candidate, candidate.text_score, candidate.dense_score)


def _rank(candidate: Candidate, *scores: float | None) -> tuple[float | str, ...]:
    """A key that sorts best first. The last bits of a product depend on where in the matrix it stands, so equal pages
    would come in any order if scores were not rounded."""
    ranked = [np.inf if score is None else -round(score, 4) for score in scores]
    return (*ranked, candidate.file, candidate.page)
