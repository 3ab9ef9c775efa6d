"""`polylens bench`: the engines that run a model on this machine, against each other."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from polylens.cli.app import Model, app, show
from polylens.cli.bars import counting_bar

if TYPE_CHECKING:
    from rich.table import Table

    from polylens.runtime.engines.measuring import Figures

COLUMNS = {
    "tokens_per_second": "tokens per second",
    "query_ms": "one query, ms",
    "image_s": "one page, s",
    "memory_mb": "memory, MB",
    "least_cosine": "least cosine",
    "first_start_s": "first start, s",
    "second_start_s": "second start, s",
}


@app.command()
def bench(
    model: Model = "nano",
    engine: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Engine to measure; repeatable (default: all installed).")
    ] = None,
    quantization: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Quantization to measure; repeatable (default: all).")
    ] = None,
    texts: Annotated[
        int | None, typer.Option(min=1, help="Texts (default: 160, and 16 for more than a billion weights).")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each engine is measured, in turn.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Measure the engines that run a model on this CPU, and remember the fastest for later loads.

    Texts have 6 to 510 tokens; the best round counts. A query has 16 tokens where the model's prompt leaves room; the
    median counts. Cosines are with PyTorch in float32, whose row is the first. Memory is what a process of the engine
    holds. Quantizations are measured, and never remembered.
    """
    from polylens.checkpoints.fetch import resolve
    from polylens.checkpoints.loading import read_header
    from polylens.runtime.engines.measuring import keep_winner, machine, measure, settings_of

    header = read_header(resolve(model))
    settings = settings_of(header, engines=engine, quantizations=quantization)
    with counting_bar("steps") as report:
        figures = measure(model, settings, num_texts=texts, rounds=rounds, progress=report)
    fastest = keep_winner(header, settings, figures)
    if as_json:
        told = {name: asdict(each) for name, each in figures.items()}
        print(json.dumps({"model": model, "machine": machine(), "engines": told, "fastest": fastest}, indent=2))
        return
    show(_table(figures))
    print("; ".join(f"{name} {value}" for name, value in machine().items()))
    if fastest is not None:
        print(f"from now on, {model} runs on {fastest} here unless another engine is named", file=sys.stderr)


def _table(figures: dict[str, Figures]) -> Table:
    from rich.table import Table

    table = Table("engine", *COLUMNS.values())
    for name, each in figures.items():
        values = [asdict(each)[column] for column in COLUMNS]
        table.add_row(name, *("-" if value is None else f"{value:,}" for value in values))
    return table
