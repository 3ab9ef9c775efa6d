"""What the sections conclude from vectors that are made so that the effect is there, is not, or cannot be told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from polylens.evaluate.metrics import Estimate
from polylens.lab.benchmarks.synthetic import PageTask
from polylens.lab.reproduce.claims import Claim, decide
from polylens.lab.reproduce.kl_distillation import kl_distillation
from polylens.lab.reproduce.late_interaction import late_interaction
from polylens.lab.reproduce.material import DUAL, UNIFIED, WITHOUT_KL, CropVectors, PageVectors, Reading, Study
from polylens.lab.reproduce.matryoshka import Search, curve, cut, matryoshka
from polylens.lab.reproduce.modality import modality
from polylens.lab.reproduce.plots import Lines
from polylens.lab.synthetic.page import SyntheticPage
from polylens.lab.synthetic.queries import Query

NUM_TASKS, PAGES, CROPS, WIDTH = 3, 12, 40, 32
RNG = np.random.default_rng(5)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def noise(count: int) -> np.ndarray:
    return RNG.standard_normal((count, WIDTH))


def task(name: str) -> PageTask:
    page = SyntheticPage(name, "en", "", "", (), (), np.zeros((0, 0, 3), dtype=np.uint8), ("words",), ())
    query = Query("key phrase", "words", "en", frozenset())
    return PageTask(name, [page] * PAGES, [query] * PAGES, np.arange(PAGES), np.eye(PAGES, dtype=bool))


TASKS = [task(name) for name in ("table", "chart", "code")]


def pages(error: float, late_error: float | None) -> list[PageVectors]:
    """Queries near their pages, but for so much noise: 0 finds everything, 20 next to nothing."""
    found = []
    for _ in TASKS:
        truth = noise(PAGES)
        late = None if late_error is None else unit(truth + late_error * noise(PAGES)) @ unit(truth).T
        found.append(PageVectors(unit(truth + error * noise(PAGES)), unit(truth), late))
    return found


def crops(apart: float = 0.0, error: float = 0.3, cone: float = 0.0) -> CropVectors:
    """Pictures, queries and texts of the same things; pictures so far off in a direction of their own."""
    truth = noise(CROPS)
    modality, common = np.zeros(WIDTH), np.zeros(WIDTH)
    modality[0], common[1] = apart, cone
    return CropVectors(
        unit(truth + modality + common), unit(truth + error * noise(CROPS) + common), unit(truth + common)
    )


def reading(error: float = 0.5, late_error: float | None = 0.0, **of_crops: float) -> Reading:
    return Reading((8, 16, 32), pages(error, late_error), crops(**of_crops))


def study(**readings: Reading) -> Study:
    names = {"unified": UNIFIED, "dual": DUAL, "without": WITHOUT_KL}
    return Study(TASKS, {names[name]: each for name, each in readings.items()})


def shown(claims: tuple[Claim, ...]) -> list[str]:
    return [claim.shows for claim in claims]


@pytest.mark.parametrize(
    ("estimate", "verdict"),
    [
        (Estimate(0.5, 0.1, 0.9), "yes"),
        (Estimate(-0.5, -0.9, -0.1), "no"),
        (Estimate(0.0, 0.0, 0.0), "no"),
        (Estimate(0.1, 0.0, 0.2), "unclear"),
    ],
)
def test_an_effect_shows_where_the_interval_lies_above_the_bar(estimate: Estimate, verdict: str) -> None:
    assert decide(estimate) == verdict
    moved = Estimate(estimate.mean + 0.9, estimate.low + 0.9, estimate.high + 0.9)
    assert decide(moved, 0.9) == verdict


class TestLateInteraction:
    def test_many_vectors_that_find_more(self) -> None:
        section = late_interaction(study(unified=reading(error=3.0, late_error=0.0)))
        [claim] = section.claims
        assert claim.shows == "yes" and "more than published" in claim.sentence
        assert claim.ours["multi-vector"].mean == 1.0
        gain, dense = claim.ours["gain"], claim.ours["dense"]
        assert gain.mean == pytest.approx(1 - dense.mean)
        assert claim.ours["gain, relative"].mean == pytest.approx(gain.mean / dense.mean)

    def test_many_vectors_that_find_no_more(self) -> None:
        [claim] = late_interaction(study(unified=reading(error=0.0, late_error=4.0))).claims
        assert claim.shows == "no" and "do not find more" in claim.sentence

    def test_many_vectors_that_are_the_one_vector(self) -> None:
        same = reading(error=3.0)
        same = replace(same, pages=[replace(each, late=each.dense) for each in same.pages])
        [claim] = late_interaction(study(unified=same)).claims
        assert claim.shows == "no" and claim.ours["gain"] == Estimate(0.0, 0.0, 0.0)

    def test_the_two_towers_are_compared_where_they_are_there(self) -> None:
        both = late_interaction(study(unified=reading(error=0.0), dual=reading(error=20.0, late_error=None)))
        assert shown(both.claims)[1] == "yes"
        swapped = late_interaction(study(unified=reading(error=20.0), dual=reading(error=0.0, late_error=None)))
        assert shown(swapped.claims)[1] == "no"

    def test_they_are_compared_on_crops_as_well_as_a_loop_ranks_them(self) -> None:
        dim, clear = (reading(error=1.0, late_error=0.0) for _ in range(2))
        dim, clear = (replace(each, crops=crops(error=e)) for each, e in ((dim, 4.0), (clear, 0.1)))
        claim = late_interaction(study(unified=clear, dual=dim)).claims[2]
        assert claim.shows == "yes"
        assert late_interaction(study(unified=dim, dual=clear)).claims[2].shows == "no"
        for name, each in ((UNIFIED, clear.crops), (DUAL, dim.crops)):
            found = 0
            for query, own in zip(each.queries, each.images, strict=True):
                better = sum(float(query @ image) > float(query @ own) for image in each.images)
                found += better < 5
            assert claim.ours[name].mean == pytest.approx(found / CROPS)


class TestMatryoshka:
    def test_a_search_ranks_as_a_loop_does(self) -> None:
        vectors = unit(noise(10))
        kind = np.arange(10) % 2
        relevant = kind[:, None] == kind[None, :]
        found = Search(vectors, vectors, relevant, itself=True).ndcg(8)
        for row in range(10):
            short = [vector[:8] / np.linalg.norm(vector[:8]) for vector in vectors]
            others = sorted((i for i in range(10) if i != row), key=lambda i: -float(short[row] @ short[i]))
            gain = sum(1 / np.log2(rank + 2) for rank, i in enumerate(others[:5]) if kind[i] == kind[row])
            best = sum(1 / np.log2(rank + 2) for rank in range(4))
            assert found[row] == pytest.approx(gain / best)

    def test_what_is_cut_is_of_unit_length(self) -> None:
        assert np.linalg.norm(cut(unit(noise(4)), 4), axis=1) == pytest.approx(1.0)

    def test_vectors_that_say_everything_at_their_beginning_keep_all(self) -> None:
        front = np.concatenate([np.eye(20), np.zeros((20, 300))], axis=1).astype(np.float32)
        found = curve(Search(front, front, np.eye(20, dtype=bool)))
        assert found.dims == (320, 160, 80, 40, 20)
        assert all(kept == Estimate(1.0, 1.0, 1.0) for kept in found.kept)
        back = curve(Search(front[:, ::-1], front[:, ::-1], np.eye(20, dtype=bool)))
        assert back.kept[1].mean == 0.0

    def test_the_verdict_follows_the_share(self) -> None:
        front = np.concatenate([np.eye(CROPS), np.zeros((CROPS, 600))], axis=1).astype(np.float32)
        whole = Reading((640,), pages(0.0, 0.0), CropVectors(front, front, front))
        section = matryoshka(study(unified=whole))
        verdicts = {claim.name: claim.shows for claim in section.claims}
        assert verdicts["unified decoder, text: a quarter of the components keeps over 99 %"] == "yes"
        assert verdicts["unified decoder, image to text: a sixteenth of the components keeps 93 %"] == "yes"
        cut_off = CropVectors(front[:, ::-1], front[:, ::-1], front[:, ::-1])
        section = matryoshka(study(unified=replace(whole, crops=cut_off)))
        verdicts = {claim.name: claim.shows for claim in section.claims}
        assert verdicts["unified decoder, text: a quarter of the components keeps over 99 %"] == "no"

    def test_vectors_that_find_nothing_have_nothing_to_keep(self) -> None:
        lost = replace(reading(), crops=CropVectors(unit(noise(CROPS)), unit(noise(CROPS)), unit(noise(CROPS))))
        section = matryoshka(study(unified=lost))
        text = section.claims[0]
        assert text.shows == "unclear" and "random order" in text.sentence
        [plot] = section.plots
        assert isinstance(plot, Lines) and "text" not in plot.series


class TestModality:
    def test_without_two_towers_the_comparisons_are_left_out_and_say_how_to_have_them(self) -> None:
        claims = [claim for section in modality(study(unified=reading())) for claim in section.claims]
        assert {claim.shows for claim in claims} == {"left out"} and len(claims) == 4
        assert all("polylens train nano-clip" in claim.sentence and UNIFIED in claim.ours for claim in claims)

    def test_towers_that_lie_apart_in_a_cone_show_all_of_it(self) -> None:
        both = study(unified=reading(), dual=reading(apart=-12.0, cone=6.0))
        claims = [claim for section in modality(both) for claim in section.claims]
        assert shown(tuple(claims)) == ["yes"] * 4
        aligned = claims[0].ours
        assert aligned["difference"].mean == pytest.approx(aligned[UNIFIED].mean - aligned[DUAL].mean)
        apart = claims[2].ours
        assert apart["difference"].mean == pytest.approx(apart[DUAL].mean - apart[UNIFIED].mean)

    def test_the_cone_is_told_beside_its_claim(self) -> None:
        narrow = modality(study(unified=reading(), dual=reading(cone=30.0)))[-1].claims[0].ours
        for what in ("images", "texts", "queries"):
            assert narrow[f"{DUAL}, {what} among themselves"].low > 0.9
            assert narrow[f"{UNIFIED}, {what} among themselves"].high < 0.2

    def test_the_other_way_round_none_of_it_shows(self) -> None:
        both = study(unified=reading(apart=-12.0, cone=6.0), dual=reading())
        claims = [claim for section in modality(both) for claim in section.claims]
        assert shown(tuple(claims)) == ["no"] * 4

    def test_a_model_compared_with_itself_shows_nothing(self) -> None:
        same = reading()
        claims = [claim for section in modality(study(unified=same, dual=same)) for claim in section.claims]
        assert shown(tuple(claims)) == ["no"] * 4
        assert all(claim.ours["difference"] == Estimate(0.0, 0.0, 0.0) for claim in claims)


class TestDivergence:
    def test_left_out_it_says_how_to_have_it(self) -> None:
        [claim] = kl_distillation(study(unified=reading())).claims
        assert claim.shows == "left out" and "--kl-weight 0" in claim.sentence and claim.ours == {}

    def test_dense_vectors_that_find_more_with_it(self) -> None:
        [claim] = kl_distillation(study(unified=reading(error=0.0), without=reading(error=5.0))).claims
        assert claim.shows == "yes"
        [claim] = kl_distillation(study(unified=reading(error=5.0), without=reading(error=0.0))).claims
        assert claim.shows == "no"
