"""Filters keep what a slow loop over all pages would keep, and refuse what they do not understand."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.stores import DIM, store_of

from polylens.errors import InputError
from polylens.index.ranking.filters import Filters, start_of
from polylens.index.search import search
from polylens.types import Embedding


@pytest.fixture(params=["UTC", "Pacific/Auckland", "America/New_York"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def keeps(page: dict[str, Any], filters: Filters) -> bool:
    return (
        (not filters.folder or page["file"].startswith(filters.folder + "/"))
        and (filters.kinds is None or page["kind"] in filters.kinds)
        and (filters.languages is None or page["language"] in filters.languages)
        and (filters.since is None or page["when"].date() >= filters.since)
        and (filters.until is None or page["when"].date() <= filters.until)
    )


def test_as_a_slow_loop_over_all_pages(tmp_path: Path, zone: str) -> None:
    store, pages = store_of(tmp_path)
    query = Embedding(np.ones(DIM, np.float32) / DIM**0.5, np.ones((1, 128), np.float32))
    days = [None, date(2026, 10, 31), date(2026, 11, 1), date(2026, 11, 30), date(2026, 12, 1)]
    seen = set()
    for folder, kinds, languages in itertools.product(
        [None, "notes", "notes/old", "none"], [None, [], ["image", "text"]], [None, [], ["de"], ["zh", "en"]]
    ):
        for since, until in itertools.combinations_with_replacement(days, 2):
            if since and not until:
                continue
            filters = Filters.of(folder, kinds, languages, since, until)
            expected = [(page["file"], page["page"]) for page in pages if keeps(page, filters)]
            snapshot = store.snapshot()
            assert snapshot.count(snapshot.where(filters)) == len(expected), filters
            if expected and len(expected) not in seen:  # each size once: a search takes longer than a count
                seen.add(len(expected))
                hits = search(store.snapshot(), query, 100, query_words="word", filters=filters)
                assert sorted((hit.file, hit.page) for hit in hits) == sorted(expected)
    assert len(seen) > 5


def test_a_hit_says_its_language_and_when_its_file_was_modified(tmp_path: Path, zone: str) -> None:
    store, _ = store_of(tmp_path)
    query = Embedding(np.ones(DIM, np.float32) / DIM**0.5, np.ones((1, 128), np.float32))
    [hit] = search(store.snapshot(), query, filters=Filters.of("notes/old", languages=["zh"]))
    assert (hit.page, hit.language) == (4, "zh")
    assert hit.modified.tzinfo and hit.modified.replace(tzinfo=None).isoformat()[:19] == "2026-11-30T23:59:59"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"since": "yesterday"}, "since must be a date such as 2026-11-01, got 'yesterday'"),
        ({"until": "2026-02-31"}, "until must be a date such as 2026-11-01, got '2026-02-31'"),
        ({"since": "20261101"}, "since must be a date"),
        ({"since": "2026-11-01T10:00"}, "since must be a date"),
        ({"since": datetime(2026, 11, 1, 10)}, "since must be a date"),
        ({"until": 3}, "until must be a date"),
        ({"since": "2026-11-02", "until": "2026-11-01"}, "since must not be after until, got 2026-11-02 and"),
        ({"languages": ["german"]}, "ISO 639 code, such as en, de or zh; got 'german'"),
        ({"languages": ["de", "') OR true --"]}, "ISO 639"),
        ({"languages": [""]}, "ISO 639"),
        ({"kinds": ["film"]}, "a kind is one of pdf, image, text, document, slides, sheet; got 'film'"),
    ],
)
def test_what_cannot_be_understood_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as refused:
        Filters.of(**given)
    assert says in str(refused.value)


@pytest.mark.parametrize("day", [date.min, date(1969, 12, 31), date.max])
def test_any_day_is_a_bound(tmp_path: Path, day: date) -> None:
    assert abs(start_of(day)) < 2**63
    store, pages = store_of(tmp_path)
    where = Filters.of(since=day).sql(), Filters.of(until=day).sql()
    counts = [store.snapshot().count(each) for each in where]
    assert counts == ([0, len(pages)] if day == date.max else [len(pages), 0])


def test_each_filter_alone() -> None:
    filters = Filters.of("reports", [], ["de"], until="2026-11-01")
    assert sorted(each.in_words() for each in filters.alone()) == [
        "in the folder reports",
        "in the language de",
        "of a file modified until 2026-11-01",
        "of no kind",
    ]
    assert list(Filters().alone()) == [] and Filters.of("").sql() is None
