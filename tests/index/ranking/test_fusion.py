"""What the fused score promises: it knows what words can tell, and what they cannot."""

from __future__ import annotations

import numpy as np

from polylens.index.ranking.fusion import TEXT_WEIGHT, fuse, share


def fused(late: list[float], text: list[float], has_text: list[bool], best_text: float | None = None) -> list[float]:
    shares = np.array(text, np.float32)
    best = float(shares.max()) if best_text is None else best_text
    return fuse(np.array(late, np.float32), shares, np.array(has_text), best_text=best).tolist()


def test_without_any_words_it_is_the_late_score() -> None:
    assert fused([0.7, 0.2, -0.1], [0, 0, 0], [True, True, False]) == np.array([0.7, 0.2, -0.1], np.float32).tolist()


def test_a_scan_keeps_its_score_and_a_text_without_the_words_loses() -> None:
    scan, without, with_them = fused([0.6, 0.65, 0.6], [0, 0, 0.9], [False, True, True])
    assert scan == np.float32(0.6)
    assert without < scan < with_them


def test_words_that_no_page_has_speak_against_none() -> None:
    """Of a question as people ask it: the page that has most of its words stays above a scan that it was above."""
    best, other, scan = fused([0.62, 0.62, 0.61], [0.2, 0.1, 0], [True, True, False])
    assert best > scan > other


def test_a_name_does_not_outweigh_what_pages_mean() -> None:
    """A name that a page shares with a query in another language is a small part of it."""
    meant, named = fused([0.7, 0.6], [0, 0.2], [True, True])
    assert meant > named


def test_the_words_of_a_whole_query_outweigh_what_they_look_like() -> None:
    looks, has_them = fused([0.7, 0.6], [0.2, 0.9], [True, True])
    assert has_them > looks


def test_a_page_with_all_the_words_rises_above_a_scan_that_looks_as_much_like_them() -> None:
    scan, has_them = fused([0.62, 0.6], [0, 1], [False, True])
    assert has_them > scan


def test_it_moves_by_no_more_than_the_words_weigh() -> None:
    rng = np.random.default_rng(0)
    late, text = rng.uniform(-1, 1, 500).astype(np.float32), rng.uniform(0, 1, 500)
    both = np.array(fused(late.tolist(), text.tolist(), [True] * 500))
    assert (abs(both - late) <= TEXT_WEIGHT + 1e-6).all() and both.max() <= 1
    assert np.ptp(both - late) > TEXT_WEIGHT / 2


def test_shares() -> None:
    rare = float(np.log(1 + 999.5 / 1.5))
    assert np.allclose(share([None, rare, 2 * rare, 99.0], 2, 1000), [0, 0.5, 1, 1])
    assert share([None], 0, 0).tolist() == [0]
    assert share([], 3, 10).tolist() == []
