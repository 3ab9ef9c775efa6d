"""Results of the benchmarks on text pairs, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from polylens.evaluate.figures import figures, written
from polylens.evaluate.machine import measured_on
from polylens.lab.benchmarks.texts import Benchmark, TextResult, overall


def table(benchmark: Benchmark, results: Sequence[TextResult]) -> Table:
    """The metric per task with 95 % intervals, and its mean."""
    ways = list(results[0].scored)
    headings = ({"words": "BM25"}.get(way, way) for way in ways)
    made = Table(benchmark.unit, "candidates", *headings, "chance", "texts/s", title=benchmark.metric)
    for result in results:
        means = (written(result.mean(way)) for way in ways)
        made.add_row(
            result.task, f"{result.candidates:,}", *means, f"{result.chance:.3f}", f"{result.texts_per_second:.0f}"
        )
    if len(results) > 1:
        made.add_row("mean", "", *(written(overall(results, way)) for way in ways))
    return made


def as_json(
    benchmark: Benchmark, results: Sequence[TextResult], *, model: str, seed: int | None = None
) -> dict[str, Any]:
    """The figures of the table, and the model, machine and, where something is drawn, seed."""
    ways = list(results[0].scored)
    return {
        "benchmark": benchmark.name,
        "model": model,
        **({} if seed is None else {"seed": seed}),
        f"mean {benchmark.metric}": {way: figures(overall(results, way)) for way in ways},
        "tasks": [
            {
                "task": result.task,
                "candidates": result.candidates,
                benchmark.metric: {way: figures(result.mean(way)) for way in ways},
                f"{benchmark.metric} of a random order": round(result.chance, 4),
                "texts/s": round(result.texts_per_second, 1),
            }
            for result in results
        ],
        **measured_on(),
    }
