"""The index of token vectors finds what exact scoring of every page finds, and follows what becomes of the pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from polylens.index.ranking import inverted
from polylens.index.ranking.filters import Filters
from polylens.index.ranking.late import maxsim
from polylens.index.search import search
from polylens.index.table import store as store_module
from polylens.index.table import token_index, upkeep
from polylens.index.table.schema import FilePages, PageRow, page_table
from polylens.index.table.store import Store
from polylens.types import Embedding

DIM, WIDTH, A_FILE = 8, 32, 20
TOPICS = np.random.default_rng(0).standard_normal((50, WIDTH)).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def tokens_of(number: int) -> np.ndarray:
    """The token vectors of a page by its number: around six topics of its own."""
    rng = np.random.default_rng(number)
    near = TOPICS[rng.integers(0, 50, 6)][rng.integers(0, 6, 12)]
    return unit(unit(near) + 0.4 * unit(rng.standard_normal(near.shape))).astype(np.float16)


def file_of(number: int, *, name: str = "", first: int | None = None) -> FilePages:
    """Twenty pages, of which the dense vectors say nothing."""
    first = number * A_FILE if first is None else first
    rng = np.random.default_rng(1)
    rows = [
        PageRow(
            i + 1, "text" if i % 2 else "pdf", f"page {first + i}", unit(rng.standard_normal(DIM)), tokens_of(first + i)
        )
        for i in range(A_FILE)
    ]
    return FilePages(name or f"{number}", f"content {first}", 1, 1, page_table(rows, DIM, WIDTH))


def query_for(number: int) -> Embedding:
    rng = np.random.default_rng((2, number))
    tokens = tokens_of(number)[rng.choice(12, 5, replace=False)].astype(np.float32)
    noisy = unit(tokens + 0.3 * unit(rng.standard_normal(tokens.shape)))
    return Embedding(unit(rng.standard_normal(DIM)).astype(np.float32), noisy.astype(np.float32))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store_module, "READER_GRACE", 0.01)
    monkeypatch.setattr(token_index, "INDEXED_FROM", 100)
    monkeypatch.setattr(token_index, "UNINDEXED", 30)
    monkeypatch.setattr(inverted, "SHORTLIST", 60)
    return tmp_path / ".polylens"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """400 pages in 20 files, and their index."""
    with Store.create(path, "model", DIM, WIDTH) as store:
        store.commit([file_of(number) for number in range(20)])
        store.compact()
        yield store


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows whose vectors are read to be indexed, from now on."""
    rows: list[int] = []
    vectors = token_index._Writer._vectors

    def counted(writer: token_index._Writer, of: np.ndarray) -> list[np.ndarray]:
        rows.extend(of.tolist())
        return vectors(writer, of)

    monkeypatch.setattr(token_index._Writer, "_vectors", counted)
    return rows


def files(path: Path) -> set[str]:
    return {each.name for each in path.glob("*.lance/tokens/*")}


def found(store: Store, number: int, **more: object) -> list[tuple[str, int]]:
    """Places of the best pages, of which at most forty are scored exactly."""
    hits = search(store.snapshot(), query_for(number), 5, 40, by="late", **more)  # type: ignore[arg-type]
    return [(hit.file, hit.page) for hit in hits]


def place(number: int) -> tuple[str, int]:
    return f"{number // A_FILE}", number % A_FILE + 1


def test_it_finds_what_exact_scoring_finds(store: Store) -> None:
    """The dense vectors, which know nothing, find a tenth of it."""
    every, shares, by_dense = [tokens_of(number) for number in range(400)], [], []
    for number in range(0, 400, 10):
        query = query_for(number)
        best = {place(at) for at in np.argsort(-maxsim(query.multivector, every))[:5].tolist()}
        shares.append(len(best & set(found(store, number))) / 5)
        near = {(each.file, each.page) for each in store.snapshot().dense_candidates(query.dense, 40)}
        by_dense.append(len(best & near) / 5)
    assert np.mean(shares) > 0.95 and np.mean(by_dense) < 0.3
    assert search(store.snapshot(), query_for(7), 1, 40)[0].found_by == ("tokens",)


def test_a_small_index_has_none(path: Path) -> None:
    with Store.create(path, "model", DIM, WIDTH) as store:
        store.commit([file_of(0), file_of(1)])
        store.compact(force=True)
        assert not files(path) and store.snapshot().token_candidates(query_for(7).multivector, 9) is None
        assert found(store, 7)[0] == place(7)


def test_filters_hold_before_anything_is_ranked(store: Store) -> None:
    for number in range(0, 40, 3):
        kind = "text" if number % 2 else "pdf"
        other = Filters.of(kinds=["pdf" if number % 2 else "text"])
        assert found(store, number, filters=Filters.of(kinds=[kind]))[0] == place(number)
        places = found(store, number, filters=other)
        assert len(places) == 5 and all((page % 2 == 0) != (kind == "text") for _, page in places)


