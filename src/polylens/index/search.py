"""Find pages: by token vectors, dense vectors and words first, then by exact late interaction over what those found.

Three stages score a page: *dense* (cosine), *text* (BM25 over the text layer) and *late* (exact MaxSim); each of them
can rank alone, and all of them together, *fused*. In an index of more pages than are scored exactly, an index of token
vectors finds those whose late score is likely to be high (`table.token_index`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from polylens.index.ranking.cut import Cut, Ranked
from polylens.index.ranking.filters import Filters
from polylens.index.ranking.full_text import count_words
from polylens.index.ranking.fusion import fuse, share
from polylens.index.ranking.late import maxsim
from polylens.index.ranking.looks import Looks, look_places
from polylens.index.ranking.match import Evidence, Measure, measure_of
from polylens.index.ranking.places import Place, PlacesFrom, word_places
from polylens.index.ranking.snippets import snippet
from polylens.index.ranking.word_boxes import unpack
from polylens.index.table.schema import HalfArray
from polylens.index.table.snapshot import Candidate, Snapshot, StoredPage
from polylens.types import Embedding, FloatArray, Kind

By = Literal["fused", "late", "dense", "text"]
"""What ranks the pages: all stages together, or one of them alone."""

FirstStage = Literal["tokens", "dense", "text"]
"""What makes a page a candidate: the index of token vectors, its dense vector, or its words."""

RANKINGS: tuple[By, ...] = get_args(By)

CANDIDATES = 1_024
"""Pages that the dense vectors find. An index with no more pages than this is scored exactly as a whole; where there is
an index of token vectors, that finds a quarter as many in their stead."""

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
    match: float
    """How likely the page is what was asked for, from 0 to 1, whatever ranked; see `ranking.match`."""
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
    others: tuple[Hit, ...] | None = None
    """The further pages of the file that match, best first, where each file has one place in the list; else None."""
    places: tuple[Place, ...] = ()
    """The places on the page's picture that fit, best first, at most 16."""
    places_from: PlacesFrom | None = None
    """What they come from: the words there, or the looks by late interaction; None where there are none."""
    by_tokens: bool = False
    """Whether the index of token vectors found it."""

    @property
    def found_by(self) -> tuple[FirstStage, ...]:
        """The first stages that found the page; late interaction then scored it exactly."""
        found: dict[FirstStage, bool] = {
            "tokens": self.by_tokens,
            "dense": self.dense_score is not None,
            "text": self.text_score is not None,
        }
        return tuple(stage for stage, is_so in found.items() if is_so)


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """What is shown of the pages that were found."""

    words: str | None = None
    """The words that snippets and places are chosen by; None is those of the query."""
    places: bool = True
    """Whether to find the places on each page that fit."""
    looks: Looks | None = None
    """The query as it is looked for on a picture where no word of it stands; None where that cannot be done."""


def search(
    snapshot: Snapshot,
    query: Embedding,
    top: int = 10,
    candidates: int = CANDIDATES,
    *,
    by: By = "fused",
    query_words: str = "",
    filters: Filters | None = None,
    cut: Cut | None = None,
    measure: Measure | None = None,
    showing: Showing | None = None,
) -> Ranked[Hit]:
    """The best pages for a query.

    Args:
        snapshot: The index at one moment.
        query: Both outputs of the model for the query.
        top: Most pages returned.
        candidates: How many pages the dense vectors hand to late interaction, at least `top`; see `CANDIDATES`.
        by: What ranks. "dense" and "text" look only at what that stage found, "late" and "fused" at the union.
        query_words: The words of the query, for full text; "" where it has none.
        filters: Which pages to look among; they hold in every stage before anything is ranked. None is every page.
        cut: Which piece of the list is returned, of which pages; None is its beginning, of all pages.
        measure: What gives each page its match; None is the measure for models that have none of their own.
        showing: What is shown of the pages; None is what their own words and the query's share.

    Returns:
        At most `top` pages, best first. Scores that agree to four decimals are ordered by the late score, the dense
        score, the file and the page. The list ends with the pages that the first stages found, so its order is the same
        whichever piece is asked for.
    """
    where = snapshot.where(filters or Filters())
    cut = cut or Cut()
    first = _first_stages(snapshot, query, query_words, max(candidates, top), by, where)
    stages = _Stages(snapshot, query, count_words(query_words), first)
    found, scored = _ranked([each for each in first.union() if (each.file, each.page) != cut.without], by, stages)
    measure = measure or measure_of(None, "words")
    matches = measure(stages.evidence(by, found, scored)).tolist()
    groups, total = cut.groups(found, matches, top)
    shown = [index for group in groups for index in group]
    rows = [found[index].row for index in shown]
    pages = snapshot.fetch(rows)
    late = [scored[index] for index in shown] if scored else stages.scored([found[index] for index in shown])
    showing = showing or Showing()
    words = query_words if showing.words is None else showing.words
    each = [_hit(*row, query, words, by) for row in zip(late, pages, (matches[i] for i in shown), strict=True)]
    if showing.places:
        each = _placed(snapshot, each, rows, pages, words, showing.looks)
    hits = dict(zip(shown, each, strict=True))
    best = [hits[first] for first, *_ in groups]
    if cut.by_file:
        best = [replace(hits[first], others=tuple(hits[index] for index in others)) for first, *others in groups]
    num_pages = stages.num_pages if where is None else snapshot.count(where)
    num_pages -= cut.without is not None
    return Ranked(best, total=total, best=max(matches, default=None), num_pages=num_pages)


