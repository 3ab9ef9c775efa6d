"""The synthetic benchmark, in the manner of Jina-VDR: generated pages, queries of several kinds, nDCG@5.

Every page, query, font and design is held out from training (`polylens.lab.synthetic`); a task is determined by its
name, its size and a seed. Pages are embedded from their images alone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import PIL.Image

from polylens.errors import InputError
from polylens.evaluate.bm25 import bm25
from polylens.evaluate.metrics import Estimate, PerQuery, Relevance, Scores, bootstrap, chance_ndcg, ndcg, recall
from polylens.evaluate.tasks import Progress, require_some_of
from polylens.evaluate.vectors import embed_side, similarities
from polylens.lab.synthetic.page import SyntheticPage
from polylens.lab.synthetic.pages import page
from polylens.lab.synthetic.queries import KINDS, Query, ask
from polylens.runtime.embedder import Embedder
from polylens.types import Embedding

TASKS = ("table", "chart", "invoice", "slide", "scan", "multilingual", "code")
K = 5
MOST_RIGHT = 3  # pages that may answer a query; a query with more answers says too little
_TRIES = 12  # draws of one kind of query about one page
_BATCH = 4  # images in memory at once


@dataclass(frozen=True, slots=True)
class PageTask:
    """Pages of one kind, and queries with the pages that are right for them."""

    name: str
    pages: list[SyntheticPage]
    queries: list[Query]
    about: npt.NDArray[np.int64]
    """`[Q]`: the page that each query is about."""
    relevant: Relevance
    """`[Q, D]`: pages that say everything that a query names, the one that it is about among them."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The metrics of one way of scoring on a task, per query: `[Q]` each."""

    ndcg: PerQuery
    recall: PerQuery


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A task with its scores by every way of scoring: "multi-vector", "dense", "words"."""

    task: PageTask
    scored: dict[str, Scored]
    chance: float
    """nDCG@5 of a random order."""
    seconds: float
    """Time to embed the pages."""

    def mean(self, way: str, kind: str | None = None) -> Estimate:
        """The mean nDCG@5 over the queries, or over those of one kind."""
        chosen = np.array([kind in (None, query.kind) for query in self.task.queries])
        return bootstrap([self.scored[way].ndcg[chosen]], [self.task.about[chosen]])


def check_tasks(names: Sequence[str]) -> None:
    """Refuses names that are not tasks, and an empty list.

    Raises:
        InputError: A name is not a task; the message has the first such name.
    """
    require_some_of(TASKS, names)


def make_task(name: str, pages: int = 60, seed: int = 1) -> PageTask:
    """Draws a task: one query of each kind per page, where a page has such queries.

    Args:
        name: One of `TASKS`.
        pages: Number of pages, at least 1.
        seed: Decides pages and queries.

    Raises:
        InputError: There is no such task, or its fonts are not installed.
    """
    check_tasks([name])
    if pages < 1:
        raise InputError(f"pages must be at least 1, got {pages}")
    drawn = [page(name, "held_out", seed, number) for number in range(pages)]
    keys = [each.keys for each in drawn]
    queries: list[Query] = []
    about: list[int] = []
    for number, each in enumerate(drawn):
        rng = random.Random(f"{name}/{seed}/{number}/queries")
        for kind in KINDS:
            for _ in range(_TRIES):
                query = ask(rng, each, kind, "held_out")
                if query and sum(map(query.is_answered_by, keys)) <= MOST_RIGHT:
                    queries.append(query)
                    about.append(number)
                    break
    relevant = np.array([[query.is_answered_by(said) for said in keys] for query in queries])
    return PageTask(name, drawn, queries, np.array(about), relevant)


def score_words(task: PageTask) -> Scores:
    """BM25 scores over the words drawn on the pages, `[Q, D]`."""
    return bm25([query.text for query in task.queries], [each.words for each in task.pages])


def score_model(
    task: PageTask, embedder: Embedder, progress: Callable[[int], None] = lambda _: None
) -> dict[str, Scores]:
    """A model's scores, `[Q, D]`: "dense" and, with late interaction, "multi-vector"."""
    asked, documents = embed_task(task, embedder, progress)
    return similarities(embedder, asked, documents)


def embed_task(
    task: PageTask, embedder: Embedder, progress: Callable[[int], None] = lambda _: None
) -> tuple[list[Embedding], list[Embedding]]:
    """A model's vectors of the queries, and of the images of the pages.

    Args:
        task: The task.
        embedder: The model.
        progress: Called with the number of pages of each batch.
    """
    documents = []
    for start in range(0, len(task.pages), _BATCH):
        pictures = [PIL.Image.fromarray(each.image) for each in task.pages[start : start + _BATCH]]
        documents += embed_side(embedder, pictures, "passage")
        progress(len(pictures))
    return embed_side(embedder, [query.text for query in task.queries], "query"), documents


def run(
    embedder: Embedder,
    tasks: Sequence[str] = TASKS,
    pages: int = 60,
    seed: int = 1,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[TaskResult]:
    """Draws the tasks and scores a model on each.

    Args:
        embedder: The model; it must take texts and images.
        tasks: Names.
        pages: Pages per task.
        seed: Decides pages and queries.
        progress: Called after each batch of pages.

    Raises:
        InputError: A name is not a task, or its fonts are not installed.
    """
    check_tasks(tasks)
    results, done, total = [], 0, pages * len(tasks)
    for name in tasks:
        progress(Progress(name, done, total))
        task = make_task(name, pages, seed)

        def report(count: int, name: str = name) -> None:
            nonlocal done
            done += count
            progress(Progress(name, done, total))

        began = time.perf_counter()
        scores = score_model(task, embedder, report)
        seconds = time.perf_counter() - began
        every = {**scores, "words": score_words(task)}
        scored = {
            way: Scored(ndcg(each, task.relevant, K), recall(each, task.relevant, K)) for way, each in every.items()
        }
        results.append(TaskResult(task, scored, chance_ndcg(task.relevant, K), seconds))
    return results


def overall(results: Sequence[TaskResult], way: str) -> Estimate:
    """The mean nDCG@5 over tasks."""
    return bootstrap([result.scored[way].ndcg for result in results], [result.task.about for result in results])
