"""The gain of each task's adapter on its task: the same texts with it and without.

Shapes: Q queries, E embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from polylens.evaluate.metrics import Estimate, PerQuery, Relevance, bootstrap, ndcg
from polylens.lab.benchmarks.synthetic import K, PageTask
from polylens.lab.reproduce.claims import Claim, Section, decide, sentence_for
from polylens.lab.reproduce.plots import Dots
from polylens.runtime.batching import TOKENS, batches
from polylens.runtime.embedder import Embedder
from polylens.runtime.prepare import prepare
from polylens.types import FloatArray

ADAPTERS = ("retrieval", "text-matching", "code")
MAX_LENGTH = 512  # tokens of a page's words
PAPER = "jina-embeddings-v4, arXiv 2506.18902, section 4"


@dataclass(frozen=True, slots=True)
class TextTask:
    """Texts that search for texts."""

    queries: list[str]
    documents: list[str]
    prompts: tuple[str, str]
    """The prompt names of queries and of documents."""
    relevant: Relevance
    """`[Q, D]`"""
    about: npt.NDArray[np.int64]
    """`[Q]`: the page that each query belongs to."""


@dataclass(frozen=True, slots=True)
class Added:
    """nDCG@5 of each query with the adapter and without, `[Q]` each, and the change of vectors."""

    with_it: PerQuery
    without: PerQuery
    about: npt.NDArray[np.int64]
    largest_change: float
    """The largest change of any component of any vector."""

    @property
    def gain(self) -> Estimate:
        """The mean difference."""
        return bootstrap([self.with_it - self.without], [self.about])


def adapters(tasks: Sequence[PageTask], embedder: Embedder) -> Section:
    """The section on adapters.

    Args:
        tasks: Of the synthetic benchmark; their images are not needed.
        embedder: A model with these adapters.
    """
    added = {name: measure(embedder, name, text_task(tasks, name)) for name in ADAPTERS}
    return Section(
        title="The gain of each task's adapter",
        method="nDCG@5 of one vector per text, with the adapter and without any. Retrieval: queries find the "
        "words of their page. Code: the same for pages of source code. Text matching: an instruction finds the key "
        "phrase about the same page.",
        claims=tuple(_claim(name, each) for name, each in added.items()),
        plots=(
            Dots(
                title="nDCG@5",
                rows=tuple(added),
                series={
                    "with the adapter": tuple(bootstrap([each.with_it], [each.about]) for each in added.values()),
                    "without": tuple(bootstrap([each.without], [each.about]) for each in added.values()),
                },
                low=0.0,
                high=1.0,
            ),
        ),
    )


def text_task(tasks: Sequence[PageTask], adapter: str) -> TextTask:
    """The task of an adapter, made from the words of pages."""
    kept = [task for task in tasks if (task.name == "code") == (adapter == "code")]
    if adapter == "text-matching":
        return _matching(kept)
    sizes = np.cumsum([0, *(len(task.pages) for task in kept)])
    relevant = np.zeros((sum(len(task.queries) for task in kept), sizes[-1]), dtype=bool)
    row = 0
    for task, first in zip(kept, sizes, strict=False):
        relevant[row : row + len(task.queries), first : first + len(task.pages)] = task.relevant
        row += len(task.queries)
    return TextTask(
        [query.text for task in kept for query in task.queries],
        [" ".join(page.words) for task in kept for page in task.pages],
        ("query", "passage"),
        relevant,
        np.concatenate([task.about + first for task, first in zip(kept, sizes, strict=False)]),
    )


def measure(embedder: Embedder, adapter: str, task: TextTask) -> Added:
    """Measures a model with the adapter and without."""
    found: list[PerQuery] = []
    vectors: list[FloatArray] = []
    for name in (adapter, None):
        queries, documents = (
            _dense(embedder, texts, name, prompt)
            for texts, prompt in zip((task.queries, task.documents), task.prompts, strict=True)
        )
        found.append(ndcg(queries @ documents.T, task.relevant, K))
        vectors.append(np.concatenate([queries, documents]))
    return Added(found[0], found[1], task.about, float(np.abs(vectors[0] - vectors[1]).max()))


def _matching(tasks: Sequence[PageTask]) -> TextTask:
    """Instructions that search for the key phrase of the same page, for pages that have both."""
    instructions: list[str] = []
    phrases: list[str] = []
    for task in tasks:
        by_page: dict[tuple[int, str], str] = {
            (int(page), query.kind): query.text for page, query in zip(task.about, task.queries, strict=True)
        }
        for page in range(len(task.pages)):
            if (page, "instruction") in by_page and (page, "key phrase") in by_page:
                instructions.append(by_page[page, "instruction"])
                phrases.append(by_page[page, "key phrase"])
    count = len(phrases)
    return TextTask(instructions, phrases, ("query", "query"), np.eye(count, dtype=bool), np.arange(count))


def _dense(embedder: Embedder, texts: Sequence[str], adapter: str | None, prompt: str) -> FloatArray:
    """Dense vectors, `[N, E]`, as of `Embedder.embed`, which cannot leave the adapter out."""
    items = [
        prepare(
            embedder.processor,
            embedder.modalities,
            text,
            index,
            task=adapter,
            prompt_name=prompt,
            max_length=MAX_LENGTH,
            max_pixels=None,
        )
        for index, text in enumerate(texts)
    ]
    vectors = np.zeros((len(items), embedder.dim), dtype=np.float32)
    for batch in batches([item.num_tokens for item in items], max_items=None, token_budget=TOKENS):
        for index, (embedding,) in zip(batch, embedder.engine.run([items[i] for i in batch]), strict=True):
            vectors[index] = embedding.dense
    return vectors


def _claim(adapter: str, added: Added) -> Claim:
    gain = added.gain
    shows = decide(gain)
    sentence = sentence_for(
        shows,
        "It finds more with its adapter.",
        "Its adapter does not help here.",
        "The interval of the gain contains zero: the effect cannot be judged at this size.",
    )
    if added.largest_change == 0:
        sentence = (
            "The adapter adds nothing: no number of any vector changes with it, so it was never trained. "
            "`polylens train jina-v4` trains all of them."
        )
    return Claim(
        name=f"The adapter of {adapter} helps on its task",
        published="no figure: the paper reports the adapters together with everything else",
        source=PAPER,
        ours={
            "with": bootstrap([added.with_it], [added.about]),
            "without": bootstrap([added.without], [added.about]),
            "gain": gain,
        },
        shows=shows,
        sentence=sentence,
    )