def test_new_pages_are_found_at_once_and_indexed_when_they_are_many(store: Store, path: Path, read: list[int]) -> None:
    before = files(path)
    store.commit([file_of(20)])
    store.compact()
    assert files(path) == before and found(store, 405)[0] == place(405)
    store.commit([file_of(21)])
    told: list[tuple[int, int]] = []
    store.compact(told=lambda *each: told.append(each))
    assert told[-1] == (440, 440) and [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(read) == 40 and files(path).isdisjoint({each for each in before if "centroids" not in each})
    assert found(store, 405)[0] == place(405) and found(store, 423)[0] == place(423) and found(store, 7)[0] == place(7)
    assert not token_index.unindexed(store.snapshot()._table, _index(store), None)


def test_what_was_removed_or_changed_is_not_found(store: Store) -> None:
    store.commit([file_of(3, first=9_000)], removed=["0"])
    for number in (7, 65):
        assert place(number) not in found(store, number) and len(found(store, number)) == 5
    assert found(store, 9_005)[0] == ("3", 6)


def test_pages_that_moved_are_known_without_reading_them(store: Store, path: Path, read: list[int]) -> None:
    """To other rows as fragments are merged, and to another name as a file is renamed."""
    rows = {each.row for each in store.snapshot().token_candidates(query_for(7).multivector, 40).found}  # type: ignore[union-attr]
    store.commit([file_of(5, name="renamed")], removed=["5"])
    store.compact(force=True)
    assert not read
    again = store.snapshot().token_candidates(query_for(7).multivector, 40)
    assert again is not None and rows.isdisjoint(each.row for each in again.found)
    assert found(store, 7)[0] == place(7) and found(store, 105)[0] == ("renamed", 6)


def test_large_segments_are_kept(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch, read: list[int]) -> None:
    monkeypatch.setattr(token_index, "SEGMENT_PAGES", 150)
    monkeypatch.setattr(token_index, "RETRAINED_AT", 100)
    with Store.create(path, "model", DIM, WIDTH) as many:
        many.commit([file_of(number) for number in range(20)])
        many.compact()
        segments = _index(many).generation.segments
        assert len(segments) == 3
        many.commit([file_of(number) for number in range(20, 24)])
        many.compact()
        assert _index(many).generation.segments[:2] == segments[:2] and len(_index(many).segments) == 4
        for number in (7, 205, 395, 405, 470):
            assert found(many, number)[0] == place(number)
        many.commit([], removed=[f"{number}" for number in range(5)])  # 100 of the first 150 pages
        many.commit([file_of(number) for number in range(24, 28)])
        many.compact()
        assert segments[0] not in _index(many).generation.segments and found(many, 145)[0] == place(145)


def test_centroids_are_found_anew_as_the_index_grows(store: Store) -> None:
    first = _index(store).generation
    assert first.trained_on == 400
    store.commit([file_of(number) for number in range(20, 79)])
    store.compact()
    assert _index(store).generation.centroids == first.centroids
    store.commit([file_of(number) for number in range(79, 90)])
    store.compact()
    again = _index(store).generation
    assert (again.centroids != first.centroids) and again.trained_on == 1_800
    assert found(store, 7)[0] == place(7) and found(store, 1_790)[0] == place(1_790)


@pytest.mark.parametrize("kind", ["json", "centroids.arrow", "pages.arrow", "lists.arrow"])
@pytest.mark.parametrize("content", [None, b"", b"broken"])
def test_a_broken_file_costs_only_what_it_finds(store: Store, path: Path, kind: str, content: bytes | None) -> None:
    for file in path.glob(f"*.lance/tokens/*{kind}"):
        file.unlink() if content is None else file.write_bytes(content)
    token_index._mapped.cache_clear()
    assert len(found(store, 7)) == 5  # by the dense vectors
    store.commit([file_of(20), file_of(21)])
    store.compact()
    assert found(store, 7)[0] == place(7) and found(store, 405)[0] == place(405)


def test_who_is_killed_before_the_table_names_the_files_leaves_the_old_index(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(path)
    store.commit([file_of(20), file_of(21)])
    with monkeypatch.context() as patch:
        patch.setattr(token_index._Writer, "_publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.compact()
    assert before < files(path)
    assert found(Store.open(path), 7)[0] == place(7) and found(store, 405)[0] == place(405)
    store.compact()
    assert len(files(path)) == 4 and found(store, 405)[0] == place(405)


def test_it_goes_with_its_table_and_is_no_waste(store: Store, path: Path) -> None:
    [old] = path.glob("*.lance")
    size = store.storage.size(old.stem)
    (old / "tokens" / "large").write_bytes(bytes(10**6))
    assert store.storage.size(old.stem) == size
    store.close()
    with Store.stage(path, "model", DIM, WIDTH) as staged:
        staged.commit([file_of(0)])
        staged.publish()
    assert not old.exists()


def test_a_match_is_measured_against_pages_at_random(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages that the index chose have high scores, and say nothing of what chance gives."""
    with Store.create(path, "model", DIM, WIDTH) as store:
        store.commit([file_of(number) for number in range(20)])
        whole = {number: search(store.snapshot(), query_for(number), 1, 400, by="late") for number in range(0, 400, 40)}
        store.compact()
        for number, [hit] in whole.items():
            [again] = search(store.snapshot(), query_for(number), 1, 40, by="late")
            assert again.found_by == ("tokens",) and again.late_score == pytest.approx(hit.late_score, abs=1e-6)
            assert again.match == pytest.approx(hit.match, abs=0.12)


def test_upkeep_leaves_it_to_the_end_of_an_update(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_index, "MOST_UNINDEXED", 25)
    store.commit([file_of(20), file_of(21)])  # more than are scored on top of what the index finds
    upkeep.index_new_pages(store._table, growing=True)
    assert token_index.is_behind(store._table) and upkeep.is_upkeep_due(store._table, store.storage)
    candidates = store.snapshot().token_candidates(query_for(405).multivector, 40)
    assert candidates is not None and not candidates.is_complete
    [hit] = search(store.snapshot(), query_for(405), 1, 500, by="late")
    assert (hit.file, hit.page) == place(405)  # by the dense vectors, which were asked for 500


def _index(store: Store) -> token_index.TokenIndex:
    index = token_index.token_index_of(store.snapshot()._table)
    assert index is not None
    return index
