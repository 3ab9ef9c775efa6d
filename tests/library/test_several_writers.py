"""Several processes write to one index at the same time, and some of them are killed."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.support import buckets
from tests.support.commands import Piped, module
from tests.support.fakes import FakeEmbedder
from tests.support.killing import contents
from tests.support.relays import relaying
from tests.support.stores import pages
from tests.support.waiting import HANG
from tests.support.writing import digest

from polylens.documents.splitting import split
from polylens.errors import InputError, LibraryBusyError, StorageUnavailableError
from polylens.index.storage import bucket as bucket_module
from polylens.index.storage.bucket import BucketStorage
from polylens.index.storage.folder import FolderStorage
from polylens.index.table import conflicts, schema
from polylens.index.table.store import Store
from polylens.library import doctor, saving
from polylens.library.library import Library
from polylens.library.progress import Report, UpdateProgress
from polylens.library.update import BATCH_PAGES
from polylens.types import Embedding

PROCESSES = 4

needs_moto = pytest.mark.skipif(not buckets.HAS_MOTO, reason="needs moto with its server, of the extra dev")
ENDLESS = 1_000_000  # rounds

needs_flock = pytest.mark.skipif(os.name == "nt", reason="needs locks that are shared")


class Held(FakeEmbedder):
    """An embedder whose first call says that it has come, and waits."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()

    def embed(self, inputs: Sequence[Any], *, task: str = "retrieval", prompt_name: str = "query") -> list[Embedding]:
        self.has_begun.set()
        assert self.may_go_on.wait(HANG)
        return super().embed(inputs, task=task, prompt_name=prompt_name)


@contextlib.contextmanager
def writers(folder: Path, index: str, files: int, rounds: int, victims: Sequence[int] = ()) -> Iterator[list[Piped]]:
    """Starts the processes; the victims change their files until they are killed."""
    code = module("tests.support.writing")
    lasting = [ENDLESS if n in victims else rounds for n in range(PROCESSES)]
    numbers = [[str(n), str(PROCESSES), str(files), str(lasting[n])] for n in range(PROCESSES)]
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(Piped(code, folder, index, *each)) for each in numbers]
        try:
            yield started
        finally:
            for process in started:
                process.kill()


def check(folder: Path, library: Library) -> None:
    """The index holds exactly what the folder holds."""
    snapshot = Store.open(library.storage).snapshot()
    paths = {path.name: path for path in folder.glob("*.txt")}
    files = snapshot.files()
    assert files.keys() == paths.keys()
    rows = pa.Table.from_batches(list(snapshot.columns(["file", "page", "text"]))).to_pylist()
    found: dict[str, list[tuple[int, str]]] = {}
    for row in rows:
        found.setdefault(row["file"], []).append((row["page"], row["text"]))
    for name, path in paths.items():
        assert files[name].hash == digest(path)
        assert sorted(found[name]) == list(enumerate(split(path.read_text()), start=1))
    assert doctor.examine(library, model=False).is_well


