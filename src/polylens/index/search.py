"""Find pages: the nearest dense vectors first, then exact late interaction over those.

Shapes: S query tokens, T page tokens, E their width, 128.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from polylens.index.store import Candidate, Kind, Snapshot, Store
from polylens.types import Embedding, FloatArray

CANDIDATES = 1_024
"""Pages of the first stage. Where the index holds no more than that, every page is scored exactly."""

_FETCHED = 128  # pages whose multi-vectors are held at a time: 64 MB where a page has 2,000 of them

SNIPPET_CHARS = 200

_CHUNK = 4_096  # page tokens turned into float32 at a time: 2 MB, which stays in the cache


@dataclass(frozen=True, slots=True)
class Hit:
    """A page that was found."""

    file: str
    """Relative to the library's folder, with forward slashes."""
    page: int
    """From 1."""
    score: float
    """Exact MaxSim: the sum, over the query's tokens, of the best cosine with a token of the page."""
    dense_score: float
    """Cosine of the dense vectors, by which it became a candidate."""
    text: str
    """All text of the page; "" for a picture without any."""
    kind: Kind
    query_tokens: int
    """Tokens of the query: the most that `score` can be."""
    snippet: str = ""
    """The part of the text that shares most with the query."""


def search(
    store: Store,
    query: Embedding,
    top: int = 10,
    candidates: int = CANDIDATES,
    *,
    query_words: str = "",
    where: str | None = None,
) -> list[Hit]:
    """The best pages for a query.

    Args:
        store: The index.
        query: Both outputs of the model for the query.
        top: How many pages are wanted.
        candidates: How many the first stage hands to the second; at least `top` are taken.
        query_words: The query as text, to choose the snippets by.
        where: SQL over the columns, to look among some pages only; it holds before anything is ranked.

    Returns:
        At most `top` pages, best first. Scores that agree to four decimals, and then dense scores that do, are ordered
        by file and page.
    """
    try:
        return _search(store.snapshot(), query, top, candidates, query_words, where)
    except (OSError, RuntimeError):
        # That very version was compacted away under a slow search: once more, on the latest.
        return _search(store.snapshot(), query, top, candidates, query_words, where)


def _search(
    snapshot: Snapshot, query: Embedding, top: int, candidates: int, query_words: str, where: str | None
) -> list[Hit]:
    found = snapshot.dense_candidates(query.dense, max(candidates, top), where=where)
    scored: list[tuple[float, Candidate]] = []
    for start in range(0, len(found), _FETCHED):
        some = found[start : start + _FETCHED]
        pages = snapshot.fetch([candidate.row for candidate in some])
        scores = maxsim(query.multivector, [page.multivector for page in pages])
        scored += zip(scores.tolist(), some, strict=True)
    # What a product comes to in its last bits depends on where in the matrix it stands, so pages that are alike would
    # come in any order.
    best = sorted(scored, key=lambda row: (-round(row[0], 4), -round(row[1].dense_score, 4), row[1].file, row[1].page))
    best = best[:top]
    pages = snapshot.fetch([candidate.row for _, candidate in best])
    return [
        Hit(
            page.file,
            page.page,
            score,
            candidate.dense_score,
            page.text,
            page.kind,
            len(query.multivector),
            snippet(page.text, query_words),
        )
        for (score, candidate), page in zip(best, pages, strict=True)
    ]


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
        tokens = np.concatenate([pages[i] for i in group], dtype=np.float32)
        starts = np.cumsum([0, *(len(pages[i]) for i in group[:-1])])
        scores[group] = np.maximum.reduceat(query @ tokens.T, starts, axis=1).sum(axis=0)
    return scores


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


_WORD = re.compile(r"\w+")
# Scripts written without spaces: a "word" there is a whole clause, so its pairs of letters are looked for instead.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


def snippet(text: str, query_words: str) -> str:
    """The passage of a page that shares most with the query; its beginning where it shares nothing.

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
    first, last = _densest(text, _terms(query_words))
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
    for match in _WORD.finditer(query.lower()):
        word = match.group()
        if _UNSPACED.search(word):
            terms.update((word[i : i + 2], 2) for i in range(max(1, len(word) - 1)))
        else:
            terms[word] = len(word)
    return terms


def _densest(text: str, terms: dict[str, int]) -> tuple[int, int]:
    """The stretch, no longer than a snippet, whose distinct terms count most: the first of the best, the shortest."""
    if not terms:
        return 0, 0
    longest_first = sorted(terms, key=len, reverse=True)
    pattern = "|".join(re.escape(term) if _UNSPACED.search(term) else rf"\b{re.escape(term)}" for term in longest_first)
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
