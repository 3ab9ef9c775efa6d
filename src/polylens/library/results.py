"""A hit as the dictionary that every interface gives: `polylens search --json`, HTTP and the integrations."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polylens.index.ranking.cut import Ranked
    from polylens.index.ranking.places import Place
    from polylens.index.search import Hit
    from polylens.library.reranking import Reranked

DECIMALS = 4
"""Scores are rounded to so many decimals; differences beyond them do not rank."""


def hit_dict(hit: Hit) -> dict[str, Any]:
    """A hit for JSON.

    Returns:
        `file`, relative to the library; `page`, from 1; `match`, how likely it is that this page is wanted, from 0 to
        1; `score`, the score that ranked; `rerank_score`, the reranker's, None where none scored the page; the scores
        of all stages as `fused_score`, `late_score`, `dense_score` and `text_score`, the last two None where that stage
        did not find the page; `text`, the snippet; `kind`; `language`, an ISO 639 code or ""; `modified`, when the file
        was, as ISO 8601; `places`, best first, in shares of the page's picture, with the words there or None;
        `places_from`: "words", "looks" or None. Where each file has one place also `others`, its further pages that
        match, as such dictionaries.
    """
    found = {
        "file": hit.file,
        "page": hit.page,
        "match": _rounded(hit.match),
        "score": _rounded(hit.score),
        "rerank_score": _rounded(hit.rerank_score),
        "fused_score": _rounded(hit.fused_score),
        "late_score": _rounded(hit.late_score),
        "dense_score": _rounded(hit.dense_score),
        "text_score": _rounded(hit.text_score),
        "text": hit.snippet,
        "kind": hit.kind,
        "language": hit.language,
        "modified": hit.modified.isoformat(timespec="seconds"),
        "places": [_place_dict(place) for place in hit.places],
        "places_from": hit.places_from,
    }
    return found if hit.others is None else {**found, "others": [hit_dict(other) for other in hit.others]}


def list_dict(found: Ranked[Hit], offset: int) -> dict[str, Any]:
    """Where a piece of a list of hits stands in the whole, for JSON.

    Args:
        found: The piece.
        offset: That of the piece.

    Returns:
        `total`, the places of the whole list; `next`, the offset of the next piece, None where there is none; `best`,
        the best match of any page that was ranked, None where none was.
    """
    return {"total": found.total, "next": found.next(offset), "best": _rounded(found.best)}


def _place_dict(place: Place) -> dict[str, Any]:
    return {**{side: round(share, DECIMALS) for side, share in asdict(place.box).items()}, "text": place.text}


def reranked_dict(reranked: Reranked) -> dict[str, Any]:
    """What a rerank stage did, for JSON.

    Returns:
        `model`, its name and fingerprint; `pages`, those that were to be scored; `scored`, those that were; `seconds`.
    """
    return {
        "model": reranked.model_id,
        "pages": reranked.pages,
        "scored": reranked.scored,
        "seconds": round(reranked.seconds, DECIMALS),
    }


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, DECIMALS)
