"""Benchmarks of texts that belong together: each query has one right document among those of all the others.

The pairs lie on the machine (`polylens.lab.corpora`), held out from training; `suites` says which are drawn. BM25
beside a model is what can be found by words that are written the same on both sides.
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
from polylens.evaluate.vectors import embed_side, similarities
from polylens.lab.corpora.text import TextPair
from polylens.runtime.embedder import Embedder


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """A benchmark: what is searched, and how it is judged."""

    name: str
    unit: str
    """What one of its tasks is, such as a language."""
    tasks: tuple[str, ...]
    """Those that its mean is over."""
    others: tuple[str, ...]
    """Those that may be asked for besides."""
    candidates: int
    """Documents that compete in a task, and queries, unless another number is asked for."""
    metric: str
    judge: Callable[[Scores, Relevance], PerQuery]
    """What `metric` names."""
    chance: Callable[[Relevance], float]
    """What a random order gets by it on average."""
    adapter: str
    """The task whose adapter embeds."""
    words: Callable[[str], list[str]]
    """Of a text, for BM25."""
    draw: Callable[[str, int, int], tuple[TextPair, ...]]
    """Name of a task, how many, a seed -> its pairs."""


@dataclass(frozen=True, slots=True)
class TextResult:
    """How a model did on one task."""

    task: str
    scored: dict[str, PerQuery]
    """Way of scoring, "multi-vector", "dense" or "words" -> the metric of each query, `[Q]`."""
    chance: float
    seconds: float
    """To embed both sides."""

    def mean(self, way: str) -> Estimate:
        """Over the queries."""
        return overall([self], way)


def check_tasks(suite: Suite, names: Sequence[str]) -> None:
    """Refuses names that are no tasks of a suite, and no names at all.

    Raises:
        InputError: Names the first of them.
    """
    require_some_of((*suite.tasks, *suite.others), names, f"tasks of {suite.name}")


def run(
    suite: Suite,
    embedder: Embedder,
    tasks: Sequence[str] | None = None,
    candidates: int | None = None,
    seed: int = 1,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[TextResult]:
    """Draws the tasks and scores a model on each.

    Args:
        suite: Which benchmark.
        embedder: The model; it has to take texts.
        tasks: Names; when None, those that the mean is over.
        candidates: Of each task, at least 2; when None, as many as the suite says.
        seed: Decides which pairs are drawn.
        progress: Called after each batch.

    Raises:
        InputError: A name is no task, or this machine has too few pairs for one.
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
        results.append(TextResult(name, scored, suite.chance(relevant), seconds))
    return results


def score_words(suite: Suite, queries: Iterable[str], documents: Iterable[str]) -> Scores:
    """BM25 of texts, `[Q, D]`."""
    return bm25([" ".join(suite.words(query)) for query in queries], [suite.words(each) for each in documents])


def overall(results: Sequence[TextResult], way: str) -> Estimate:
    """Mean over tasks. Each query is about a document of its own, so the interval is over queries."""
    values = [result.scored[way] for result in results]
    return bootstrap(values, [np.arange(len(each)) for each in values])
