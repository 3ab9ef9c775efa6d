"""The benchmark itself: what knows everything scores 1, what knows nothing scores chance."""

from __future__ import annotations

import functools
import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import polylens
from polylens.errors import InputError
from polylens.evaluate.figures import write_json
from polylens.evaluate.metrics import chance_ndcg, ndcg
from polylens.lab.benchmarks.report import as_json, tables
from polylens.lab.benchmarks.synthetic import (
    MOST_RIGHT,
    TASKS,
    PageTask,
    Progress,
    make_task,
    overall,
    run,
    score_words,
)
from polylens.lab.synthetic.queries import KINDS

PAGES = 12


@functools.cache
def task(name: str) -> PageTask:
    try:
        return make_task(name, PAGES, seed=4)
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_its_pages_and_queries_of_all_kinds(name: str) -> None:
    made = task(name)
    assert len(made.pages) == PAGES and len(made.queries) == len(made.about) == len(made.relevant)
    kinds = {query.kind for query in made.queries}
    assert kinds == set(KINDS) - ({"other language"} if name == "code" else set())
    assert made.relevant[np.arange(len(made.queries)), made.about].all()
    assert made.relevant.sum(axis=1).max() <= MOST_RIGHT
    assert (made.relevant.sum(axis=1) == 1).mean() > 0.7
    slow = [[all(key in page.keys for key in query.needs) for page in made.pages] for query in made.queries]
    assert made.relevant.tolist() == slow


@pytest.mark.parametrize("name", TASKS)
def test_an_oracle_over_the_facts_finds_everything(name: str) -> None:
    made = task(name)
    said = [[len(query.needs & page.keys) / len(query.needs) for page in made.pages] for query in made.queries]
    assert ndcg(np.array(said), made.relevant, 5).min() == 1.0


@pytest.mark.parametrize("name", TASKS)
def test_a_random_order_scores_chance_and_exact_words_score_high(name: str) -> None:
    made = task(name)
    rng = np.random.default_rng(0)
    random_orders = [ndcg(rng.random(made.relevant.shape), made.relevant, 5).mean() for _ in range(40)]
    assert np.mean(random_orders) == pytest.approx(chance_ndcg(made.relevant, 5), abs=0.04)
    exact = [query.kind in ("key phrase", "instruction") for query in made.queries]
    words = ndcg(score_words(made), made.relevant, 5)[exact].mean()
    assert words > (0.8 if name == "code" else 0.9)


def test_queries_in_another_language_share_few_words_with_their_page() -> None:
    made = task("table")
    foreign = np.array([query.kind == "other language" for query in made.queries])
    words = ndcg(score_words(made), made.relevant, 5)
    assert words[foreign].mean() < 0.3 < 0.9 < words[~foreign].mean()


def test_a_name_that_is_no_task_and_a_size_that_is_none_are_refused() -> None:
    with pytest.raises(InputError, match="'tabel'"):
        make_task("tabel")
    with pytest.raises(InputError, match="at least 1"):
        make_task("table", 0)


def test_nano_is_measured_and_the_report_says_what_came_out(tmp_path: Path) -> None:
    told: list[Progress] = []
    try:
        results = run(polylens.load("nano"), ("chart", "slide"), pages=5, seed=2, progress=told.append)
    except InputError as error:
        pytest.skip(str(error))
    assert [result.task.name for result in results] == ["chart", "slide"]
    assert (told[0].done, told[-1].done, told[-1].total) == (0, 10, 10)
    assert set(results[0].scored) == {"multi-vector", "dense", "words"}
    late = overall(results, "multi-vector")
    assert late.low <= late.mean <= late.high <= 1
    assert late.mean > np.mean([result.chance for result in results]) + 0.1

    write_json(as_json(results, model="nano", seed=2), tmp_path / "figures.json")
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
    report = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert report["mean nDCG@5"]["multi-vector"]["mean"] == pytest.approx(late.mean, abs=1e-4)
    for row, result in zip(report["tasks"], results, strict=True):
        asked = [query.language for query in result.task.queries if query.kind != "other language"]
        assert row["nDCG@5 by language, asked in it"].keys() == set(asked)
        assert row["nDCG@5"]["dense"]["mean"] == pytest.approx(result.scored["dense"].ndcg.mean(), abs=1e-4)
    console = Console(width=200, file=io.StringIO())
    for table in tables(results):
        console.print(table)
    text = console.file.getvalue()
    assert "chart" in text and f"{late.mean:.3f}" in text and "key phrase" in text
