"""Small data in the place of those that mteb's tasks would fetch: the task is the real one, its corpus is made here."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.classification import AbsTaskClassification
from mteb.abstasks.clustering import AbsTaskClustering
from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy
from mteb.abstasks.multilabel_classification import AbsTaskMultilabelClassification
from mteb.abstasks.pair_classification import AbsTaskPairClassification
from mteb.abstasks.sts import AbsTaskSTS
from mteb.abstasks.text.bitext_mining import AbsTaskBitextMining
from mteb.abstasks.text.summarization import AbsTaskSummarization
from mteb.types import PromptType

WORDS = ("harbour", "invoice", "turbine", "orchard", "violin", "glacier", "compiler", "saddle")
LARGE = {"Retrieval", "Reranking"}


def can_be_filled(task: Any) -> bool:
    """Whether `filled` knows the form of the task's data."""
    if isinstance(task, AbsTaskRetrieval):
        return "Instruction" not in task.metadata.type
    return any(isinstance(task, kind) for kind in FORMS) and not getattr(task, "parallel_subsets", False)


def filled(task: Any) -> Any:
    """A task with data for one of its languages and splits, so that nothing is loaded."""
    subset, split = next(iter(task.hf_subsets or ["default"])), task.eval_splits[0]
    task.hf_subsets = [subset]
    task.metadata = task.metadata.model_copy(update={"eval_splits": [split]})
    if isinstance(task, AbsTaskClustering):
        task.max_fraction_of_documents_to_embed = None  # a share of sixteen would be none
    if isinstance(task, AbsTaskRetrieval):
        task.dataset = {subset: {split: _retrieval(task)}}
    else:
        data = next(make for kind, make in FORMS.items() if isinstance(task, kind))(task)
        splits = {split: data, getattr(task, "train_split", split): data}
        task.dataset = {subset: DatasetDict(splits)} if task.metadata.is_multilingual else DatasetDict(splits)
    task.data_loaded = True
    return task


def _labelled(task: Any) -> Dataset:
    """Sixteen texts, each of one of two classes."""
    texts = [f"{'A ship' if i % 2 else 'A meadow'}, with a {WORDS[i // 2]}" for i in range(2 * len(WORDS))]
    return Dataset.from_dict(
        {task.input_column_name: texts, task.label_column_name: [i % 2 for i in range(len(texts))]}
    )


def _labelled_twice(task: Any) -> Dataset:
    once = _labelled(task)
    labels = [[i % 2, 2 + i // 2 % 2] for i in range(len(once))]
    return once.remove_columns(task.label_column_name).add_column(task.label_column_name, labels)


def _groups(task: Any) -> Dataset:
    """The same as one row: a set to be clustered."""
    once = _labelled(task)
    return Dataset.from_dict({name: [list(once[name])] for name in once.column_names})


def _pairs(task: Any) -> Dataset:
    columns = _sentences(task).to_dict()
    names = (task.input1_column_name, task.input2_column_name, task.label_column_name)
    labels = [i % 2 for i in range(len(WORDS))]
    return Dataset.from_dict(dict(zip(names, (columns["sentence1"], columns["sentence2"], labels), strict=True)))


def _sentences(_task: Any) -> Dataset:
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


FORMS = {
    AbsTaskSTS: _sentences,
    AbsTaskBitextMining: _sentences,
    AbsTaskSummarization: _summaries,
    AbsTaskMultilabelClassification: _labelled_twice,
    AbsTaskClassification: _labelled,
    AbsTaskClusteringLegacy: _groups,
    AbsTaskClustering: _labelled,
    AbsTaskPairClassification: _pairs,
}
"""A task's class -> what makes its data; retrieval is another matter."""
