"""Find pages: by dense vectors and by words first, then by exact late interaction over what those found.

Three stages score a page: *dense* (cosine), *text* (BM25 over the text layer) and *late* (exact MaxSim); any of them
can rank, and so can all together, *fused*.

Shapes: S query tokens, T page tokens, E their width, 128.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from polylens.index.ranking.filters import Filters
from polylens.index.ranking.full_text import UNSPACED, WORD, count_words, folded, may_be_misspelt, one_letter_apart
from polylens.index.ranking.fusion import fuse, share
from polylens.index.table.store import Candidate, HalfArray, Snapshot, Store
from polylens.types import Embedding, FloatArray, Kind

By = Literal["fused", "late", "dense", "text"]
"""What ranks the pages."""

RANKINGS: tuple[By, ...] = get_args(By)

CANDIDATES = 1_024
"""Pages that the dense vectors find. Where the index holds no more than that, every page is scored exactly."""

TEXT_CANDIDATES = 256
"""Pages that the words find. They cost late interaction as much as the others, and the last of them have one word."""

_FIRST = 64  # pages whose multi-vectors are read at first: 32 MB where a page has 2,000 of them
_FETCHED = 32_768  # vectors that are read at a time from then on, 8 MB: 512 pages of 64 vectors, 16 of 2,000

SNIPPET_CHARS = 200

_MOST_MISSPELT = 20  # words of a query that snippets are looked for with one letter off; a page is a query as well

_CHUNK = 4_096  # page tokens turned into float32 at a time: 2 MB, which stays in the cache

_SIGN_AND_REST = np.uint32(0x8FFF_E000).view(np.int32)  # where a float16's bits come to lie in a float32
_LARGER = np.float32(2**112)  # the exponents of float16 and float32 count from 15 and from 127


@dataclass(frozen=True, slots=True)
class Hit:
    """A page that was found."""

    file: str
    """Relative to the library's folder, with forward slashes."""
    page: int
    """From 1."""
    score: float
    """Exact MaxSim: the sum, over the query's tokens, of the best cosine with a token of the page."""
    dense_score: float | None
    """Cosine of the dense vectors; None where those did not make it a candidate."""
    text: str
    """All text of the page; "" for a picture without any."""
    kind: Kind
    query_tokens: int
    """Tokens of the query: the most that `score` can be."""
    language: str
    """Of the text, as its ISO 639 code; "" where it cannot be told."""
    modified: datetime
    """When the file was modified last, as of its indexing; in this machine's time zone."""
    snippet: str = ""
    """The part of the text that shares most with the query."""
    text_score: float | None = None
    """BM25 of the query's words in the page's text, above 0; None where it has none of them, or where 256 pages have
    more of them. Where no page has any: of words one letter off."""
    fused_score: float = 0.0
    """All stages together, at most 1; see `fusion.fuse`."""

    @property
    def found_by(self) -> tuple[Literal["dense", "text"], ...]:
        """The first stages that found it; late interaction then scored it exactly."""
        dense: tuple[Literal["dense"], ...] = () if self.dense_score is None else ("dense",)
        text: tuple[Literal["text"], ...] = () if self.text_score is None else ("text",)
        return dense + text


def search(
    store: Store,
    query: Embedding,
    top: int = 10,
    candidates: int = CANDIDATES,
    *,
    by: By = "fused",
    query_words: str = "",
    filters: Filters | None = None,
) -> list[Hit]:
    """The best pages for a query.

    Args:
        store: The index.
        query: Both outputs of the model for the query.
        top: How many pages are wanted.
        candidates: How many the dense vectors hand to late interaction; at least `top` are taken.
        by: What ranks them. "dense" and "text" look at what that stage found alone, "late" and "fused" at the union.
        query_words: The words of the query, for full text and to choose the snippets by; "" where it has none.
        filters: To look among some pages only; in every stage they hold before anything is ranked.

    Returns:
        At most `top` pages, best first. Scores that agree to four decimals are ordered by the late score, the dense
        score, the file and the page.
    """
    try:
        return _search(store.snapshot(), query, top, candidates, by, query_words, filters or Filters())
    except (OSError, RuntimeError):
        # That very version was compacted away under a slow search: once more, on the latest.
        return _search(store.snapshot(), query, top, candidates, by, query_words, filters or Filters())


