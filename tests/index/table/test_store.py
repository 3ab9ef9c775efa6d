"""The store keeps what it is given, all of a file or none of it, and says no in time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.support.stores import DIM, pages, unit
from tests.support.waiting import HANG

from polylens.errors import InputError, LibraryBusyError, LibraryNotFoundError, ModelMismatchError, PolylensError
from polylens.index.table import store as store_module
from polylens.index.table.schema import FilePages, PageRow, page_table
from polylens.index.table.snapshot import FileRecord
from polylens.index.table.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".polylens"


class TestContents:
    def test_comes_back_as_it_went_in(self, path: Path) -> None:
        given = pages("sub/a.pdf", 5)
        with Store.create(path, "model", DIM) as store:
            store.replace_file(given)
        store = Store.open(path, model_id="model")
        assert store.files() == {"sub/a.pdf": FileRecord("hash 0", 1000, 10**18, 5)}
        snapshot = store.snapshot()
        assert snapshot.pages_of("sub/a.pdf").equals(given.rows)
        vectors = np.stack([np.array(row) for row in given.rows["dense"].to_pylist()])
        query = vectors[3].astype(np.float32)
        found = snapshot.dense_candidates(query, 5)
        assert [candidate.page for candidate in found] == (np.argsort(-(vectors @ query)) + 1).tolist()
        assert np.allclose([candidate.dense_score for candidate in found], np.sort(vectors @ query)[::-1], atol=1e-6)
        rows = [candidate.row for candidate in found]
        fetched, vectors_of = snapshot.fetch(rows), [snapshot.multivectors(rows)[row] for row in rows]
        for candidate, page, multivector in zip(found, fetched, vectors_of, strict=True):
            assert (page.file, page.page, page.kind, page.text) == (
                "sub/a.pdf",
                candidate.page,
                "pdf",
                f"text {candidate.page}",
            )
            expected = np.array(given.rows["multivector"][candidate.page - 1].as_py(), np.float16)
            assert multivector.dtype == np.float16 and np.array_equal(multivector, expected)

    def test_a_changed_file_leaves_nothing_behind(self, path: Path) -> None:
        with Store.create(path, "model", DIM) as store:
            store.commit([pages("a", 5, seed=1, text="old"), pages("b", 3)])
            store.replace_file(pages("a", 2, seed=2, text="new"))
            assert {file: (r.hash, r.num_pages) for file, r in store.files().items()} == {
                "a": ("hash 2", 2),
                "b": ("hash 0", 3),
            }
            assert store.snapshot().pages_of("a")["text"].to_pylist() == ["new 1", "new 2"]
            store.replace_file(pages("a", 7, seed=3))
            assert store.count() == 10

    def test_many_pages_are_streamed(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file of gigabytes takes no memory, and its pages are all there in one version."""
        monkeypatch.setattr(store_module, "MERGED_BYTES", 0)
        monkeypatch.setattr("polylens.index.table.schema.STREAM_PAGES", 2)
        given = pages("a", 7, seed=2, text="new")
        with Store.create(path, "model", DIM) as store:
            before = store._table.version
            store.commit([pages("a", 5, seed=1, text="old"), pages("b", 3)])
            assert store._table.version == before + 1
            store.commit([given], removed=["b"])
            assert {file: record.num_pages for file, record in store.files().items()} == {"a": 7}
            assert store.snapshot().pages_of("a").equals(given.rows)

    def test_replaced_and_removed_in_one_version(self, path: Path) -> None:
        """Whatever moment a reader looks at, it sees the state before the commit or the one after it."""
        with Store.create(path, "model", DIM) as store:
            store.commit([pages("a", 4), pages("b", 4), pages("c", 4)])
            before = store._table.version
            store.commit([pages("a", 2, seed=5), pages("d", 3)], removed=["b", "not there"])
            assert store._table.version == before + 1
            assert {file: record.num_pages for file, record in store.files().items()} == {"a": 2, "c": 4, "d": 3}
            store.remove(["c", "d"])
            store.remove([])
            store.commit([])
            assert list(store.files()) == ["a"]

    @pytest.mark.parametrize(
        "name", ["it's.pdf", "back\\slash", "new\nline", "100%_", 'quo"te', "') OR true --", "页.pdf", "e\u0301"]
    )
    def test_any_name(self, path: Path, name: str) -> None:
        with Store.create(path, "model", DIM) as store:
            store.commit([pages("other", 1), pages(name, 3)])
            store.replace_file(pages(name, 2))
            assert store.snapshot().pages_of(name).num_rows == 2
            assert {file: record.num_pages for file, record in store.files().items()} == {"other": 1, name: 2}
            store.remove([name])
            assert list(store.files()) == ["other"]

    def test_filter_and_no_rows(self, path: Path) -> None:
        query = unit(np.random.default_rng(0), DIM)
        with Store.create(path, "model", DIM) as store:
            assert (store.count(), store.files(), store.snapshot().dense_candidates(query, 3)) == (0, {}, [])
            assert store.snapshot().fetch([]) == [] and store.snapshot().multivectors([]) == {}
            store.commit([pages("a", 4), pages("b", 4, seed=1)])
            assert {c.file for c in store.snapshot().dense_candidates(query, 9, where="file = 'b'")} == {"b"}
            with pytest.raises(ModelMismatchError, match="dense vectors of 8 numbers"):
                store.snapshot().dense_candidates(query[:5], 3)

    def test_bad_vectors_never_get_in(self) -> None:
        good = PageRow(1, "text", "x", np.ones(DIM, np.float32), np.ones((2, 128), np.float16))
        for dense, multivector in [
            (np.full(DIM, np.nan, np.float32), good.multivector),
            (good.dense, np.full((2, 128), np.inf, np.float16)),
            (good.dense[:3], good.multivector),
            (good.dense, good.multivector[:, :64]),
        ]:
            with pytest.raises(AssertionError):
                page_table([PageRow(1, "text", "x", dense, multivector)], DIM)

    def test_compaction_keeps_rows_and_frees_the_rest(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store_module, "READER_GRACE", 0.05)
        with Store.create(path, "model", DIM) as store:
            for seed in range(12):
                store.commit([pages(f"file {seed % 6}", 20, seed=seed)])
            files, rows = store.files(), store.snapshot().pages_of("file 3")
            store.compact()  # too few fragments yet
            assert store._table.stats()["fragment_stats"]["num_fragments"] > 1
            size = _size(path)
            store.compact(force=True)
            assert store._table.stats()["fragment_stats"]["num_fragments"] == 1
            assert _size(path) < 0.7 * size
            assert store.files() == files
            assert store.snapshot().pages_of("file 3").equals(rows)

    def test_a_snapshot_stands_still(self, path: Path) -> None:
        with Store.create(path, "model", DIM) as store:
            store.commit([pages("a", 4)])
            reader = Store.open(path)
            snapshot = reader.snapshot()
            store.commit([pages("b", 2)], removed=["a"])
            assert list(snapshot.files()) == ["a"]
            assert snapshot.pages_of("a").num_rows == 4
            assert list(reader.files()) == ["b"]


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


