"""`polylens rerank`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polylens.cli.app import Model, app, lines_of
from polylens.errors import InputError

if TYPE_CHECKING:
    from polylens.types import RankedDocument

SHOWN_CHARACTERS = 100  # of a document, for people


@app.command()
def rerank(
    query: Annotated[
        str | None,
        typer.Argument(metavar="QUERY", help="The query, a text; with --query-image this is the first document."),
    ] = None,
    documents: Annotated[
        list[str] | None,
        typer.Argument(metavar="DOCUMENT", help="Texts to rank. A text is never opened as a file."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A UTF-8 file with one document per line; - is stdin.")] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="An image as a document: path, URL or data: URI. May be repeated."),
    ] = None,
    query_image: Annotated[
        str | None, typer.Option(metavar="PATH", help="An image as the query, instead of QUERY.")
    ] = None,
    model: Model = "nano",
    top: Annotated[int | None, typer.Option("--top", "-n", min=1, help="Number of results (default: all).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Rank texts and images by how well they answer a query.

    A reranker, such as jinaai/jina-reranker-m0, scores each document together with the query. Of any other model the
    vectors are compared. The documents' order is: texts, lines of the file, images.
    """
    from polylens.types import Image

    texts = [*([query] if query is not None else []), *(documents or [])]
    if query_image is None and not texts:
        raise InputError("there is no query; pass a text, or --query-image PATH")
    asked: Any = texts.pop(0) if query_image is None else Image(query_image)
    candidates: list[Any] = [*texts, *lines_of(file), *map(Image, image or [])]
    if not candidates:
        raise InputError("there is nothing to rank; pass documents after the query, --file FILE or --image PATH")
    from polylens.runtime.reranker import load_reranker

    ranked = load_reranker(model).rerank(asked, candidates, top_n=top, show_progress=len(candidates) > 8)
    if as_json:
        print(json.dumps(_report(asked, candidates, ranked), ensure_ascii=False))
        return
    for rank, found in enumerate(ranked, start=1):
        print(f"{rank}. {found.score:.4f}  {_shown(candidates[found.index])}")


def _report(query: Any, documents: Sequence[Any], ranked: Sequence[RankedDocument]) -> dict[str, Any]:
    results = [
        {"index": found.index, "score": round(found.score, 8), "document": _as_object(documents[found.index])}
        for found in ranked
    ]
    return {"query": query if isinstance(query, str) else _as_object(query), "results": results}


def _as_object(value: Any) -> dict[str, str]:
    return {"text": value} if isinstance(value, str) else {"image": value.source}


def _shown(document: Any) -> str:
    """A document on one line; an image by its path."""
    line = " ".join((document if isinstance(document, str) else str(document.source)).split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[: SHOWN_CHARACTERS - 3]}..."
