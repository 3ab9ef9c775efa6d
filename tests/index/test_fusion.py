"""What the fused score promises: it knows what words can tell, and what they cannot."""

from __future__ import annotations

import numpy as np

from polylens.index.fusion import fuse, share


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


def test_words_weigh_by_what_some_page_has_of_the_query() -> None:
    """A name that a page shares with a query in another language does not outweigh what the pages mean."""
    meant, named = fused([0.7, 0.6], [0, 0.2], [True, True])
    assert meant > named
    meant, named = fused([0.7, 0.6], [0, 0.2], [True, True], best_text=1.0)  # some third page has all of it
    assert meant < named


def test_it_lies_between_its_two() -> None:
    rng = np.random.default_rng(0)
    late, text = rng.uniform(-1, 1, 500), rng.uniform(0, 1, 500)
    both = np.array(fused(late.tolist(), text.tolist(), [True] * 500))
    assert (both >= np.minimum(late, text) - 1e-6).all() and (both <= np.maximum(late, text) + 1e-6).all()


def test_shares() -> None:
    rare = float(np.log(1 + 999.5 / 1.5))
    assert np.allclose(share([None, rare, 2 * rare, 99.0], 2, 1000), [0, 0.5, 1, 1])
    assert share([None], 0, 0).tolist() == [0]
    assert share([], 3, 10).tolist() == []