class TestOpening:
    def test_nothing_there(self, path: Path) -> None:
        assert not Store.exists(path)
        with pytest.raises(LibraryNotFoundError, match="polylens index"):
            Store.open(path)

    def test_another_model(self, path: Path) -> None:
        Store.create(path, "jina", DIM).close()
        for write in (False, True):
            with pytest.raises(ModelMismatchError, match=r"'jina'.*'nano'.*polylens index --rebuild"):
                Store.open(path, model_id="nano", write=write)
        Store.open(path, model_id="jina", write=True).close()  # the lock was let go

    def test_rebuilding_is_one_moment(self, path: Path) -> None:
        with Store.create(path, "old", DIM) as store:
            store.commit([pages("a", 4)])
        reader = Store.open(path)
        with Store.create(path, "new", DIM + 1):
            with pytest.raises(ModelMismatchError, match=r"'new'.*'old'"):
                reader.snapshot()
            assert Store.open(path).count() == 0
        assert len(list(path.glob("*.lance"))) == 1  # what was replaced is gone

    @pytest.mark.parametrize("step", ["page_schema", "write_manifest"])
    def test_half_made_index_is_none(self, path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        def die(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(store_module, step, die)
            with pytest.raises(KeyboardInterrupt):
                Store.create(path, "model", DIM)
        assert not Store.exists(path)
        with Store.create(path, "model", DIM):
            assert len(list(path.glob("*.lance"))) == 1

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 99}', "\x00"])
    def test_damaged_manifest(self, path: Path, text: str) -> None:
        Store.create(path, "model", DIM).close()
        (path / "index.json").write_text(text)
        with pytest.raises(PolylensError, match="--rebuild"):
            Store.open(path)
        Store.create(path, "model", DIM).close()
        assert json.loads((path / "index.json").read_text())["model_id"] == "model"

    def test_table_gone(self, path: Path) -> None:
        import shutil

        Store.create(path, "model", DIM).close()
        for table in path.glob("*.lance"):
            shutil.rmtree(table)
        with pytest.raises(PolylensError, match=r"cannot be read .*--rebuild"):
            Store.open(path)


class TestMakingItAnew:
    def test_keeps_writers_out_of_this_process(self, path: Path) -> None:
        Store.create(path, "model", DIM).close()
        with Store.stage(path, "model", DIM):
            for attempt in (lambda: Store.open(path, write=True), lambda: Store.create(path, "model", DIM)):
                with pytest.raises(LibraryBusyError, match=rf"process {os.getpid()} is writing"):
                    attempt()
            assert Store.open(path).count() == 0  # readers do not mind
        Store.open(path, write=True).close()

    def test_keeps_others_out_until_killed(self, path: Path) -> None:
        Store.create(path, "model", DIM).close()
        code = (
            "import sys, time; from polylens.index.table.store import Store\n"
            f"store = Store.stage(sys.argv[1], 'new', {DIM}); print('ready', flush=True); time.sleep({2 * HANG})"
        )
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "ready\n"
            with pytest.raises(LibraryBusyError, match=f"process {other.pid} is writing"):
                Store.open(path, write=True)
            other.kill()
        Store.open(path, write=True).close()

    def test_reading_while_writing(self, path: Path) -> None:
        """Every look sees whole files only: each commit replaces both files by longer ones."""
        with Store.create(path, "model", DIM) as store:
            store.commit([pages("a", 1), pages("b", 1)])
            seen: list[tuple[int, int]] = []
            stop, looked = threading.Event(), threading.Event()

            def read() -> None:
                reader = Store.open(path)
                while not stop.is_set():
                    files = reader.files()
                    seen.append((files["a"].num_pages, files["b"].num_pages))
                    looked.set()

            thread = threading.Thread(target=read)
            thread.start()
            for length in range(2, 30):
                store.commit([pages("a", length, seed=length), pages("b", length, seed=length)])
                if length % 4 == 0:  # however busy the machine is, the reader sees some of the states between
                    looked.clear()
                    looked.wait(HANG)
            stop.set()
            thread.join()
        assert len(set(seen)) > 3
        assert all(a == b for a, b in seen)

    def test_a_place_that_takes_no_files(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(InputError, match="cannot be written to"):
            Store.create(tmp_path / "file" / ".polylens", "model", DIM)
        (tmp_path / "lock").mkdir()
        with pytest.raises(InputError, match="cannot be written to"):
            Store.create(tmp_path, "model", DIM)

    def test_thousands_removed_at_once(self, path: Path) -> None:
        with Store.create(path, "model", DIM) as store:
            store.commit([pages(f"a long name of a file, number {i}", 1) for i in range(300)])
            store.commit([pages("b", 1)], removed=[f"a long name of a file, number {i}" for i in range(20_000)])
            assert list(store.files()) == ["b"]

    def test_a_reader_may_not_write(self, path: Path) -> None:
        Store.create(path, "model", DIM).close()
        with pytest.raises(AssertionError):
            Store.open(path).commit([pages("a", 1)])


def test_pages_without_tokens_and_odd_text(path: Path) -> None:
    row = PageRow(1, "text", "lone \ud800 surrogate", np.ones(DIM, np.float32), np.zeros((0, 128), np.float16))
    with Store.create(path, "model", DIM) as store:
        store.replace_file(FilePages("a", "h", 1, 2, page_table([row, row], DIM).slice(0, 1)))
        [candidate] = store.snapshot().dense_candidates(np.ones(DIM, np.float32), 3)
        [page] = store.snapshot().fetch([candidate.row])
        [multivector] = store.snapshot().multivectors([candidate.row]).values()
    assert multivector.shape == (0, 128)
    assert page.text == "lone ? surrogate"
    assert isinstance(page_table([], DIM), pa.Table)
