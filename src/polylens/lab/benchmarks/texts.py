"""Benchmarks on text pairs: each query has one right document among those of all queries.

The pairs are held out from training (`polylens.lab.corpora`); `suites` draws them. BM25 beside a model shows what can
be found by words that are the same on both sides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from polylens.errors import InputError
from polylens.evaluate.bm25 import bm25
from polylens.evaluate.metrics import Estimate, PerQuery, Relevance, Scores, bootstrap
from polylens.evaluate.tasks import Progress, require_some_of
from polylens.evaluate.vectors import TextModel, embed_side, similarities
from polylens.lab.corpora.text import TextPair


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """What a report says about a benchmark on texts."""

    name: str
    unit: str
    """What a task is, such as a language."""
    metric: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite(Benchmark):
    """A benchmark on pairs, and its metric."""

    tasks: tuple[str, ...]
    """The tasks of the mean."""
    others: tuple[str, ...]
    """Further tasks that may be asked for."""
    candidates: int
    """The default number of pairs per task."""
    judge: Callable[[Scores, Relevance], PerQuery]
    """Computes `metric`."""
    chance: Callable[[Relevance], float]
    """The expected metric of a random order."""
    adapter: str
    """The task whose adapter embeds."""
    words: Callable[[str], list[str]]
    """The words of a text, for BM25."""
    draw: Callable[[str, int, int], tuple[TextPair, ...]]
    """Name of a task, number of pairs, seed -> pairs."""


@dataclass(frozen=True, slots=True)
class TextResult:
    """The result of a model on one task."""

    task: str
    scored: dict[str, PerQuery]
    """Way of scoring, "multi-vector", "dense" or "words" -> the metric of each query, `[Q]`."""
    chance: float
    candidates: int
    texts_per_second: float
    """How fast both sides were embedded."""

    def mean(self, way: str) -> Estimate:
        """The mean over the queries."""
        return overall([self], way)


def check_tasks(suite: Suite, names: Sequence[str]) -> None:
    """Refuses names that are not tasks of a suite, and an empty list.

    Raises:
        InputError: A name is not a task; the message has the first such name.
    """
    require_some_of((*suite.tasks, *suite.others), names, f"tasks of {suite.name}")


def run(
    suite: Suite,
    embedder: TextModel,
    tasks: Sequence[str] | None = None,
    candidates: int | None = None,
    seed: int = 1,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[TextResult]:
    """Draws the tasks and scores a model on each.

    Args:
        suite: The benchmark.
        embedder: The model; it has to take texts.
        tasks: Names; None stands for the tasks of the mean.
        candidates: Pairs per task, at least 2; None is the suite's default.
        seed: Decides which pairs are drawn.
        progress: Called after each batch.

    Raises:
        InputError: A name is not a task, or this machine has too few pairs for a task.
    """
    names = suite.tasks if tasks is None else tasks
    check_tasks(suite, names)
    count = suite.candidates if candidates is None else candidates
    if count < 2:
        raise InputError(f"candidates must be at least 2, got {count}")
    drawn = {name: suite.draw(name, count, seed) for name in names}
    results, done, total = [], 0, 2 * count * len(drawn)
    for name, pairs in drawn.items():
        progress(Progress(name, done, total))

        def report(texts: int, name: str = name) -> None:
            nonlocal done
            done += texts
            progress(Progress(name, done, total))

        began = time.perf_counter()
        queries, documents = [pair.query for pair in pairs], [pair.document for pair in pairs]
        asked = embed_side(embedder, queries, "query", task=suite.adapter, progress=report)
        found = embed_side(embedder, documents, "passage", task=suite.adapter, progress=report)
        seconds = time.perf_counter() - began
        scores = {**similarities(embedder, asked, found), "words": score_words(suite, queries, documents)}
        relevant = np.eye(len(pairs), dtype=bool)
        scored = {way: suite.judge(each, relevant) for way, each in scores.items()}
        results.append(TextResult(name, scored, suite.chance(relevant), count, 2 * count / seconds))
    return results


def score_words(suite: Suite, queries: Iterable[str], documents: Iterable[str]) -> Scores:
    """BM25 scores of texts, `[Q, D]`."""
    return bm25([" ".join(suite.words(query)) for query in queries], [suite.words(each) for each in documents])


def overall(results: Sequence[TextResult], way: str) -> Estimate:
    """The mean over tasks. Each query has a document of its own, so the interval is over queries."""
    values = [result.scored[way] for result in results]
    return bootstrap(values, [np.arange(len(each)) for each in values])
