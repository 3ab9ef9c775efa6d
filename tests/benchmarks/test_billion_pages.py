"""The simulator of large indexes: its sums, and that the slowest of many shards is what a search waits for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.root import ROOT

billion_pages: Any = None


@pytest.fixture(autouse=True)
def simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    global billion_pages
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import billion_pages as module

    billion_pages = module


def test_one_shard_is_what_was_measured() -> None:
    figures = billion_pages.Figures.read(billion_pages.INPUTS)
    times = billion_pages.shard_times(figures, 100_000, (200_000,), np.random.default_rng(0))
    # A thousandth of the values lies beyond each percentile's own error at 200,000 draws.
    assert np.percentile(times, 50) == pytest.approx(figures["search_p50_ms"], rel=0.01)
    assert np.percentile(times, 95) == pytest.approx(figures["search_p95_ms"], rel=0.02)


def test_more_shards_wait_longer_and_hedging_helps() -> None:
    figures = billion_pages.Figures.read(billion_pages.INPUTS)
    few, many = (billion_pages.searches(figures, pages, 100_000, hedge=False)[1] for pages in (10**6, 10**8))
    assert billion_pages.searches(figures, 10**8, 100_000, hedge=True)[1] < many and few < many


def test_sums(tmp_path: Path) -> None:
    kinds = json.loads(billion_pages.INPUTS.read_text())
    kinds["measured"] |= {"bytes_per_page": [1000, ""], "embed_pages_per_second_two_cores": [10, ""]}
    inputs = tmp_path / "inputs.json"
    inputs.write_text(json.dumps(kinds))
    found = billion_pages.plan(billion_pages.Figures.read(inputs), 36_000_000, 1_000_000)
    assert (found["shards"], found["TB"], found["core hours to embed"]) == (36, 0.036, 2_000)
    assert found["pairs of cores for a week"] == 6  # 3.6 million seconds of two cores, in 604,800 each


def test_every_input_says_where_it_is_from() -> None:
    for kind in json.loads(billion_pages.INPUTS.read_text()).values():
        for name, (value, source) in kind.items():
            assert value > 0 and len(source) > 5, name