@dataclass(frozen=True, slots=True)
class _Scored:
    """A candidate with all of its scores."""

    candidate: Candidate
    late: float
    fused: float


def _search(
    snapshot: Snapshot, query: Embedding, top: int, candidates: int, by: By, query_words: str, filters: Filters
) -> list[Hit]:
    where = snapshot.where(filters)
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
        scored.sort(key=lambda each: _place(each.candidate, each.late, each.candidate.dense_score))
    elif by == "fused":
        scored.sort(key=lambda each: _place(each.candidate, each.fused, each.late))
    best = scored[:top]
    pages = snapshot.fetch([each.candidate.row for each in best])
    return [
        Hit(
            file=page.file,
            page=page.page,
            score=each.late,
            dense_score=each.candidate.dense_score,
            text=page.text,
            kind=page.kind,
            query_tokens=len(query.multivector),
            language=page.language,
            modified=datetime.fromtimestamp(page.mtime_ns / 1e9).astimezone(),
            snippet=snippet(page.text, query_words),
            text_score=each.candidate.text_score,
            fused_score=each.fused,
        )
        for each, page in zip(best, pages, strict=True)
    ]


def _union(near: Sequence[Candidate], worded: Sequence[Candidate]) -> list[Candidate]:
    """What two first stages found, each page once, with the scores of both."""
    found = {candidate.row: candidate for candidate in near}
    for candidate in worded:
        twin = found.get(candidate.row, candidate)
        found[candidate.row] = replace(twin, text_score=candidate.text_score)
    return list(found.values())


