"""Counts of a library: those that filters would leave, current after each commit, and not counted again before one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from tests.support.fakes import FakeEmbedder
from tests.support.root import ROOT
from tests.support.stores import FILES, store_of

from polylens.index import facets as facets_module
from polylens.index.facets import count_facets
from polylens.index.ranking.filters import Filters
from polylens.library.library import Library


def test_what_each_filter_would_leave(tmp_path: Path) -> None:
    store, pages = store_of(tmp_path)
    snapshot = store.snapshot()
    facets = count_facets(snapshot)

    def left(filters: Filters) -> int:
        return snapshot.count(snapshot.where(filters))

    assert facets.num_pages == len(pages) and list(facets.files.items()) == sorted(dict.fromkeys(FILES, 5).items())
    assert facets.folders == {name: left(Filters.of(name)) for name in ("notes", "notes/old", "notesb")}
    assert facets.kinds == {kind: left(Filters.of(kinds=[kind])) for kind in ("text", "pdf", "image")}
    assert facets.languages == {code: left(Filters.of(languages=[code])) for code in ("de", "en", "zh")}
    assert [*facets.kinds.values()] == sorted(facets.kinds.values(), reverse=True)
    for days in range(40):
        day = date(2026, 10, 30) + timedelta(days=days)
        assert facets.num_since(day) == left(Filters.of(since=day))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often the pages were counted so far."""
    done, count = [], facets_module.count_facets
    monkeypatch.setattr(facets_module, "count_facets", lambda snapshot: done.append(1) or count(snapshot))
    return lambda: len(done)


def test_counted_once_for_each_state(tmp_path: Path, counted: Callable[[], int]) -> None:
    (tmp_path / "a.txt").write_text("The keeper lights the lamp at dusk.")
    library, other = Library(tmp_path, FakeEmbedder()), Library(tmp_path, FakeEmbedder())
    other.update()
    assert {library.facets().num_pages for _ in range(3)} == {1} and counted() == 1
    other.update()  # nothing has changed
    assert library.facets().files == {"a.txt": 1} and counted() == 1
    (tmp_path / "b.txt").write_text("Der Wärter zündet die Lampe an.")
    other.update()
    assert library.facets().languages == {"de": 1, "en": 1} and counted() == 2
    (tmp_path / "a.txt").unlink()
    library.update()
    assert library.facets().files == {"b.txt": 1} and counted() == 3
    other.update(rebuild=True)
    assert library.facets().files == {"b.txt": 1} and counted() == 4
    (tmp_path / "b.txt").unlink()
    other.update()
    facets = library.facets()
    assert (facets.num_pages, facets.files, facets.languages) == (0, {}, {}) and facets.num_since(date.min) == 0
    assert facets.times.dtype == np.int64


def test_current_after_another_process(tmp_path: Path, counted: Callable[[], int]) -> None:
    (tmp_path / "a.txt").write_text("The keeper lights the lamp at dusk.")
    library = Library(tmp_path, FakeEmbedder())
    library.update()
    assert library.facets().languages == {"en": 1}
    (tmp_path / "b.txt").write_text("Der Wärter zündet die Lampe an.")
    subprocess.run(
        [sys.executable, "-m", "tests.support.indexing", str(tmp_path), "0"], check=True, capture_output=True, cwd=ROOT
    )
    assert library.facets().languages == {"de": 1, "en": 1} and counted() == 2
    assert library.facets().num_pages == 2 and counted() == 2
