"""`polylens search`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from polylens.cli.app import AsJson, IndexModel, LibraryName, app, load_if_named
from polylens.cli.escaping import shown
from polylens.cli.marking import in_words, save_marked_pages
from polylens.errors import InputError

if TYPE_CHECKING:
    from polylens.index.search import Hit
    from polylens.library.reranking import Found, Part, Reranked, Reranking
    from polylens.library.view import Group
    from polylens.types import Kind

Top = Annotated[int, typer.Option("--top", "-n", min=1, help="Number of results.")]
Pictures = Annotated[
    list[str] | None,
    typer.Option(
        "--image", metavar="PATH", help="A picture to look for, alone or together with the words. May be repeated."
    ),
]
MinScore = Annotated[
    float | None,
    typer.Option(
        metavar="MATCH", min=0, max=1, help="Only pages that match at least so well, from 0 to 1; 0.5 is a good start."
    ),
]
Offset = Annotated[int, typer.Option(metavar="N", min=0, help="Leave out the first N results, to continue a list.")]
Below = Annotated[
    str | None, typer.Option("--folder", metavar="NAME", help="Only files below this folder of the library.")
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(help="Only pages of this kind: pdf, image, text, document, slides or sheet. May be repeated."),
]
Languages = Annotated[
    list[str] | None,
    typer.Option(metavar="CODE", help="Only texts in this language: an ISO 639 code (de, zh). May be repeated."),
]
Since = Annotated[
    str | None, typer.Option(metavar="DATE", help="Only files modified on this day or later: 2026-11-01.")
]
Until = Annotated[str | None, typer.Option(metavar="DATE", help="Only files modified on this day or earlier.")]
RerankModel = Annotated[
    str | None,
    typer.Option(
        "--rerank",
        metavar="MODEL",
        help="Order the first pages anew with this reranker, which looks at each page together with the query.",
    ),
]
RerankPages = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="How many pages --rerank scores (default: 20).")
]
RerankSeconds = Annotated[
    float | None,
    typer.Option(
        metavar="S", min=0.01, help="Seconds after which --rerank scores no further page (default: no limit)."
    ),
]
SaveMarks = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Write the picture of each page found, with the places that fit marked."),
]


class Ranking(StrEnum):
    """What ranks the pages that `search` prints."""

    fused = "fused"
    late = "late"
    dense = "dense"
    text = "text"


By = Annotated[
    Ranking,
    typer.Option(
        help="What ranks: one vector per page (dense), one per token (late), the words (text), or all (fused)."
    ),
]


class Grouping(StrEnum):
    """What has one place in the list."""

    file = "file"


@app.command()
def search(
    query: Annotated[
        str, typer.Argument(metavar="[QUERY]", help="What to look for; quote several words. --image may replace it.")
    ] = "",
    image: Pictures = None,
    library: LibraryName = None,
    top: Top = 5,
    offset: Offset = 0,
    min_score: MinScore = None,
    group: Annotated[Grouping | None, typer.Option(help="One result per file, with its other pages under it.")] = None,
    by: By = Ranking.fused,
    below: Below = None,
    kind: Kinds = None,
    language: Languages = None,
    since: Since = None,
    until: Until = None,
    rerank: RerankModel = None,
    rerank_pages: RerankPages = None,
    rerank_seconds: RerankSeconds = None,
    save_marks: SaveMarks = None,
    model: IndexModel = None,
    scores: Annotated[bool, typer.Option("--scores", help="Print the scores of all stages as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the pages that best fit words, a picture, or both."""
    from polylens.index.ranking.filters import Filters
    from polylens.library.library import Library
    from polylens.library.location import find_library

    folder = library if library is not None else find_library()
    parts = _parts(query, image or [])
    filters = Filters.of(below, cast("list[Kind] | None", kind), language, since, until)  # refused before a model loads
    reranking = _reranking(rerank, rerank_pages, rerank_seconds)
    searched = Library(folder, load_if_named(model))
    view = searched.view()
    grouped = cast("Group | None", None if group is None else group.value)
    found = view.search(
        parts,
        top,
        by=by.value,
        filters=filters,
        rerank=reranking,
        min_score=min_score,
        offset=offset,
        group=grouped,
    )
    if save_marks is not None:
        save_marked_pages(searched, view, found, save_marks)
    if found.reranked is not None:
        print(_reranked(found.reranked), file=sys.stderr)
    if as_json:
        reason = None if found else view.why_nothing(by=by.value, filters=filters, found=found)
        print(json.dumps(_as_json(query, found, offset, reason), ensure_ascii=False))
    elif found:
        print_hits(found, by, first=offset + 1, scores=scores)
        _tell_how_to_continue(found, offset)
    else:
        print(shown(nothing(found, view.why_nothing(by=by.value, filters=filters, found=found))))


