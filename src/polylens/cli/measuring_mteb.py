"""`polylens eval mteb`: the field's benchmarks, by the package mteb."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polylens.cli.app import Model, require_place, show
from polylens.cli.measuring import Figures, benchmarks, names_in
from polylens.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from polylens.integrations.mteb.running import Section


class Way(StrEnum):
    """What of a model is measured."""

    dense = "dense"
    multivector = "multi-vector"
    rerank = "rerank"
    library = "library"


@benchmarks.command()
def mteb(
    tasks: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Groups (see --list), and names of mteb's benchmarks and tasks."),
    ] = None,
    folder: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="A retrieval task of your own, in a folder; may be repeated."),
    ] = None,
    model: Model = "nano",
    way: Annotated[
        Way,
        typer.Option(
            "--by",
            help="What is measured: one vector, late interaction, a reranker over candidates, or a whole library.",
        ),
    ] = Way.dense,
    dim: Annotated[int | None, typer.Option(help="Truncate dense vectors to this many numbers (Matryoshka).")] = None,
    chunk: Annotated[
        int | None,
        typer.Option(
            min=1, help="Documents whose vectors are in memory at once (default: 10,000; multi-vectors: 500)."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder of mteb's result files (default: mteb's own cache).")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Run tasks that have a result, too.")] = False,
    list_groups: Annotated[bool, typer.Option("--list", help="List the groups and exit.")] = False,
    json_file: Figures = None,
) -> None:
    """Run benchmarks of mteb, with the published figures of jina-embeddings-v4 and jina-clip-v2 beside the model's.

    The data come from the hub of their authors, but for --folder. A run that was stopped goes on where it was.
    """
    try:
        from polylens.integrations.mteb.groups import GROUPS, tasks_of
        from polylens.integrations.mteb.running import as_json, run
    except ImportError as missing:
        raise InputError(f"eval mteb needs the package mteb: pip install 'polylens[mteb]' ({missing})") from missing
    if list_groups:
        for name, group in GROUPS.items():
            print(f"{name:18} {group.title}: {group.benchmark or ', '.join(group.tasks)}")
        return
    require_place("--json", json_file)
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"--out must be a folder, or not exist yet, got the file {out}")
    if dim is not None and way is not Way.dense:
        raise InputError(f"--dim truncates dense vectors, and --by {way} compares none; leave one of the two out")
    chosen = {**tasks_of(names_in(tasks) or ()), **_folders(folder or [])}
    if not chosen:
        raise InputError("there is nothing to run; pass --tasks NAME or --folder FOLDER; --list lists the groups")
    made = _measured(model, way, dim, chunk)
    sections = run(made, chosen, out=out, again=again, show_progress=sys.stderr.isatty())
    _show(sections)
    if json_file is not None:
        from polylens.evaluate.figures import write_json

        write_json(as_json(sections, made.mteb_model_meta), json_file)


def _show(sections: list[Section]) -> None:
    show(*map(_table, sections))
    for row in (row for section in sections for row in section.rows if row.error is not None):
        print(f"{row.name}: {row.error}", file=sys.stderr)


def _folders(folders: list[Path]) -> dict[str, list[Any]]:
    from polylens.integrations.mteb.folders import folder_task

    return {"folders": [folder_task(each) for each in folders]} if folders else {}


def _measured(model: str, way: Way, dim: int | None, chunk: int | None) -> Any:
    from polylens.integrations.mteb import LibrarySearch, RerankerScores, encoder

    if way is Way.rerank:
        from polylens.runtime.reranker import load_reranker

        return RerankerScores(load_reranker(model))
    from polylens.runtime.embedder import load

    embedder = load(model)
    if way is Way.library:
        return LibrarySearch(embedder)
    return encoder(embedder, multivector=way is Way.multivector, truncate_dim=dim, chunk=chunk)


def _table(section: Section) -> Table:
    from rich.table import Table

    models = list(dict.fromkeys(model for row in section.rows for model in row.published))
    table = Table("task", "metric", "score", *models, title=section.title, caption=section.source or None)
    for row in section.rows:
        score = "failed" if row.score is None else f"{row.score:.2f}"
        table.add_row(row.name, row.metric, score, *(_shown(row.published.get(model)) for model in models))
    return table


def _shown(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"
