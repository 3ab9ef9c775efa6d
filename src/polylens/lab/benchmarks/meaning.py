"""The benchmark on meaning: everyday English sentences search for what means the same, in twelve languages.

Queries are paraphrases or, which is harder, descriptions that say what led to it or follows from it. Each language is a
task. Its candidates are all meanings in that language and the near misses in all languages: 1,000 sentences
(`polylens.lab.corpora.meanings`). Nothing is drawn, so there is no seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from polylens.errors import InputError
from polylens.evaluate.bm25 import bm25
from polylens.evaluate.metrics import recall
from polylens.evaluate.tasks import Progress, require_some_of
from polylens.evaluate.vectors import TextModel, embed_side, similarities
from polylens.lab.benchmarks.texts import Benchmark, TextResult
from polylens.lab.corpora.meanings import LANGUAGES, Meaning, NearMiss, meanings, near_misses

TASKS = LANGUAGES
RECALL_AT = 1

MEANING = Benchmark(name="meaning", unit="language", metric=f"recall@{RECALL_AT}")


def check_tasks(names: Sequence[str]) -> None:
    """Refuses names that are not languages of the benchmark, and an empty list.

    Raises:
        InputError: A name is not a language; the message has the first such name.
    """
    require_some_of(TASKS, names, "tasks of meaning")


def run(
    model: TextModel,
    tasks: Sequence[str] = TASKS,
    progress: Callable[[Progress], None] = lambda _: None,
    *,
    described: bool = False,
    own_language: bool = False,
    asked: Sequence[Meaning] | None = None,
    near: Sequence[NearMiss] | None = None,
) -> list[TextResult]:
    """Scores a model on each language. Queries and near misses are embedded once for all of them.

    Args:
        model: The model; it has to take texts.
        tasks: Languages.
        progress: Called after each batch.
        described: Whether descriptions are asked instead of paraphrases.
        own_language: Whether near misses in other languages than the task's are left out, which leaves 250 candidates
            (450 in English) and takes no notice of a model that prefers some languages.
        asked: The meanings; None is all of them.
        near: The near misses; None is all of them.

    Raises:
        InputError: A name is not a language of the benchmark, or there are fewer than two meanings.
    """
    check_tasks(tasks)
    asked = meanings() if asked is None else asked
    near = near_misses() if near is None else near
    if len(asked) < 2:
        raise InputError(f"the benchmark on meaning needs at least 2 meanings, got {len(asked)}")
    done, total = 0, len(asked) * (1 + len(tasks)) + len(near)
    current = tasks[0]

    def report(texts: int) -> None:
        nonlocal done
        done += texts
        progress(Progress(current, done, total))

    began = time.perf_counter()
    queries = [each.description if described else each.paraphrase for each in asked]
    query_vectors = embed_side(model, queries, "query", progress=report)
    near_vectors = embed_side(model, [each.text for each in near], "passage", progress=report) if near else []
    answer_vectors = {}
    for current in tasks:
        answer_vectors[current] = embed_side(model, [each.said[current] for each in asked], "passage", progress=report)
    rate = total / (time.perf_counter() - began)

    results = []
    for language in tasks:
        kept = [index for index, each in enumerate(near) if not own_language or each.language == language]
        candidates = [*(each.said[language] for each in asked), *(near[index].text for index in kept)]
        vectors = [*answer_vectors[language], *(near_vectors[index] for index in kept)]
        scores = {
            **similarities(model, query_vectors, vectors),
            "words": bm25(queries, [each.split() for each in candidates]),
        }
        relevant = np.eye(len(asked), len(candidates), dtype=bool)
        scored = {way: recall(each, relevant, RECALL_AT) for way, each in scores.items()}
        results.append(TextResult(language, scored, RECALL_AT / len(candidates), len(candidates), rate))
    return results
