"""The index of dense vectors finds what looking at every page finds, and follows what changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.stores import DIM, pages, unit

from polylens.index.ranking import dense as nearest
from polylens.index.table import store as store_module
from polylens.index.table.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Large enough for an index, as far as it knows, and not indexed yet."""
    monkeypatch.setattr(store_module, "READER_GRACE", 0.01)
    monkeypatch.setattr(nearest, "INDEXED_FROM", 300)
    monkeypatch.setattr(nearest, "UNINDEXED", 50)
    store = Store.create(tmp_path / ".polylens", "model", DIM)
    store.commit([pages(f"file {i}", 40, seed=i) for i in range(10)])
    return store


def indexed(store: Store) -> tuple[int, int] | None:
    """Pages that the index has and lacks; None where there is none."""
    found = [index for index in store.snapshot()._table.list_indices() if index.columns == ["dense"]]
    return (found[0].num_indexed_rows, found[0].num_unindexed_rows) if found else None


def slow(store: Store, query: np.ndarray, n: int, file: str | None = None) -> list[tuple[str, int]]:
    """The nearest pages by a product with every vector."""
    scored = []
    for name in store.files():
        rows = store.snapshot().pages_of(name)
        vectors = np.array(rows["dense"].to_pylist(), np.float32)
        scored += [(-float(score), name, page) for page, score in enumerate(vectors @ query, start=1)]
    return [(name, page) for _, name, page in sorted(scored) if file in (None, name)][:n]


def found(store: Store, query: np.ndarray, n: int, where: str | None = None) -> list[tuple[str, int]]:
    return [(each.file, each.page) for each in store.snapshot().dense_candidates(query, n, where=where)]


def test_exact_at_every_stage(store: Store) -> None:
    query = unit(np.random.default_rng(5), DIM)
    before = store.snapshot().dense_candidates(query, 100)
    assert indexed(store) is None
    store.compact()
    assert indexed(store) == (400, 0)
    assert found(store, query, 100) == slow(store, query, 100)
    after = store.snapshot().dense_candidates(query, 100)
    assert [each.dense_score for each in after] == pytest.approx([each.dense_score for each in before], abs=1e-6)
    store.commit([pages("new", 40, seed=77)], removed=["file 3"])  # one that the index lacks, one that it has too many
    assert indexed(store) == (360, 40)
    assert found(store, query, 100) == slow(store, query, 100)
    assert found(store, query, 9, "file = 'new'") == slow(store, query, 9, "new")
    assert len(found(store, query, 9_999)) == 400
    reopened = Store.open(store.storage)
    assert found(reopened, query, 100) == slow(store, query, 100)


def test_made_anew_when_it_lacks_many(store: Store) -> None:
    store.compact()
    store.commit([pages("some", 40, seed=91)])
    store.compact()
    assert indexed(store) == (400, 40)
    store.commit([pages("more", 40, seed=92)])
    store.compact()
    assert indexed(store) == (480, 0)
    query = unit(np.random.default_rng(6), DIM)
    assert found(store, query, 60) == slow(store, query, 60)


def test_a_small_library_has_none(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "INDEXED_FROM", 401)
    store.compact(force=True)
    assert indexed(store) is None
