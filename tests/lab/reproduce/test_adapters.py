"""Adapters: what is compared is the same text with the adapter and without, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support import tiny

import polylens
from polylens.lab.benchmarks.synthetic import PageTask
from polylens.lab.reproduce.adapters import ADAPTERS, adapters, measure, text_task
from polylens.lab.synthetic.page import SyntheticPage
from polylens.lab.synthetic.queries import Query, QueryKind
from polylens.runtime.embedder import Embedder

WORDS = ["harbour", "winter", "bread", "tower", "salt", "letter", "goose", "lens"]
KINDS: tuple[QueryKind, ...] = ("key phrase", "instruction", "question")


def task(name: str, words: list[str]) -> PageTask:
    """A page a word, asked for in three ways; the last page has no instruction."""
    pages = [
        SyntheticPage(name, "en", "", "", (), (), np.zeros((0, 0, 3), dtype=np.uint8), (word, name), ())
        for word in words
    ]
    asked = [(i, kind) for i in range(len(words)) for kind in KINDS if (i, kind) != (len(words) - 1, "instruction")]
    queries = [Query(kind, f"{kind} {words[i]}", "en", frozenset()) for i, kind in asked]
    about = np.array([i for i, _ in asked])
    return PageTask(name, pages, queries, about, about[:, None] == np.arange(len(words))[None, :])


TASKS = [task("table", WORDS[:5]), task("chart", WORDS[5:]), task("code", WORDS[:4])]


@pytest.fixture
def embedder(tmp_path: Path) -> Embedder:
    return polylens.load(tiny.write(tmp_path / "tiny"), dtype="float32")


def test_queries_find_the_words_of_their_pages_among_those_of_all_tasks() -> None:
    made = text_task(TASKS, "retrieval")
    assert made.documents == [f"{word} {'table' if i < 5 else 'chart'}" for i, word in enumerate(WORDS)]
    for row, query in enumerate(made.queries):
        [right] = np.flatnonzero(made.relevant[row])
        assert WORDS[right] == query.split()[-1] and made.about[row] == right
    code = text_task(TASKS, "code")
    assert code.documents == [f"{word} code" for word in WORDS[:4]]


def test_two_names_of_a_page_belong_together_where_it_has_both() -> None:
    made = text_task(TASKS, "text-matching")
    assert made.queries == [f"instruction {word}" for word in (*WORDS[:4], *WORDS[5:7])]
    assert made.documents == [f"key phrase {word}" for word in (*WORDS[:4], *WORDS[5:7])]
    assert made.relevant.tolist() == np.eye(6, dtype=bool).tolist()


def test_with_the_adapter_it_is_what_embed_gives(embedder: Embedder) -> None:
    made = text_task(TASKS, "code")
    added = measure(embedder, "code", made)
    queries = embedder.encode_text(made.queries, task="code", prompt_name="query")
    documents = embedder.encode_text(made.documents, task="code", prompt_name="passage")
    right = [int(np.argmax(row)) == about for row, about in zip(queries @ documents.T, made.about, strict=True)]
    assert (added.with_it == 1).tolist() == right
    assert added.largest_change > 0.01


def test_adapters_that_were_never_trained_add_nothing_and_the_report_says_so(embedder: Embedder) -> None:
    assert isinstance(embedder.model, torch.nn.Module)
    trained = adapters(TASKS, embedder)
    assert all("never trained" not in claim.sentence for claim in trained.claims)
    for name, parameter in embedder.model.named_parameters():
        if "lora_b" in name:
            parameter.data.zero_()
    section = adapters(TASKS, embedder)
    assert [claim.name for claim in section.claims] == [f"The adapter of {name} helps on its task" for name in ADAPTERS]
    for claim in section.claims:
        assert claim.shows == "no" and "never trained" in claim.sentence
        assert claim.ours["with"] == claim.ours["without"] and claim.ours["gain"].mean == 0
