"""Small data in the place of those that mteb's tasks would fetch: the task is the real one, its corpus is made here."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.sts import AbsTaskSTS
from mteb.abstasks.text.summarization import AbsTaskSummarization
from mteb.types import PromptType

WORDS = ("harbour", "invoice", "turbine", "orchard", "violin", "glacier", "compiler", "saddle")
LARGE = {"Retrieval", "Reranking"}


def can_be_filled(task: Any) -> bool:
    """Whether `filled` knows the form of the task's data."""
    is_plain = "Instruction" not in task.metadata.type
    return is_plain and isinstance(task, (AbsTaskRetrieval, AbsTaskSTS, AbsTaskSummarization))


def filled(task: Any) -> Any:
    """A task with data for one of its languages and splits, so that nothing is loaded."""
    subset, split = next(iter(task.hf_subsets or ["default"])), task.eval_splits[0]
    task.hf_subsets = [subset]
    task.metadata = task.metadata.model_copy(update={"eval_splits": [split]})
    if isinstance(task, AbsTaskSTS):
        data = _sentences()
    elif isinstance(task, AbsTaskSummarization):
        data = _summaries(task)
    else:
        data = _retrieval(task)
    task.dataset = {subset: DatasetDict({split: data}) if isinstance(data, Dataset) else {split: data}}
    task.data_loaded = True
    return task


def _sentences() -> Dataset:
    pairs = [(f"A {word} by the sea.", f"A {WORDS[i // 2]} by the sea.") for i, word in enumerate(WORDS)]
    left, right = zip(*pairs, strict=True)
    return Dataset.from_dict({"sentence1": left, "sentence2": right, "score": list(range(len(WORDS)))})


def _summaries(task: Any) -> Dataset:
    """Two articles, each with summaries that leave more and more out, and people's marks for them."""
    rows = []
    for words in (WORDS[:4], WORDS[4:]):
        machine = [" ".join(words[:length]) for length in (4, 3, 2, 1)]
        rows.append((" and ".join(words), [" ".join(words)], machine, [task.max_score - place for place in range(4)]))
    columns = ("text", "human_summaries", "machine_summaries", "relevance")
    return Dataset.from_dict(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))


def _retrieval(task: Any) -> dict[str, Any]:
    sides = {}
    for name, side in (("corpus", PromptType.document), ("queries", PromptType.query)):
        columns: dict[str, list[Any]] = {"id": [f"{name[0]}{i}" for i in range(len(WORDS))]}
        modalities = task.metadata.get_modalities(side)
        if "text" in modalities:
            columns["text"] = [f"{word} number {i}" for i, word in enumerate(WORDS)]
        if "image" in modalities:
            columns["image"] = [_picture(i) for i in range(len(WORDS))]
        sides[name] = Dataset.from_dict(columns)
    candidates = {f"q{i}": [f"c{j}" for j in range(i, i + 4) if j < len(WORDS)] for i in range(len(WORDS))}
    return {
        **sides,
        "relevant_docs": {f"q{i}": {f"c{i}": 1} for i in range(len(WORDS))},
        "top_ranked": candidates if "Reranking" in task.metadata.type else None,
    }


def _picture(number: int) -> PIL.Image.Image:
    rng = np.random.default_rng(number)
    return PIL.Image.fromarray(rng.integers(0, 255, (56, 84, 3), dtype=np.uint8))
