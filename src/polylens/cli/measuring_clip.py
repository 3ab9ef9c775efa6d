"""`polylens eval clip`: images and captions, and classification without training, from local folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polylens.cli.app import Model, require_place, show
from polylens.cli.bars import counting_bar
from polylens.cli.measuring import Figures, benchmarks, names_in
from polylens.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from polylens.evaluate.clip import ClipScores


@benchmarks.command()
def clip(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER", help="A data set in clip_benchmark's layout, or a folder of several."),
    ],
    model: Model = "nano",
    dims: Annotated[
        str | None,
        typer.Option(metavar="N,N", help="Widths to which vectors are cut (Matryoshka); default: the full width."),
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Results that count in retrieval.")] = 5,
    json_file: Figures = None,
) -> None:
    """Score images against captions or class names: recall@5 both ways, or top-1 and top-5.

    XTD10 and Crossmodal-3600 are folders with one data set per language; the mean over them is shown.
    """
    require_place("--json", json_file)
    from polylens.evaluate.clip import evaluate
    from polylens.evaluate.webdataset import find_sets
    from polylens.runtime.embedder import load

    widths = _widths(dims)
    found = [(folder, find_sets(folder)) for folder in folders]
    embedder = load(model)
    scored: list[ClipScores] = []
    for folder, sets in found:
        inside: list[ClipScores] = []
        for data in sets:
            done = 0
            with counting_bar("images") as report:

                def count(images: int) -> None:
                    nonlocal done
                    done += images
                    report(done, done)

                inside += evaluate(embedder, data, dims=widths, k=k, progress=count)
        scored += inside
        if len(sets) > 1:
            scored += _means(folder.name, inside)
    show(*_tables(scored))
    if json_file is not None:
        from polylens.evaluate.figures import write_json

        write_json(_report(embedder.model_id, scored), json_file)


def _widths(dims: str | None) -> list[int]:
    names = names_in(dims) or ()
    if not all(name.strip().isdecimal() for name in names):
        raise InputError(f"--dims must be numbers such as 64,128, got {dims!r}")
    return [int(name) for name in names]


def _means(name: str, scored: list[ClipScores]) -> list[ClipScores]:
    """The mean over the data sets of a folder, per width, of those that have the same metrics."""
    from polylens.evaluate.clip import ClipScores

    groups: dict[tuple[Any, ...], list[ClipScores]] = {}
    for each in scored:
        groups.setdefault((each.dim, *each.scores), []).append(each)
    return [
        ClipScores(
            f"{name}, mean of {len(group)}",
            group[0].dim,
            sum(each.items for each in group),
            {metric: sum(each.scores[metric] for each in group) / len(group) for metric in group[0].scores},
        )
        for group in groups.values()
    ]


def _tables(scored: list[ClipScores]) -> list[Table]:
    from rich.table import Table

    tables: dict[tuple[str, ...], Table] = {}
    for each in scored:
        metrics = tuple(each.scores)
        if metrics not in tables:
            tables[metrics] = Table("data set", "images", "width", *metrics)
        shown = (f"{100 * score:.2f}" for score in each.scores.values())
        tables[metrics].add_row(each.name, f"{each.items:,}", str(each.dim), *shown)
    return list(tables.values())


def _report(model: str, scored: list[ClipScores]) -> dict[str, Any]:
    from polylens.evaluate.machine import measured_on

    sets = [
        {
            "data set": each.name,
            "images": each.items,
            "width": each.dim,
            **{metric: round(100 * score, 3) for metric, score in each.scores.items()},
        }
        for each in scored
    ]
    return {"model": model, "data sets": sets, **measured_on()}