def _tell_how_to_continue(found: Found, offset: int) -> None:
    if (following := found.next(offset)) is not None:
        left = found.total - following
        print(f"{left} more result{'s' * (left != 1)}: --offset {following} continues the list", file=sys.stderr)


def _parts(query: str, images: Sequence[str]) -> list[Part]:
    """The words and the pictures of a query, which are opened now: a wrong path is refused before a model loads."""
    from polylens.media.image import read_image

    parts: list[Part] = [query] if query.strip() else []
    parts += [read_image(Path(path)) for path in images]
    if not parts:
        raise InputError("the query is empty; say what to look for, or name a picture with --image")
    return parts


def nothing(found: Found, reason: str) -> str:
    """What is said where nothing was found."""
    return reason if found.why_empty() else f"nothing found: {reason}"


def _as_json(query: str, found: Found, offset: int, reason: str | None) -> dict[str, Any]:
    from polylens.library.results import hit_dict, list_dict, reranked_dict

    told: dict[str, Any] = {
        "query": query,
        "results": [hit_dict(hit) for hit in found],
        **list_dict(found, offset),
        "reason": reason,
    }
    if found.reranked is not None:
        told["reranked"] = reranked_dict(found.reranked)
    return told


def _reranking(model: str | None, pages: int | None, seconds: float | None) -> Reranking | None:
    if model is None:
        if pages is not None or seconds is not None:
            raise InputError("--rerank-pages and --rerank-seconds limit a reranker; name one with --rerank MODEL")
        return None
    from polylens.library.reranking import DEFAULT_PAGES, Reranking
    from polylens.runtime.reranker import load_reranker

    return Reranking(load_reranker(model), DEFAULT_PAGES if pages is None else pages, seconds)


def _reranked(done: Reranked) -> str:
    """What the rerank stage did, as a line."""
    return f"reranked {done.scored} of {done.pages} pages with {done.model_id} in {done.seconds:.1f} s"


def print_hits(
    hits: Sequence[Hit], by: Ranking = Ranking.fused, indent: str = "", first: int = 1, scores: bool = False
) -> None:
    """Print the pages that were found.

    Args:
        hits: The pages, best first.
        by: What ranked them.
        indent: Stands before each line.
        first: The place of the first page.
        scores: Whether the scores of the stages are printed too.
    """
    for rank, hit in enumerate(hits, start=first):
        reranked = [] if hit.rerank_score is None else [f"rerank {hit.rerank_score:.2f}"]
        told = [*reranked, f"match {hit.match:.2f}", *(_scores(hit, by) if scores else [])]
        print(f"{indent}{rank}. {shown(hit.file)}, page {hit.page}{in_words(hit.places)}  ({', '.join(told)})")
        if hit.snippet:
            print(f"{indent}   {shown(hit.snippet)}")
        if hit.others:
            pages = ", ".join(f"{other.page} (match {other.match:.2f})" for other in hit.others)
            print(f"{indent}   also page{'s' * (len(hit.others) > 1)} {pages}")


def _scores(hit: Hit, by: Ranking) -> list[str]:
    """The score of each stage that has one, first that of the one that ranks."""
    found = {
        Ranking.fused: hit.fused_score,
        Ranking.late: hit.late_score,
        Ranking.dense: hit.dense_score,
        Ranking.text: hit.text_score,
    }
    order = sorted(found, key=lambda stage: stage is not by)
    return [f"{stage} {found[stage]:.2f}" for stage in order if found[stage] is not None]
