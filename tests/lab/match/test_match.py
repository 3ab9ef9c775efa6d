"""The measure of match is fitted to questions whose answers are known, and keeps its word on others."""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path

import numpy as np
import pytest
from tests.support import tiny

import polylens
from polylens.checkpoints.calibration import FILE, read_calibration, write_calibration
from polylens.checkpoints.loading import read_header
from polylens.errors import CheckpointError, InputError
from polylens.index.ranking.match import measure_of
from polylens.lab.match import fitting
from polylens.lab.match.asking import Case, ask_all, questions, sizes
from polylens.lab.match.fitting import BINS, TOP, asked_in, fit, judge, logistic, rankings_of
from polylens.lab.match.material import AskedQuery, Material, SeenPage, make_material, num_pages
from polylens.lab.match.report import as_json, outcome, tables
from polylens.types import Embedding

WIDTH = 16


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    values = rng.standard_normal(shape).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


@functools.cache
def material(seed: int, pages: int = 40) -> Material:
    """Pages with vectors at random, and queries with vectors near those of their pages, some nearer than others."""
    rng = np.random.default_rng(seed)
    seen, queries, pictures = [], [], []
    for number in range(pages):
        looks, words = unit(rng, 8, 128), unit(rng, 6, 128)
        seen.append(
            SeenPage(f"word{number} harbour", *(Embedding(each.mean(axis=0)[:WIDTH], each) for each in (looks, words)))
        )
        for tokens, kind in ((words, queries), (looks, pictures)):
            for noise in (0.04, 0.12):
                near = tokens[:4] + noise * rng.standard_normal((4, 128)).astype(np.float32)
                near /= np.linalg.norm(near, axis=1, keepdims=True)
                text = f"the word{number}" if kind is queries and noise < 0.1 else "harbour" if kind is queries else ""
                kind.append(AskedQuery(text, Embedding(near.mean(axis=0)[:WIDTH], near), frozenset({number})))
    return Material(seen, queries, pictures)


@functools.cache
def cases(seed: int) -> list[Case]:
    return list(ask_all(material(seed), seed))


class TestAsking:
    def test_every_question_is_asked_in_a_library_of_each_size(self) -> None:
        there = sizes(material(1))
        assert there == [4, 12] and len(cases(1)) == 2 * len(questions(material(1)))
        assert {len(case.right) for case in cases(1)} == set(there)
        assert asked_in(cases(1)) == ["words", "picture", "both"]

    def test_about_half_have_an_answer_there(self) -> None:
        answered = [case.is_answered for case in cases(1)]
        assert 0.3 < np.mean(answered) < 0.6
        assert answered == [bool(case.right.any()) for case in cases(1)]

    def test_a_ranking_has_its_own_order(self) -> None:
        case = next(case for case in cases(1) if case.asked == "words" and len(case.right) == 12)
        for by in ("late", "dense", "text"):
            told = case.ranked(by)
            scores = getattr(told.evidence, by)
            assert (np.diff(scores) <= 0).all() and told.evidence.by == by
            assert len(told.right) == (12 if by != "text" else int((case.evidence.text > 0).sum()))
        assert case.ranked("fused") is case