def _scored(
    snapshot: Snapshot, query: Embedding, query_words: str, found: Sequence[Candidate], worded: Sequence[Candidate]
) -> list[_Scored]:
    """Exact MaxSim of the candidates, and that fused with their words."""
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
    """The multi-vectors of pages, some at a time; the next are read while the caller is at work on these."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        done, coming = 0, reader.submit(snapshot.multivectors, rows[:_FIRST])
        while done < len(rows):
            pages = coming.result()
            done += len(pages)
            size = max(1, _FETCHED * len(pages) // max(1, sum(map(len, pages))))
            coming = reader.submit(snapshot.multivectors, rows[done : done + size])
            yield pages


def _by_dense(candidate: Candidate) -> tuple[float | str, ...]:
    return _place(candidate, candidate.dense_score)


def _by_text(candidate: Candidate) -> tuple[float | str, ...]:
    return _place(candidate, candidate.text_score, candidate.dense_score)


def _place(candidate: Candidate, *scores: float | None) -> tuple[float | str, ...]:
    """A key that sorts best first. What a product comes to in its last bits depends on where in the matrix it stands,
    so pages that are alike would come in any order if scores were not rounded."""
    ranked = [np.inf if score is None else -round(score, 4) for score in scores]
    return (*ranked, candidate.file, candidate.page)


def maxsim(query: FloatArray, pages: Sequence[npt.NDArray[Any]]) -> FloatArray:
    """Late-interaction score of a query with each page: each query token keeps its best page token, then we sum.

    Khattab & Zaharia 2020, https://arxiv.org/abs/2004.12832.

    Args:
        query: Unit-length token vectors, `[S, E]`.
        pages: Unit-length token vectors of each page, `[T, E]`, in any precision; the products are float32.

    Returns:
        One score a page, between -S and S; -inf where a page has no token.

    Example:
        >>> maxsim(np.eye(2, dtype=np.float32), [np.array([[1.0, 0.0], [0.6, 0.8]]), np.zeros((0, 2))])
        array([ 1.8, -inf], dtype=float32)
    """
    query = np.ascontiguousarray(query, np.float32)
    scores = np.full(len(pages), -np.inf, np.float32)
    for group in _groups(pages):
        tokens = np.concatenate([pages[i] for i in group])
        starts = np.cumsum([0, *(len(pages[i]) for i in group[:-1])])
        scores[group] = np.maximum.reduceat(_products(query, tokens), starts, axis=1).sum(axis=0)
    return scores


def _products(query: FloatArray, tokens: npt.NDArray[Any]) -> FloatArray:
    """Every query token with every page token in float32: `[S, E]`, `[T, E]` -> `[S, T]`.

    NumPy widens half precision one number after the other, which is most of what MaxSim costs. Moved by 13 bits, the
    bits of a finite float16 are those of a float32 that is 2**112 times smaller: sign, exponent and mantissa find their
    places, and only the exponents count from another zero. So the page tokens are moved, eight times sooner, and the
    query is made 2**112 times larger. Every product is the same to the last bit.
    """
    if tokens.dtype != np.float16:
        return query @ tokens.astype(np.float32, copy=False).T
    bits = tokens.view(np.int16).astype(np.int32)  # the sign is in all of the upper bits
    bits <<= 13
    bits &= _SIGN_AND_REST
    larger = np.multiply(query, _LARGER, dtype=np.float32)
    return np.asarray(larger @ bits.view(np.float32).T)


def _groups(pages: Sequence[npt.NDArray[Any]]) -> Iterable[list[int]]:
    """Positions of the pages that have tokens, in runs of about `_CHUNK` tokens."""
    group: list[int] = []
    total = 0
    for i, page in enumerate(pages):
        if group and total + len(page) > _CHUNK:
            yield group
            group, total = [], 0
        if len(page):
            group.append(i)
            total += len(page)
    if group:
        yield group


def snippet(text: str, query_words: str) -> str:
    """The passage of a page that shares most with the query; with words one letter off where it shares nothing, and its
    beginning where it shares nothing even so.

    Args:
        text: The page's text.
        query_words: The query.

    Returns:
        At most 200 characters on one line, an ellipsis where the text goes on; "" for no text.

    Example:
        >>> snippet("Dear Sir,\\n" + "we thank you. " * 30 + "The invoice is  due in May.", "May invoice")[-26:]
        'The invoice is due in May.'
    """
    text = " ".join(text.split())
    if len(text) <= SNIPPET_CHARS:
        return text
    terms = _terms(query_words)
    first, last = _densest(text, terms)
    if last == 0:
        first, last = _densest(text, _alike(text, terms))
    room = SNIPPET_CHARS - 2  # for the ellipses
    start = max(0, min(first - max(0, room - (last - first)) // 3, len(text) - room))
    if start > 0:  # begin with a word, or better with a sentence
        sentence = max(
            text.rfind(end, start, first) + 2 if end in text[start:first] else 0 for end in (". ", "! ", "? ")
        )
        word = text.find(" ", start, first) + 1
        start = sentence or word or start
    end = min(len(text), start + room)
    if end < len(text) and text.rfind(" ", last, end) > start:
        end = text.rfind(" ", last, end)
    return ("…" if start else "") + text[start:end].strip() + ("…" if end < len(text) else "")


def _terms(query: str) -> dict[str, int]:
    """What to look for in a text -> how much finding it counts."""
    terms: dict[str, int] = {}
    for match in WORD.finditer(query.lower()):
        word = match.group()
        if UNSPACED.search(word):  # a whole clause: its pairs of letters are looked for instead
            terms.update((word[i : i + 2], 2) for i in range(max(1, len(word) - 1)))
        else:
            terms[word] = len(word)
    return terms


def _alike(text: str, terms: dict[str, int]) -> dict[str, int]:
    """The words of a text that are one letter off a term, as `_terms` would give them."""
    misspelt = [folded(term) for term in terms if may_be_misspelt(term)][:_MOST_MISSPELT]
    words = {word for word in WORD.findall(text.lower()) if may_be_misspelt(word)} if misspelt else set()
    return {word: len(word) for word in words if any(one_letter_apart(folded(word), term) for term in misspelt)}


def _densest(text: str, terms: dict[str, int]) -> tuple[int, int]:
    """The stretch, no longer than a snippet, whose distinct terms count most: the first of the best, the shortest."""
    if not terms:
        return 0, 0
    longest_first = sorted(terms, key=len, reverse=True)
    pattern = "|".join(re.escape(term) if UNSPACED.search(term) else rf"\b{re.escape(term)}" for term in longest_first)
    matches = [
        (match.start(), match.end(), match.group().lower()) for match in re.finditer(pattern, text, re.IGNORECASE)
    ]
    best, place, left = 0, (0, 0), 0
    for right, (_, end, _) in enumerate(matches):
        while end - matches[left][0] > SNIPPET_CHARS - 2:
            left += 1
            if left > right:
                break
        inside = matches[left : right + 1]
        weight = sum(terms.get(term, 0) for term in {term for _, _, term in inside})
        if inside and weight > best:
            best, place = weight, (inside[0][0], end)
    return place
