"""What opening an index reads does not grow with its pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pytest
from tests.support.stores import DIM, pages

from polylens.index.table.schema import FilePages, asks_all_pages
from polylens.index.table.store import Store

T = TypeVar("T")

COUNTS = Path("/proc/self/io")
needs_counts = pytest.mark.skipif(not COUNTS.exists(), reason="needs Linux, which counts what a process reads")

WIDTH = 8  # numbers per vector of a multi-vector
NUM_VECTORS = 2  # per page


def bytes_read(action: Callable[[], T]) -> tuple[int, T]:
    """Bytes that this process read meanwhile, and what came of it."""

    def count() -> int:
        found = re.search(r"rchar: (\d+)", COUNTS.read_text())
        assert found is not None
        return int(found[1])

    before = count()
    result = action()
    return count() - before, result


def many(num_pages: int, seed: int) -> FilePages:
    """A file of many pages, whose words take 300 bytes each, made at once."""
    rng, vectors = np.random.default_rng(seed), num_pages * NUM_VECTORS
    tokens = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(vectors * WIDTH, np.float16)), WIDTH)
    dense = np.tile(np.eye(1, DIM, dtype=np.float32), num_pages).reshape(-1)
    rows = {
        "page": pa.array(np.arange(1, num_pages + 1), pa.int32()),
        "kind": pa.array(["pdf"] * num_pages),
        "text": pa.array(["word"] * num_pages),
        "language": pa.array(["en"] * num_pages),
        "words": pa.array([rng.bytes(300) for _ in range(num_pages)], pa.binary()),
        "dense": pa.FixedSizeListArray.from_arrays(pa.array(dense), DIM),
        "multivector": pa.ListArray.from_arrays(
            pa.array(np.arange(0, vectors + 1, NUM_VECTORS, dtype=np.int32)), tokens
        ),
    }
    return FilePages(f"{seed}.pdf", f"hash {seed}", 1, 1, pa.table(rows))


def made(folder: Path, num_pages: int) -> Path:
    with Store.create(folder, "model", DIM, WIDTH) as store:
        for seed in range(4):
            store.commit([many(num_pages // 4, seed)])
    return folder


@needs_counts
def test_reads_as_much_of_a_hundred_times_the_pages(tmp_path: Path) -> None:
    small, large = made(tmp_path / "small", 100), made(tmp_path / "large", 10_000)

    def opened(folder: Path) -> Any:
        snapshot = Store.open(folder).snapshot()
        return snapshot.version, snapshot.count(), snapshot.has_words, snapshot.unplaced()

    few, (_, num_few, *_) = bytes_read(lambda: opened(small))
    much, (_, num_many, _, unplaced) = bytes_read(lambda: opened(large))
    assert (num_few, num_many, unplaced) == (100, 10_000, [])
    assert 0 < few < 20_000 and much < few + 2_000  # the manifests; a number of pages has more digits
    data = sum(file.stat().st_size for file in (tmp_path / "large").rglob("data/*.lance"))
    assert data > 10_000 * 300 > 100 * much


@needs_counts
def test_reads_a_line_per_commit_until_they_are_compacted(tmp_path: Path) -> None:
    with Store.create(tmp_path, "model", DIM) as store:
        sizes = []
        for i in range(40):
            store.commit([pages(f"{i}", 1)])
            if i % 20 == 19:
                sizes.append(bytes_read(lambda: Store.open(tmp_path).snapshot())[0])
    assert sizes[1] - sizes[0] < 20 * 1_000


def test_words_are_looked_for_in_an_index_of_an_earlier_version_only(tmp_path: Path) -> None:
    with Store.create(tmp_path, "model", DIM) as store:
        store.commit([pages("a", 2), pages("b", 1)])
        store.commit([pages("a", 3)])
        store.compact(force=True)
        snapshot = store.snapshot()
        assert asks_all_pages(snapshot._table)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(snapshot._table), "search", None)  # nothing is read
            assert snapshot.unplaced() == []
        store._table.drop_columns(["words"])
        assert store.snapshot().unplaced() == ["a", "b"]
    with Store.open(tmp_path, write=True) as store:  # adds the column, null for those
        store.commit([pages("c", 1)])
        assert not asks_all_pages(store.snapshot()._table) and store.snapshot().unplaced() == ["a", "b"]
        store.commit([pages("b", 1)])
        assert store.snapshot().unplaced() == ["a"]
