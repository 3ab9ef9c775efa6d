"""The benchmark on meaning: figures against a slow count, candidates of all languages, errors, nano and the report."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import polylens
from polylens.errors import InputError
from polylens.evaluate.tasks import Progress
from polylens.lab.benchmarks import meaning, text_report
from polylens.lab.corpora.meanings import meanings, near_misses
from polylens.types import Embedding

ASKED = meanings()[:12]
NEAR = [each for each in near_misses() if each.group in {each.group for each in ASKED}]


class Knower:
    """Knows each meaning in German, and takes every third French one for the near miss of its group."""

    multivector_dim = None
    tasks = ("retrieval",)

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, int]] = []

    def embed(
        self,
        inputs: Sequence[Any],
        *,
        task: str | None = None,  # noqa: ARG002
        prompt_name: str | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Embedding]:
        self.asked.append((prompt_name, len(inputs)))
        progress(len(inputs))
        return [Embedding(self._vector(text), np.zeros((1, 1), np.float32)) for text in inputs]

    def _vector(self, text: str) -> Any:
        vector = np.zeros(len(ASKED) + 1, np.float32)
        for number, each in enumerate(ASKED):
            if text in (each.paraphrase, each.said["de"]) or (text == each.said["fr"] and number % 3):
                vector[number] = 1.0
            elif text == next(miss.text for miss in NEAR if miss.group == each.group) and number % 3 == 0:
                vector[number] = 0.5
        vector[-1] = 1e-3
        return vector

    def similarity(self, queries: Any, documents: Any) -> Any:
        return queries @ documents.T


def test_the_figures_are_those_of_a_slow_count() -> None:
    knower, told = Knower(), list[Progress]()
    german, french = meaning.run(knower, ["de", "fr"], told.append, asked=ASKED, near=NEAR)
    assert knower.asked == [("query", 12), ("passage", len(NEAR)), ("passage", 12), ("passage", 12)]
    assert (told[-1].done, told[-1].total) == (3 * 12 + len(NEAR),) * 2
    assert german.scored["dense"].tolist() == [1.0] * 12
    assert french.scored["dense"].tolist() == [0.0, 1.0, 1.0] * 4
    for result in (german, french):
        assert result.candidates == 12 + len(NEAR) and result.chance == pytest.approx(1 / result.candidates)
        assert result.scored.keys() == {"dense", "words"}


def test_descriptions_are_asked_where_wanted() -> None:
    [result] = meaning.run(Knower(), ["de"], described=True, asked=ASKED, near=NEAR)  # which it does not know
    assert result.scored["dense"].tolist() == [0.0] * 12


def test_only_the_own_language_competes_where_wanted() -> None:
    [french] = meaning.run(Knower(), ["fr"], own_language=True, asked=ASKED, near=NEAR)
    assert french.candidates == 12 + sum(each.language == "fr" for each in NEAR)
    english, german = meaning.run(Knower(), ["en", "de"], own_language=True)
    assert (english.candidates, german.candidates) == (450, 250)


def test_shared_words_find_next_to_nothing() -> None:
    results = meaning.run(Knower(), ["en", "ja"], asked=meanings())
    assert results[0].candidates == 1000
    assert results[0].mean("words").mean < 0.05 and results[1].mean("words").mean == 0


@pytest.mark.parametrize("names", [["de", "xx"], []])
def test_what_is_no_language_of_the_benchmark_is_refused(names: list[str]) -> None:
    with pytest.raises(InputError, match=r"tasks of meaning must be among en, de, .*, got '(xx)?'"):
        meaning.run(Knower(), names)


def test_one_meaning_is_too_few() -> None:
    with pytest.raises(InputError, match="at least 2 meanings, got 1"):
        meaning.run(Knower(), ["de"], asked=ASKED[:1])


def test_nano_is_measured_and_the_report_says_what_came_out() -> None:
    results = meaning.run(polylens.load("nano"), ["en"], asked=ASKED, near=NEAR)
    assert results[0].scored.keys() == {"multi-vector", "dense", "words"}
    report = text_report.as_json(meaning.MEANING, results, model="nano")
    assert report["benchmark"] == "meaning" and "seed" not in report
    assert report["tasks"][0]["candidates"] == 12 + len(NEAR)
    mean = results[0].mean("multi-vector").mean
    assert report["mean recall@1"]["multi-vector"]["mean"] == pytest.approx(mean, abs=1e-4)
    console = Console(width=200, file=io.StringIO())
    console.print(text_report.table(meaning.MEANING, results))
    assert f"{mean:.3f}" in console.file.getvalue()  # type: ignore[attr-defined]
