"""The measure of match: scores against what chance gives."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from polylens.errors import CheckpointError
from polylens.index.ranking.match import Background, Curve, Evidence, best_of, features, measure_of, scores_of
from polylens.index.search import RANKINGS


def evidence(late: Any, **others: Any) -> Evidence:
    late = np.asarray(late, np.float32)
    return Evidence(
        **{
            "by": "late",
            "late": late,
            "dense": np.zeros_like(late),
            "text": np.zeros_like(late),
            "has_text": np.zeros(len(late), bool),
            "num_words": 3,
            **others,
        }
    )


def chance(num: int, *best: float) -> np.ndarray:
    """Scores of pages that have nothing to do with a query, after some that do."""
    return np.array([*best, *np.random.default_rng(0).normal(0.4, 0.02, num)], np.float32)


class TestBackground:
    def test_it_is_that_of_a_normal_distribution_whatever_is_right(self) -> None:
        found = Background.of(chance(20_000, 0.9, 0.8, 0.7), None)
        assert found.middle == pytest.approx(0.4, abs=1e-3)  # a standard error is 0.02 / sqrt(20,000)
        assert found.spread == pytest.approx(0.02, rel=0.02)

    def test_a_few_pages_lean_on_the_usual_one(self) -> None:
        usual = Background(0.5, 0.04)
        alone = Background.of(np.array([0.9], np.float32), usual)
        assert alone.middle == pytest.approx(0.5 + 0.4 / 9) and alone.spread == pytest.approx((8 * 0.04 + 0.005) / 9)
        many = Background.of(chance(20_000), usual)
        assert many.middle == pytest.approx(0.4, abs=2e-3)

    def test_pages_that_are_all_alike_do_not_stand_out(self) -> None:
        alike = np.full(50, 0.5, np.float32)
        alike[0] += 1e-6
        assert features(evidence(alike))["excess"].max() < 0


class TestFeatures:
    def test_the_best_of_many_by_chance(self) -> None:
        rng = np.random.default_rng(0)
        for num in (2, 30, 1_000):
            drawn = rng.standard_normal((4_000, num)).max(axis=1)
            assert best_of(num) == pytest.approx(drawn.mean(), abs=0.06)  # 4 standard errors of a mean of 4,000

    def test_excess_counts_from_there(self) -> None:
        for num in (100, 10_000):
            found = features(evidence(chance(num)), Background(0.4, 0.02))["excess"]
            assert abs(found.max()) < 1  # of spreads; the largest of so many varies by about 0.4
        [first] = features(evidence([0.5]), Background(0.4, 0.02))["excess"]
        middle, spread = 0.4 + 0.1 / 9, (8 * 0.02 + 0.005) / 9
        assert first == pytest.approx((0.5 - middle) / spread, abs=1e-3)

    def test_of_a_few_pages_none_stands_out_where_nothing_usual_is_known(self) -> None:
        for num in (1, 3):
            assert np.abs(features(evidence([0.9, 0.5, 0.4][:num]))["excess"]).max() < 1
        assert features(evidence(chance(100, 0.9)))["excess"].max() > 10

    def test_scores_of_each_ranking(self) -> None:
        told = evidence([0.5, -np.inf], dense=np.array([np.nan, 0.2], np.float32))
        assert scores_of(told).tolist() == [0.5, -1.0]
        assert scores_of(replace(told, by="dense")).tolist() == [-1.0, pytest.approx(0.2)]
        assert len(scores_of(replace(told, by="text"))) == 0

    def test_words_count_only_on_pages_that_have_any(self) -> None:
        told = evidence(
            chance(2, 0.9), text=np.array([0, 0.6, 0], np.float32), has_text=np.array([False, True, True]), num_words=7
        )
        found = features(told)
        assert found["wordless"].tolist() == [1, 0, 0]
        assert found["ahead"].tolist() == pytest.approx([0, 0.06, -0.54])
        assert found["unread"].tolist() == [found["excess"][0], 0, 0]
        assert found["length"].tolist() == pytest.approx([math.log(8)] * 3)

    def test_what_nothing_was_fitted_to_counts_no_more(self) -> None:
        """A whole page pasted as a query, and a library far from any that the curves have seen."""
        few, many = (features(evidence([0.5], num_words=num))["length"][0] for num in (12, 2_000))
        assert few == many
        usual = Background(0.2, 0.02)
        assert features(evidence(chance(900)), usual)["background"].tolist() == pytest.approx([0.04] * 900)
        assert features(evidence(chance(900)))["background"].tolist() == [0] * 900


class TestMeasures:
    @pytest.mark.parametrize("by", RANKINGS)
    def test_the_fallback_gives_probabilities_in_the_order_of_the_scores(self, by: str) -> None:
        late = chance(40, 0.9, 0.6)
        words = (np.linspace(1, 0, len(late)) ** 4).astype(np.float32)
        told = evidence(late, by=by, dense=late, text=words, has_text=np.ones(len(late), bool))
        found = measure_of(None, "words")(told)
        assert found.dtype == np.float32 and found.shape == late.shape and ((found >= 0) & (found <= 1)).all()
        ranking = words if by == "text" else late
        if by != "fused":  # which goes by both
            assert (np.diff(found[np.argsort(-ranking)]) <= 0).all()
        assert found[0] > 0.5 > np.median(found)

    def test_a_model_with_curves_has_its_own(self) -> None:
        curve = {"bias": -1.0, "weights": {"wordless": 2.0}, "middle": 0.4, "spread": 0.1}
        told = {"curves": {"words": {"late": curve}}}
        [match] = measure_of(told, "words")(evidence([0.5]))
        assert match == pytest.approx(1 / (1 + math.exp(-1)))
        for asked, by in (("picture", "late"), ("words", "fused")):
            own, other = (measure_of(each, asked)(evidence(chance(9, 0.9), by=by)) for each in (told, None))
            assert own.tolist() == other.tolist()

    def test_there_may_be_no_page(self) -> None:
        for by in ("text", "dense", "late"):
            assert measure_of(None, "words")(evidence([], by=by)).tolist() == []

    @pytest.mark.parametrize("broken", [{}, {"bias": "x", "weights": {}}, {"bias": 1, "weights": 3}, [], None])
    def test_a_broken_curve_is_refused(self, broken: Any) -> None:
        with pytest.raises(CheckpointError, match="polylens eval match"):
            Curve.read(broken)
        with pytest.raises(CheckpointError, match="polylens eval match"):
            measure_of({"curves": {"words": {"late": broken}}}, "words")