class TestFitting:
    @pytest.fixture(autouse=True)
    def small_libraries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """These have four and twelve pages, whose backgrounds count here."""
        monkeypatch.setattr(fitting, "LARGE", 4)

    def test_logistic_regression_finds_the_curve_that_made_the_data(self) -> None:
        rng = np.random.default_rng(0)
        rows = rng.standard_normal((20_000, 2)) * (1.0, 5.0) + (0.0, 3.0)
        logits = -1.0 + 2.0 * rows[:, 0] - 0.3 * rows[:, 1]
        bias, weights = logistic(rows, rng.random(20_000) < 1 / (1 + np.exp(-logits)))
        assert [bias, *weights] == pytest.approx([-1.0, 2.0, -0.3], abs=0.1)  # standard errors are up to 0.03

    def test_what_was_fitted_keeps_its_word_on_other_questions(self) -> None:
        told = outcome(cases(1), cases(2))
        assert [(each.asked, each.by) for each in told.own] == [
            (asked, by) for asked in ("words", "picture", "both") for by in rankings_of(asked)
        ]
        for own in told.own:
            assert len(own.bins) == BINS and own.error < 0.1
            if own.by in (
                "fused",
                "late",
            ):
                assert own.precision > 0.9 and own.recall > 0.6 * own.found and own.rightly_empty > 0.9

    def test_a_bin_says_what_is_in_it(self) -> None:
        [words] = [each for each in judge(cases(2), None) if (each.asked, each.by) == ("words", "late")]
        measure = measure_of(None, "words")
        pairs = [
            pair
            for case in cases(2)
            if case.asked == "words"
            for pair in list(zip(measure(case.ranked("late").evidence), case.ranked("late").right, strict=True))[:TOP]
        ]
        for each in words.bins:
            inside = [(said, right) for said, right in pairs if each.low <= min(said, 0.9999) < each.high]
            assert each.pages == len(inside)
            if inside:
                assert (each.said, each.right) == pytest.approx(tuple(np.mean(inside, axis=0)), abs=1e-6)

    def test_tables_and_figures(self) -> None:
        told = outcome(cases(1), cases(2))
        shown = list(tables(told))
        assert len(shown) == 4 and shown[0].row_count == 11 and shown[1].row_count == BINS
        figures = json.loads(json.dumps(as_json(told, model="fake", pages=1, seed=1)))
        assert figures["curves"]["words"]["late"].keys() == {"bias", "weights", "middle", "spread"}


def test_halves_have_nothing_in_common() -> None:
    whole = material(1)
    halves = whole.halves(7)
    texts = [{page.text for page in half.pages} for half in halves]
    assert not texts[0] & texts[1] and len(texts[0]) == len(texts[1]) == 20
    for half in halves:
        assert len(half.queries) == len(half.pictures) == 40
        for query in half.queries:
            [number] = query.answers
            if query.text != "harbour":
                assert half.pages[number].text.split()[0] == query.text.removeprefix("the ")
    two = Material(whole.pages, [AskedQuery("x", whole.queries[0].embedding, frozenset(range(40)))], [])
    assert [half.queries for half in two.halves(7)] == [[], []]


def test_the_material_is_drawn_and_embedded(tmp_path: Path) -> None:
    embedder = polylens.load(tiny.write(tmp_path / "tiny"))
    try:
        made = make_material(embedder, 1, seed=3)
    except InputError as error:
        pytest.skip(str(error))
    assert len(made.pages) == len(made.pictures) == num_pages(1) == 10
    assert all(page.text and page.picture.num_tokens > 1 and page.words.num_tokens > 1 for page in made.pages)
    assert all(query.text and query.answers <= set(range(10)) for query in made.queries)
    assert {number for query in made.queries for number in query.answers} == set(range(10))


class TestFile:
    def test_a_model_reads_what_was_written_for_it(self, tmp_path: Path) -> None:
        folder = tiny.write(tmp_path / "tiny")
        header = read_header(folder)
        assert polylens.load(folder).calibration is None
        assert write_calibration(header, {"curves": fit(cases(1))}) == folder / FILE
        embedder = polylens.load(folder)
        assert embedder.calibration is not None and embedder.model_id.endswith(header.fingerprint)
        case = random.Random(0).choice(cases(2))
        own, other = (measure_of(each, case.asked)(case.evidence) for each in (embedder.calibration, None))
        assert own.tolist() != other.tolist()

    def test_one_for_other_weights_is_not_used(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        one, other = tiny.write(tmp_path / "one"), tiny.write(tmp_path / "other", seed=1)
        write_calibration(read_header(one), {"curves": {}})
        (other / FILE).write_bytes((one / FILE).read_bytes())
        assert polylens.load(other).calibration is None
        assert "was made for other weights" in caplog.text and "polylens eval match" in caplog.text

    @pytest.mark.parametrize("broken", ["{", "[]", "{}", '{"fingerprint": 3}'])
    def test_a_broken_one_is_refused(self, tmp_path: Path, broken: str) -> None:
        folder = tiny.write(tmp_path / "tiny")
        (folder / FILE).write_text(broken)
        with pytest.raises(CheckpointError, match=r"match\.json"):
            read_calibration(read_header(folder))

    def test_nano_has_one_for_its_weights(self) -> None:
        """After nano has been trained anew: `polylens eval match --write`, and commit the file."""
        header = read_header(Path(polylens.__file__).parent / "assets/nano")
        calibration = read_calibration(header)
        assert calibration is not None and calibration["curves"].keys() == {"words", "picture", "both"}