@pytest.mark.parametrize(
    ("files", "rounds", "on"),
    [
        (24, 2, "disk"),
        pytest.param(24, 2, "bucket", marks=needs_moto),
        pytest.param(2_000, 4, "disk", marks=pytest.mark.slow),
        pytest.param(2_000, 4, "bucket", marks=[pytest.mark.slow, needs_moto]),
    ],
)
@needs_flock
def test_four_that_add_change_and_remove_two_of_them_killed(
    tmp_path: Path, files: int, rounds: int, on: str, request: pytest.FixtureRequest
) -> None:
    folder, rng = tmp_path / "folder", random.Random(files)
    folder.mkdir()
    index = request.getfixturevalue("shelf") if on == "bucket" else "-"
    victims = rng.sample(range(PROCESSES), 2)
    with writers(folder, index, files, rounds, victims) as processes:
        for victim in [processes[number] for number in victims]:  # at a random moment of its work
            for _ in range(rng.randrange(1, files // PROCESSES)):
                victim.stdout.readline()
            victim.kill()
        for process in processes:
            said = process.stdout.read()
            assert process.wait() in (0, -9), said + process.errors
        assert sorted(process.wait() for process in processes) == [-9, -9, 0, 0]
    library = Library(folder, FakeEmbedder(), index=None if on == "disk" else index)
    library.update()
    check(folder, library)
    if on == "disk":
        (tmp_path / "fresh").mkdir()
        for path in folder.glob("*.txt"):
            os.link(path, tmp_path / "fresh" / path.name)
        Library(tmp_path / "fresh", FakeEmbedder()).update()
        assert contents(folder) == contents(tmp_path / "fresh")


class TestCommits:
    def test_many_threads_add_the_same_new_files(self, tmp_path: Path) -> None:
        """Whoever is last replaces what the one before said of a file: no page is there twice, none of two states."""
        Store.create(tmp_path, "model", 8).close()

        def work(seed: int) -> None:
            with Store.open(tmp_path, write=True) as store:
                for i in range(6):
                    store.commit(
                        [pages(f"{i}", 2 + seed, seed=seed), pages(f"{seed} {i}", 1)], removed=[f"{seed} {i - 1}"]
                    )

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANG)
        files = Store.open(tmp_path).files()
        assert files.keys() == {*map(str, range(6)), *(f"{seed} 5" for seed in range(4))}
        for i in range(6):
            assert files[f"{i}"].num_pages == 2 + int(files[f"{i}"].hash.split()[1])
        rows = Store.open(tmp_path).snapshot().table(["file", "page"]).to_pylist()
        assert len({(row["file"], row["page"]) for row in rows}) == len(rows)

    def test_another_compacts_while_one_adds(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("polylens.index.table.store.READER_GRACE", 0.01)
        Store.create(tmp_path, "model", 8).close()
        done = threading.Event()

        def keep_up() -> None:
            with Store.open(tmp_path, write=True) as store:
                while not done.is_set():
                    store.compact(force=True)

        thread = threading.Thread(target=keep_up)
        thread.start()
        with Store.open(tmp_path, write=True) as store:
            for i in range(15):
                store.commit([pages(f"{i}", 3)], removed=[f"{i - 5}"])
        done.set()
        thread.join(HANG)
        assert Store.open(tmp_path).files().keys() == {f"{i}" for i in range(10, 15)}

    def test_waits_are_random_and_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        waits: list[float] = []
        monkeypatch.setattr(time, "sleep", waits.append)

        def conflict() -> None:
            raise RuntimeError("lance error: Retryable commit conflict for version 7")

        with pytest.raises(LibraryBusyError, match=r"others write to the index in papers so often.*version 7"):
            conflicts.retried(conflict, "papers")
        assert len(waits) == conflicts.TRIES - 1 and len(set(waits)) == len(waits)
        assert all(wait <= 0.05 * 2**number for number, wait in enumerate(waits)) and max(waits) > 0.5

        def broken() -> None:
            raise RuntimeError("No space left on device (os error 28)")

        with pytest.raises(RuntimeError, match="No space"):
            conflicts.retried(broken, "papers")

    def test_a_table_without_a_key_has_one_writer(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(schema, "page_schema", schema.page_schema)
            made = schema.page_schema(8, 128, 1)
            plain = pa.schema([pa.field(field.name, field.type) for field in made], metadata=made.metadata)
            patch.setattr("polylens.index.table.store.page_schema", lambda *_: plain)
            Store.create(tmp_path, "model", 8).close()
        with Store.open(tmp_path, write=True) as store:
            store.commit([pages("a", 2)])
            with pytest.raises(LibraryBusyError, match=f"process {os.getpid()} is writing"):
                Store.open(tmp_path, write=True)
        Store.open(tmp_path, write=True).close()

    def test_what_was_half_written_goes_only_when_nobody_else_is_there(self, tmp_path: Path) -> None:
        storage = FolderStorage(tmp_path)
        with Store.create(tmp_path, "model", 8) as store:
            store.commit([pages("a", 1)])
            junk = tmp_path / f"{store.manifest.table}.lance" / "data" / "half.lance"
            junk.write_bytes(b"half")
            with Store.open(tmp_path, write=True):
                assert storage.has_writers()
                store.compact(force=True)
                assert junk.exists()  # it may be of a commit of the other one
            store.compact(force=True)
            assert not junk.exists()
        assert not storage.has_writers()


class TestUpdates:
    def test_a_file_that_another_saved_is_not_embedded_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(saving, "COMMIT_PAGES", 4)
        Library(tmp_path, FakeEmbedder()).update()  # an index without files
        for i in range(60):
            (tmp_path / f"{i:02}.txt").write_text(f"word{i} of a page")
        quick, slow = FakeEmbedder(), Held()
        reports: list[Report] = []
        thread = threading.Thread(target=lambda: reports.append(Library(tmp_path, slow).update()))
        thread.start()
        assert slow.has_begun.wait(HANG)  # it has planned to embed all 60, and read them ahead
        assert Library(tmp_path, quick).update().indexed == 60
        slow.may_go_on.set()
        thread.join(HANG)
        assert len(Library(tmp_path, FakeEmbedder()).files()) == 60
        assert quick.num_inputs == 60
        assert slow.num_inputs == BATCH_PAGES  # its first commit shows it what the other one saved
        assert (reports[0].indexed, reports[0].unchanged) == (BATCH_PAGES, 60 - BATCH_PAGES)

    def test_what_another_saves_during_a_rebuild_is_in_the_new_index(self, tmp_path: Path) -> None:
        for i in range(20):
            (tmp_path / f"{i:02}.txt").write_text(f"word{i} of a page")
        Library(tmp_path, FakeEmbedder()).update()
        with Store.open(tmp_path / ".polylens", write=True) as other:
            rows = other.snapshot().pages_of("00.txt")
            late: list[str] = []

            def save(progress: UpdateProgress) -> None:
                if progress.phase == "finishing" and not late:
                    late.append("late.txt")
                    (tmp_path / "late.txt").write_text("word7 came late")
                    status = (tmp_path / "late.txt").stat()
                    hashed = digest(tmp_path / "late.txt")
                    other.commit([schema.FilePages("late.txt", hashed, status.st_size, status.st_mtime_ns, rows)])

            report = Library(tmp_path, FakeEmbedder("new")).update(save, rebuild=True)
            assert report.indexed == 21
            with pytest.raises(LibraryBusyError, match="made anew by another process"):
                other.remove(["00.txt"])
        assert len(Library(tmp_path, FakeEmbedder("new")).files()) == 21

    def test_two_begin_the_same_index(self, tmp_path: Path) -> None:
        for i in range(8):
            (tmp_path / f"{i}.txt").write_text(f"word{i}")
        errors: list[BaseException] = []

        def begin() -> None:
            try:
                Library(tmp_path, FakeEmbedder()).update()
            except BaseException as error:  # noqa: BLE001 - shown below
                errors.append(error)

        threads = [threading.Thread(target=begin) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANG)
        assert not errors
        assert len(list((tmp_path / ".polylens").glob("*.lance"))) == 1
        assert len(Library(tmp_path, FakeEmbedder()).files()) == 8

    def test_what_each_could_not_read_is_told(self, tmp_path: Path) -> None:
        """The list of what is unsearchable has what both found, though each knows only its own."""
        from polylens.library.unsearchable import Unsearchable, read_unsearchable, write_unsearchable

        storage, one, other = FolderStorage(tmp_path), Unsearchable(1, 1, "torn"), Unsearchable(2, 2, "locked")
        write_unsearchable(storage, {"a": one, "b": one}, before={})
        write_unsearchable(storage, {"c": other}, before={"b": one})  # knew b, which is gone; never saw a
        assert read_unsearchable(storage) == {"a": one, "c": other}


@pytest.fixture
def forgetful(shelf: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The index's address on a store that ignores conditions."""
    with relaying(os.environ["AWS_ENDPOINT_URL"], conditions=False) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        yield shelf


@needs_moto
class TestAStoreThatIgnoresConditions:
    def test_is_refused_for_writing(self, forgetful: str, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("word")
        for attempt in (
            lambda: Store.create(forgetful, "model", 8),
            lambda: Library(tmp_path, FakeEmbedder(), index=forgetful).update(),
        ):
            with pytest.raises(
                StorageUnavailableError, match=r"ignores conditional puts \(If-None-Match and If-Match\)"
            ):
                attempt()
        assert not Store.exists(forgetful)

    def test_is_found_by_the_doctor_and_searched(
        self, shelf: str, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        (tmp_path / "a.txt").write_text("word")
        library = Library(tmp_path, FakeEmbedder(), index=shelf)
        library.update()
        assert doctor.examine(library, model=False).findings == []
        request.getfixturevalue("forgetful")
        again = Library(shelf, FakeEmbedder())
        [problem] = [each for each in doctor.examine(again, model=False).findings if each.check == "storage"]
        assert problem.level == "problem" and "ignores conditional puts" in problem.message
        assert [hit.file for hit in again.search("word")] == ["a.txt"]

    def test_a_good_one_is_tried_once(self, shelf: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bucket_module, "_CONDITIONAL", set())
        storage, puts = BucketStorage(shelf), []
        put_if = BucketStorage.put_if
        monkeypatch.setattr(BucketStorage, "put_if", lambda *a: puts.append(a[1]) or put_if(*a))  # type: ignore[func-returns-value]
        assert storage.shortcoming() == storage.shortcoming() == ""
        assert len(puts) == 3


def test_a_folder_that_takes_no_files(tmp_path: Path) -> None:
    (tmp_path / "writers").mkdir()
    with pytest.raises(InputError, match="cannot be written to"):
        FolderStorage(tmp_path).join()