def _ranked(found: Sequence[Candidate], by: By, stages: _Stages) -> tuple[list[Candidate], list[_Scored]]:
    """The candidates that a ranking finds, best first, and the same with all scores, if it needed those."""
    if by in ("late", "fused"):
        scored = sorted(stages.scored(found), key=_by_late if by == "late" else _by_fused)
        return [each.candidate for each in scored], scored
    # A stage that ranks alone decides before any multi-vector is read.
    alone = [each for each in found if _alone(each, by) is not None]
    return sorted(alone, key=lambda each: _by_alone(each, by)), []


def _placed(
    snapshot: Snapshot,
    hits: Sequence[Hit],
    rows: Sequence[int],
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
        vectors = snapshot.multivectors([rows[at] for at in rest])
        for at, size in rest.items():
            found[at] = look_places(looks, size, vectors[rows[at]])
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


def _hit(scored: _Scored, page: StoredPage, match: float, query: Embedding, query_words: str, by: By) -> Hit:
    late = scored.late / query.num_tokens
    scores: dict[By, float | None] = {
        "fused": scored.fused,
        "late": late,
        "dense": scored.candidate.dense_score,
        "text": scored.candidate.text_score,
    }
    ranking = scores[by]
    assert ranking is not None, "a stage that ranks alone has a score for each page that it found"
    return Hit(
        file=page.file,
        page=page.page,
        score=ranking,
        match=match,
        fused_score=scored.fused,
        late_score=late,
        dense_score=scored.candidate.dense_score,
        text_score=scored.candidate.text_score,
        by_tokens=scored.candidate.by_tokens,
        text=page.text,
        snippet=snippet(page.text, query_words),
        kind=page.kind,
        language=page.language,
        modified=datetime.fromtimestamp(page.mtime_ns / 1e9).astimezone(),
    )


@dataclass(frozen=True, slots=True)
class _FirstStages:
    """What each first stage found."""

    by_tokens: Sequence[Candidate]
    near: Sequence[Candidate]
    worded: Sequence[Candidate]
    drawn: Sequence[HalfArray] = ()  # multi-vectors at random, by which one tells what score chance gives

    def union(self) -> list[Candidate]:
        """The candidates of all stages, each page once, with the scores of all."""
        found = {candidate.row: candidate for candidate in self.by_tokens}
        for candidate in self.near:
            same = found.get(candidate.row)
            found[candidate.row] = replace(candidate, by_tokens=True) if same else candidate
        for candidate in self.worded:
            same = found.get(candidate.row)
            found[candidate.row] = replace(same, text_score=candidate.text_score) if same else candidate
        return list(found.values())


def _first_stages(
    snapshot: Snapshot, query: Embedding, words: str, candidates: int, by: By, where: str | None
) -> _FirstStages:
    """All first stages that a ranking needs.

    Where the index of token vectors knows the pages, dense vectors are not asked: what only they would find has a late
    score that is too low.
    """
    few = max(TEXT_CANDIDATES, candidates // 4)
    with ThreadPoolExecutor(max_workers=1) as pool:
        worded = pool.submit(snapshot.text_candidates, words, few, where=where) if words.strip() else None
        tokens = snapshot.token_candidates(query.multivector, few, where=where) if by in ("late", "fused") else None
        near: Sequence[Candidate] = ()
        if tokens is None or not tokens.is_complete:
            near = snapshot.dense_candidates(query.dense, candidates, where=where)
        by_words = worded.result() if worded else ()
    return _FirstStages(() if tokens is None else tokens.found, near, by_words, () if tokens is None else tokens.drawn)


class _Stages:
    """The scores of the candidates of one search.

    Args:
        snapshot: The index at one moment.
        query: Both outputs of the model for the query.
        num_words: Words of the query.
        first: What the first stages found.
    """

    def __init__(self, snapshot: Snapshot, query: Embedding, num_words: int, first: _FirstStages) -> None:
        self._snapshot = snapshot
        self._query = query
        self._num_words = num_words
        self._first = first
        self.num_pages = snapshot.count()
        self._best_text = float(self._share(first.worded).max(initial=0))

    def scored(self, found: Sequence[Candidate]) -> list[_Scored]:
        """The candidates with their exact MaxSim, and with all stages fused; those that have gone are left out."""
        late = self._late([candidate.row for candidate in found])
        found = [candidate for candidate in found if candidate.row in late]
        scores = np.array([late[candidate.row] for candidate in found], np.float32)
        per_token = scores / np.float32(self._query.num_tokens)
        fused = fuse(per_token, self._share(found), _has_text(found), best_text=self._best_text)
        return [_Scored(*row) for row in zip(found, scores.tolist(), fused.tolist(), strict=True)]

    def _late(self, rows: Sequence[int]) -> dict[int, float]:
        """Exact MaxSim of pages by their rows. While some are scored, the next ones are read."""
        scores: dict[int, float] = {}
        done, size = 0, _FIRST
        with ThreadPoolExecutor(max_workers=1) as reader:
            coming = reader.submit(self._snapshot.multivectors, rows[:size])
            _ = self._by_chance  # while the first are read
            while done < len(rows):
                pages = coming.result()
                done += size
                size = max(1, _FETCHED * max(1, len(pages)) // max(1, sum(map(len, pages.values()))))
                coming = reader.submit(self._snapshot.multivectors, rows[done : done + size])
                scores.update(zip(pages, maxsim(self._query.multivector, list(pages.values())).tolist(), strict=True))
        return scores

    @cached_property
    def _by_chance(self) -> FloatArray:
        """MaxSim per query token of pages at random."""
        return maxsim(self._query.multivector, self._first.drawn) / np.float32(self._query.num_tokens)

    def evidence(self, by: By, found: Sequence[Candidate], scored: Sequence[_Scored]) -> Evidence:
        """What says how well each candidate matches.

        Args:
            by: What ranks.
            found: All candidates that it ranks.
            scored: The same, where late interaction has scored them.
        """
        dense = [np.nan if each.dense_score is None else each.dense_score for each in found]
        return Evidence(
            by=by,
            late=np.array([each.late for each in scored], np.float32) / np.float32(self._query.num_tokens),
            dense=np.array(dense, np.float32),
            text=self._share(found),
            has_text=_has_text(found),
            num_words=self._num_words,
            drawn=self._by_chance,
            num_looked=max(len(found), self.num_pages),
        )

    def _share(self, found: Sequence[Candidate]) -> FloatArray:
        return share([each.text_score for each in found], self._num_words, self.num_pages)


def _has_text(found: Sequence[Candidate]) -> npt.NDArray[np.bool_]:
    return np.array([candidate.has_text for candidate in found], dtype=bool)


def _by_fused(scored: _Scored) -> tuple[float | str, ...]:
    return _rank(scored.candidate, scored.fused, scored.late)


def _by_late(scored: _Scored) -> tuple[float | str, ...]:
    return _rank(scored.candidate, scored.late, scored.candidate.dense_score)


def _alone(candidate: Candidate, by: By) -> float | None:
    """The score by which a stage ranks a candidate without the others; None where it did not find the candidate."""
    return candidate.dense_score if by == "dense" else candidate.text_score


def _by_alone(candidate: Candidate, by: By) -> tuple[float | str, ...]:
    return _rank(candidate, _alone(candidate, by), candidate.dense_score)


def _rank(candidate: Candidate, *scores: float | None) -> tuple[float | str, ...]:
    """A key that sorts best first. The last bits of a product depend on where in the matrix it stands, so equal pages
    would come in any order if scores were not rounded."""
    ranked = [np.inf if score is None else -round(score, 4) for score in scores]
    return (*ranked, candidate.file, candidate.page)
