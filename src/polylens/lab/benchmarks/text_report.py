"""Results of the benchmarks on text pairs, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from polylens.evaluate.figures import figures, written
from polylens.evaluate.machine import measured_on
from polylens.lab.benchmarks.texts import Suite, TextResult, overall


def table(suite: Suite, results: Sequence[TextResult]) -> Table:
    """The metric per task with 95 % intervals, and its mean."""
    ways = list(results[0].scored)
    headings = ({"words": "BM25"}.get(way, way) for way in ways)
    made = Table(suite.unit, "candidates", *headings, "chance", "texts/s", title=suite.metric)
    for result in results:
        count = len(result.scored[ways[0]])
        means = (written(result.mean(way)) for way in ways)
        made.add_row(result.task, f"{count:,}", *means, f"{result.chance:.3f}", f"{2 * count / result.seconds:.0f}")
    if len(results) > 1:
        made.add_row("mean", "", *(written(overall(results, way)) for way in ways))
    return made


def as_json(suite: Suite, results: Sequence[TextResult], *, model: str, seed: int) -> dict[str, Any]:
    """The figures of the table, and the model, seed and machine."""
    ways = list(results[0].scored)
    return {
        "benchmark": suite.name,
        "model": model,
        "seed": seed,
        f"mean {suite.metric}": {way: figures(overall(results, way)) for way in ways},
        "tasks": [
            {
                "task": result.task,
                "candidates": len(result.scored[ways[0]]),
                suite.metric: {way: figures(result.mean(way)) for way in ways},
                f"{suite.metric} of a random order": round(result.chance, 4),
                "texts/s": round(2 * len(result.scored[ways[0]]) / result.seconds, 1),
            }
            for result in results
        ],
        **measured_on(),
    }
