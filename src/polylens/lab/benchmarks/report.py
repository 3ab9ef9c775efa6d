"""Results of the synthetic benchmark as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from polylens.evaluate.figures import figures, written
from polylens.evaluate.machine import measured_on
from polylens.lab.benchmarks.synthetic import TaskResult, overall
from polylens.lab.synthetic.queries import KINDS


def tables(results: Sequence[TaskResult]) -> Iterator[Table]:
    """nDCG@5 by task, then by kind of query, with 95 % intervals."""
    ways = list(results[0].scored)
    by_task = Table("task", "pages", "queries", *(_heading(way) for way in ways), "chance", "recall@5", "pages/s")
    for result in results:
        by_task.add_row(
            result.task.name,
            str(len(result.task.pages)),
            str(len(result.task.queries)),
            *(written(result.mean(way)) for way in ways),
            f"{result.chance:.3f}",
            f"{result.scored[ways[0]].recall.mean():.3f}",
            f"{len(result.task.pages) / result.seconds:.1f}",
        )
    if len(results) > 1:
        by_task.add_row("mean", "", "", *(written(overall(results, way)) for way in ways))
    yield by_task
    by_kind = Table(f"nDCG@5, {_heading(ways[0])}", *KINDS)
    for result in results:
        asked = {query.kind for query in result.task.queries}
        by_kind.add_row(
            result.task.name, *(written(result.mean(ways[0], kind)) if kind in asked else "-" for kind in KINDS)
        )
    yield by_kind


def as_json(results: Sequence[TaskResult], *, model: str, seed: int) -> dict[str, Any]:
    """Everything that the tables say, and what they were made with."""
    ways = list(results[0].scored)
    return {
        "benchmark": "synthetic",
        "model": model,
        "seed": seed,
        "mean nDCG@5": {way: figures(overall(results, way)) for way in ways},
        "tasks": [_task(result) for result in results],
        **measured_on(),
    }


def _task(result: TaskResult) -> dict[str, Any]:
    queries = result.task.queries
    kinds = [kind for kind in KINDS if any(query.kind == kind for query in queries)]
    return {
        "task": result.task.name,
        "pages": len(result.task.pages),
        "queries": len(queries),
        "queries with several right pages": int((result.task.relevant.sum(axis=1) > 1).sum()),
        "nDCG@5": {way: figures(result.mean(way)) for way in result.scored},
        "recall@5": {way: round(float(scored.recall.mean()), 4) for way, scored in result.scored.items()},
        "nDCG@5 of a random order": round(result.chance, 4),
        "nDCG@5 by kind of query": {
            kind: {way: figures(result.mean(way, kind)) for way in result.scored} for kind in kinds
        },
        "nDCG@5 by language, asked in it": _by_language(result),
        "pages/s": round(len(result.task.pages) / result.seconds, 2),
    }


def _by_language(result: TaskResult) -> dict[str, dict[str, float]]:
    """How well pages in each language are read: without the queries in another, which say nothing about that."""
    rows: dict[str, list[int]] = {}
    for row, query in enumerate(result.task.queries):
        if query.kind != "other language":
            rows.setdefault(query.language, []).append(row)
    return {
        language: {way: round(float(scored.ndcg[rows[language]].mean()), 4) for way, scored in result.scored.items()}
        for language in sorted(rows)
    }


def _heading(way: str) -> str:
    return {"words": "BM25 of the words drawn"}.get(way, way)
