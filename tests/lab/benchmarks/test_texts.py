"""Benchmarks of texts: figures against a slow calculation, draws by a seed, errors that say what to install."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console

import polylens
from polylens.errors import InputError
from polylens.lab.benchmarks import suites, text_report, texts
from polylens.lab.benchmarks.suites import FUNCTIONS, LANGUAGES, MOST_PER_MODULE
from polylens.lab.corpora import catalogues, functions
from polylens.lab.corpora.text import TextPair
from polylens.runtime.embedder import Embedder
from polylens.types import Embedding

NUM_PAIRS = 30


class Reader:
    """A text's vector is drawn from its number, a query's near that of its document: some are found, some are not."""

    multivector_dim = None
    tasks = ("retrieval", "code")

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str | None]] = []

    def embed(self, inputs: Sequence[str], *, task: str | None, prompt_name: str | None, progress: Any) -> Any:
        self.asked.append((task, prompt_name))
        progress(len(inputs))
        found = []
        for text in inputs:
            number = int(text.split()[-1])
            vector = np.random.default_rng(number).standard_normal(16)
            if prompt_name == "query":
                vector = vector + np.random.default_rng(1000 + number).standard_normal(16) * 1.6
            found.append(Embedding((vector / np.linalg.norm(vector)).astype(np.float32), None))
        return found

    def similarity(self, queries: Any, documents: Any) -> Any:
        return queries @ documents.T


def numbered(name: str, count: int, seed: int) -> tuple[TextPair, ...]:
    """Of every three pairs one says the same on both sides."""
    return tuple(TextPair(f"ask {name} {i}", f"{'ask' if i % 3 == 0 else 'say'} it {i}") for i in range(count))


@pytest.mark.parametrize(("suite", "adapter"), [(LANGUAGES, "retrieval"), (FUNCTIONS, "code")])
def test_the_figures_are_those_of_a_slow_calculation(suite: texts.Suite, adapter: str) -> None:
    reader, told = Reader(), []
    names = suite.tasks[:2]
    suite = replace(suite, draw=numbered)
    results = texts.run(suite, cast("Embedder", reader), names, NUM_PAIRS, progress=told.append)
    assert [result.task for result in results] == list(names)
    assert reader.asked == [(adapter, "query"), (adapter, "passage")] * len(names)
    assert (told[0].done, told[-1].done, told[-1].total) == (0, 2 * NUM_PAIRS * len(names), 2 * NUM_PAIRS * len(names))

    def vector(number: int, prompt_name: str) -> Any:
        return reader.embed([f"{number}"], task=None, prompt_name=prompt_name, progress=lambda _: None)[0].dense

    expected = []
    for query in range(NUM_PAIRS):
        scores = [float(vector(query, "query") @ vector(document, "passage")) for document in range(NUM_PAIRS)]
        rank = sum(score > scores[query] for score in scores)
        if suite.name == "languages":
            expected.append(1.0 if rank < 5 else 0.0)
        else:
            expected.append(1 / math.log2(rank + 2) if rank < 10 else 0.0)
    assert 0.2 < np.mean(expected) < 0.95
    for result in results:
        assert result.scored["dense"] == pytest.approx(expected)
        assert result.scored.keys() == {"dense", "words"}
        estimate = result.mean("dense")
        assert estimate.mean == pytest.approx(np.mean(expected))
        assert estimate.low < estimate.mean < estimate.high
        assert 0 < result.chance < 0.3
    assert texts.overall(results, "dense").mean == pytest.approx(np.mean(expected))


def test_bm25_finds_a_text_by_what_is_written_the_same() -> None:
    queries, documents = ["max size of lines", "alles ist neu"], ["def f(maxSize):\n    pass", "everything is new"]
    scores = texts.score_words(FUNCTIONS, queries, documents)
    assert scores[0, 0] > scores[0, 1] == 0
    assert texts.score_words(LANGUAGES, queries, documents)[0].tolist() == [0, 0]


def test_functions_are_drawn_by_the_seed_and_evenly_from_modules() -> None:
    first = FUNCTIONS.draw("python", 300, 1)
    assert first == FUNCTIONS.draw("python", 300, 1) != FUNCTIONS.draw("python", 300, 2)
    assert len({pair.query for pair in first}) == len({pair.document for pair in first}) == 300
    module_of = {pair: module for module, pairs in functions.by_module("held_out").items() for pair in pairs}
    modules = [module_of[pair] for pair in first]
    assert max(map(modules.count, modules)) <= MOST_PER_MODULE
    with pytest.raises(InputError, match=r"needs 100,000 held-out functions .*; choose fewer --candidates"):
        FUNCTIONS.draw("python", 100_000, 1)


def test_translations_are_drawn_by_the_seed_from_the_held_out_half(monkeypatch: pytest.MonkeyPatch) -> None:
    def pairs(language: str, split: str) -> tuple[TextPair, ...]:
        assert (language, split) == ("de", "held_out")
        return numbered("de", 40, 0)

    monkeypatch.setattr(suites.catalogues, "pairs", pairs)
    drawn = LANGUAGES.draw("de", 20, 1)
    assert drawn == LANGUAGES.draw("de", 20, 1) != LANGUAGES.draw("de", 20, 2)
    assert len(set(drawn)) == 20 and set(drawn) <= set(numbered("de", 40, 0))


def test_too_few_translations_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites.catalogues, "pairs", lambda *_: numbered("el", 7, 0))
    monkeypatch.setattr(suites.catalogues, "missing_packages", lambda _: ["libglib2.0-data", "libgtk-3-common"])
    with pytest.raises(InputError, match=r"el needs 1,000 held-out sentences, .* have 7; apt-get install lib"):
        texts.run(LANGUAGES, cast("Embedder", Reader()), ["el"])


def test_the_twenty_languages_have_enough_on_a_machine_with_the_catalogues() -> None:
    assert len(LANGUAGES.tasks) == len(set(LANGUAGES.tasks)) == 20
    assert {*LANGUAGES.tasks, *LANGUAGES.others} == catalogues.LANGUAGES.keys()
    if set(catalogues.missing_packages("de")) - {"libgtk-4-common"}:
        pytest.skip("the held-out message catalogues are not all installed")
    for language in ("hu", "el", "zh"):
        assert len(LANGUAGES.draw(language, LANGUAGES.candidates, 1)) == 1000


@pytest.mark.parametrize("names", [["de", "xx"], []])
def test_a_name_that_is_no_language_and_a_size_that_is_none_are_refused(names: list[str]) -> None:
    with pytest.raises(InputError, match=r"tasks of languages must be among de, .*, got '(xx)?'"):
        texts.run(LANGUAGES, cast("Embedder", Reader()), names)
    with pytest.raises(InputError, match="at least 2"):
        texts.run(LANGUAGES, cast("Embedder", Reader()), ["de"], 1)


def test_nano_is_measured_and_the_report_says_what_came_out() -> None:
    results = texts.run(FUNCTIONS, polylens.load("nano"), candidates=24)
    [result] = results
    assert result.scored.keys() == {"multi-vector", "dense", "words"}
    assert result.mean("multi-vector").mean > result.chance + 0.1
    report = text_report.as_json(FUNCTIONS, results, model="nano", seed=1)
    mean = result.mean("multi-vector").mean
    assert report["mean nDCG@10"]["multi-vector"]["mean"] == pytest.approx(mean, abs=1e-4)
    assert report["tasks"][0]["candidates"] == 24 and report["benchmark"] == "functions"
    console = Console(width=200, file=io.StringIO())
    console.print(text_report.table(FUNCTIONS, results))
    assert f"{mean:.3f}" in console.file.getvalue()  # type: ignore[attr-defined]
