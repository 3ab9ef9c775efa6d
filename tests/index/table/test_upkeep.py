"""What old versions take is bounded, however long an index is written to."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.stores import DIM, pages

from polylens.index.storage.folder import folder_size
from polylens.index.table import store as store_module
from polylens.index.table import waste
from polylens.index.table.store import Store

WASTE = 500_000  # bytes; a commit of 40 pages takes 55,000 and Lance's filter of its keys 66,000


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store_module, "READER_GRACE", 0.01)
    monkeypatch.setattr(waste, "WASTE_BYTES", WASTE)
    return tmp_path / ".polylens"


def test_a_file_that_changes_again_and_again(path: Path) -> None:
    """It leaves no more fragments than there were, so that their number says nothing: what they take does."""
    with Store.create(path, "model", DIM) as store:
        store.commit([pages(f"file {i}", 40, seed=i) for i in range(5)])
        sizes, compactions = [], 0
        for i in range(120):
            store.commit([pages("file 1", 40, seed=100 + i)])
            before = folder_size(path)
            store.compact()
            sizes.append(folder_size(path))
            compactions += sizes[-1] < 0.9 * before
        alive = store._table.stats()["total_bytes"]
    assert max(sizes) < alive + max(2 * WASTE, alive)  # it would be twelve times that without
    assert 3 <= compactions <= 40  # neither never nor each time


def test_what_a_dead_writer_left_is_freed(path: Path) -> None:
    with Store.create(path, "model", DIM) as store:
        store.commit([pages("a", 40)])
        [table] = path.glob("*.lance")
        (table / "data" / "orphan.lance").write_bytes(bytes(WASTE + 100_000))  # of a commit that never was
        store.compact()
        assert not (table / "data" / "orphan.lance").exists()
        assert store.count() == 40


def test_a_small_index_is_left_alone(path: Path) -> None:
    with Store.create(path, "model", DIM) as store:
        store.commit([pages("a", 2)])
        store.commit([pages("b", 2)])
        store.compact()
        assert store._table.stats()["fragment_stats"]["num_fragments"] == 2
