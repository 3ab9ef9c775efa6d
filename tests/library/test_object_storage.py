"""An index on object storage does what one on a disk does, for several machines at once.

The storage is a local S3 server.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import buckets, serving, tiny
from tests.support.commands import Piped
from tests.support.commands import polylens as run
from tests.support.fakes import FakeEmbedder
from tests.support.waiting import HANG, until

from polylens.errors import (
    InputError,
    LibraryBusyError,
    LibraryNotFoundError,
    ModelMismatchError,
    NotFoundError,
    StorageUnavailableError,
)
from polylens.index.search import RANKINGS
from polylens.index.storage import lease as lease_module
from polylens.index.storage.bucket import BucketStorage
from polylens.index.storage.folder import FolderStorage
from polylens.index.storage.lease import Lease
from polylens.index.storage.opening import open_storage
from polylens.index.table.manifest import MANIFEST, STAGED, read_manifest
from polylens.index.table.store import Store
from polylens.library import doctor, saving
from polylens.library.library import Library
from polylens.library.location import find_library
from polylens.library.progress import UpdateProgress

pytestmark = pytest.mark.skipif(not buckets.HAS_MOTO, reason="needs moto with its server, of the extra dev")

FILES = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return buckets.write_subjects(tmp_path / "folder", FILES)


@contextlib.contextmanager
def updating(folder: Path, shelf: str, delay: float = 0.02, *, rebuild: bool = False) -> Iterator[Piped]:
    """A process that brings an index up to date, or makes it anew, and says which files are safe."""
    code = (
        "import sys; from tests.support.fakes import FakeEmbedder; from polylens.library import library, saving\n"
        "saving.COMMIT_PAGES = 4\n"
        "def tell(progress):\n"
        "    for file in progress.saved: print(file, flush=True)\n"
        "embedder = FakeEmbedder(delay=float(sys.argv[3]))\n"
        "library.Library(sys.argv[1], embedder, index=sys.argv[2]).update(tell, rebuild=bool(sys.argv[4]))"
    )
    with Piped(code, folder, shelf, str(delay), "yes" if rebuild else "") as process:
        yield process
        process.kill()


class TestSearching:
    def test_the_same_hits_and_scores_as_on_a_disk(self, folder: Path, shelf: str, tmp_path: Path) -> None:
        here = Library(shutil.copytree(folder, tmp_path / "here"), FakeEmbedder())
        there = Library(folder, FakeEmbedder(), index=shelf)
        assert here.update().indexed == there.update().indexed == FILES
        elsewhere = Library(shelf, FakeEmbedder())
        for query in ("word7", "a page about subject3", "nothing of the kind"):
            for by in RANKINGS:
                expected = here.search(query, by=by)
                assert there.search(query, by=by) == elsewhere.search(query, by=by) == expected
                assert expected or by == "text"
        assert elsewhere.like("07.txt", 1) == here.like("07.txt", 1)
        assert not (folder / ".polylens" / MANIFEST).exists()

    def test_follows_the_folder(self, folder: Path, shelf: str) -> None:
        library = Library(folder, FakeEmbedder(), index=shelf)
        library.update()
        (folder / "00.txt").write_text("changed")
        (folder / "01.txt").unlink()
        (folder / "02.txt").rename(folder / "moved.txt")
        (folder / "new.txt").write_text("new")
        report = library.update()
        assert (report.indexed, report.removed, report.moved, report.unchanged) == (2, 1, 1, FILES - 3)
        assert Library(shelf, FakeEmbedder()).count() == FILES

    def test_readers_while_a_writer_adds(self, folder: Path, shelf: str) -> None:
        """Two processes that search all the while: never fewer pages than before, never an error."""
        with Store.create(shelf, "fake", 32):
            pass
        code = (
            "import sys\n"
            "from tests.support.fakes import FakeEmbedder; from polylens.library.library import Library\n"
            "library = Library(sys.argv[1], FakeEmbedder())\n"
            "while True:\n"
            "    hits = library.search('word1 subject1', top=100)\n"
            "    print(len(hits), len({hit.file for hit in hits}), flush=True)\n"
            "    if len(hits) == int(sys.argv[2]): break"
        )
        with Piped(code, shelf, str(FILES)) as one, Piped(code, shelf, str(FILES)) as other:
            self.watch((one, other), folder, shelf)

    def watch(self, readers: Sequence[Piped], folder: Path, shelf: str) -> None:
        for reader in readers:
            assert reader.stdout.readline() == "0 0\n"
        told: list[list[int]] = [[0] for _ in readers]
        saved: set[str] = set()

        def wait_for_readers(progress: UpdateProgress) -> None:
            """Goes on when each of them has seen what is saved by now."""
            saved.update(progress.saved)
            for reader, counts in zip(readers, told, strict=True):
                while counts[-1] < len(saved):
                    counts.append(int(reader.stdout.readline().split()[0]))

        Library(folder, FakeEmbedder(), index=shelf).update(wait_for_readers)
        for reader, counts in zip(readers, told, strict=True):
            counts += [int(line.split()[0]) for line in reader.stdout]
            assert reader.wait() == 0 and counts == sorted(counts) and counts[-1] == FILES
            assert len(set(counts)) > 3  # it saw the index grow

    def test_without_the_files(self, folder: Path, shelf: str) -> None:
        Library(folder, FakeEmbedder(), index=shelf).update()
        library = Library(shelf, FakeEmbedder())
        assert library.stored("07.txt", 1).text.startswith("word7 ")
        for impossible in (library.update, lambda: library.page("07.txt", 1), lambda: library.folder):
            with pytest.raises(NotFoundError, match=f"the files of {shelf} are not on this machine"):
                impossible()
        with pytest.raises(InputError, match="no page 2"):
            library.stored("07.txt", 2)
        with pytest.raises(ModelMismatchError, match=rf"{shelf}.*'fake'.*'other'"):
            Library.open(shelf, FakeEmbedder("other"))
        with pytest.raises(LibraryNotFoundError, match=f"no index in {shelf}/not"):
            Library(f"{shelf}/not", FakeEmbedder()).search("word")


class TestWriters:
    def test_one_that_makes_it_anew_keeps_the_others_out_by_its_name(self, folder: Path, shelf: str) -> None:
        Library(folder, FakeEmbedder(), index=shelf).update()
        with updating(folder, shelf, rebuild=True) as first:
            assert first.stdout.readline()
            with pytest.raises(LibraryBusyError, match=rf"process {first.pid} is writing .*{shelf} \(`.*killed"):
                Library(folder, FakeEmbedder(), index=shelf).update()
            assert Library(shelf, FakeEmbedder()).count() == FILES  # readers do not mind
            assert str(BucketStorage(shelf).holder()) == f"process {first.pid}"
            assert first.wait(HANG) == 0
        assert BucketStorage(shelf).holder() is None
        assert Library(folder, FakeEmbedder(), index=shelf).update().unchanged == FILES  # at once, for it gave it back

    def test_one_that_is_killed_making_it_anew_is_waited_for(
        self, folder: Path, shelf: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Library(folder, FakeEmbedder(), index=shelf).update()
        with updating(folder, shelf, rebuild=True) as first:
            assert first.stdout.readline()
            os.kill(first.pid, signal.SIGKILL)
        library = Library(folder, FakeEmbedder(), index=shelf)
        with pytest.raises(LibraryBusyError, match=f"process {first.pid} is writing"):
            library.update()
        with pytest.raises(LibraryBusyError, match="takes over 60 s after that"):
            library.update(rebuild=True)
        monkeypatch.setattr(lease_module, "LEASE_SECONDS", 1.0)
        time.sleep(2.1)  # the storage counts whole seconds
        assert library.update(rebuild=True).unchanged >= 4

    def test_one_that_is_killed_loses_nothing_that_was_saved(self, folder: Path, shelf: str) -> None:
        saved = []
        with updating(folder, shelf) as first:
            saved = [first.stdout.readline().strip() for _ in range(10)]
            os.kill(first.pid, signal.SIGKILL)
            saved += first.stdout.read().split()
        assert len(saved) < FILES
        assert set(saved) <= Library(shelf, FakeEmbedder()).files().keys()
        report = Library(folder, FakeEmbedder(), index=shelf).update()
        assert report.unchanged >= len(saved) and report.unchanged + report.indexed == FILES
        assert sorted(Library(shelf, FakeEmbedder()).files()) == sorted(path.name for path in folder.glob("*.txt"))
        assert doctor.examine(Library(folder, FakeEmbedder()), model=False).is_well

    def test_one_that_renews_is_not_taken_over(self, shelf: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lease_module, "LEASE_SECONDS", 5.0)
        monkeypatch.setattr(lease_module, "RENEW_SECONDS", 0.2)
        with contextlib.closing(Lease(BucketStorage(shelf))) as lease:
            _, _, taken = BucketStorage(shelf).get(lease_module.LOCK)
            until(lambda: (BucketStorage(shelf).get(lease_module.LOCK)[2] - taken).total_seconds() > 5.0)
            with pytest.raises(LibraryBusyError):
                Lease(BucketStorage(shelf))
            lease.require()

    def test_one_that_was_held_up_writes_no_more(
        self, folder: Path, shelf: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        library = Library(folder, FakeEmbedder(), index=shelf)
        library.update()
        monkeypatch.setattr(lease_module, "LEASE_SECONDS", 0.0)  # the next one thinks that this one sleeps
        sleeper = Store.stage(shelf, "fake", 32)
        with Store.stage(shelf, "fake", 32) as second:
            with pytest.raises(LibraryBusyError, match=r"another took over; (process|another)"):
                sleeper.remove(["07.txt"])
            sleeper.close()  # and does not let a third one in
            assert second._lock is not None
            second._lock.require()
            second.remove(["08.txt"])
        assert library.count() == FILES

    def test_of_many_that_come_at_once_one_gets_it(self, shelf: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """All have seen the same state before any of them puts."""
        bucket = BucketStorage(shelf)
        first = bucket.put_if("lock", b"{}", None)
        assert first and [bucket.put_if("lock", b"{}", None), bucket.put_if("lock", b"x", "other")] == [None] * 2
        monkeypatch.setattr(BucketStorage, "get", lambda *_: (b"{}", first, datetime.now(UTC)))
        lease = Lease(BucketStorage(shelf))
        with pytest.raises(LibraryBusyError):
            Lease(BucketStorage(shelf))
        monkeypatch.undo()
        lease.close()

    def test_a_renewal_whose_answer_was_lost_is_ours(self, shelf: str, monkeypatch: pytest.MonkeyPatch) -> None:
        lease = Lease(BucketStorage(shelf))
        BucketStorage(shelf).write("lock", lease._content())
        monkeypatch.setattr(lease, "_renewed", 0.0)
        lease.require()
        lease.close()
        assert BucketStorage(shelf).read("lock") == b"{}"


class TestRebuilding:
    def test_the_old_index_answers_until_the_new_one_is_complete(self, folder: Path, shelf: str) -> None:
        Library(folder, FakeEmbedder("old"), index=shelf).update()
        old = Library(shelf, FakeEmbedder("old"))
        answers = []

        def search(progress: UpdateProgress) -> None:
            if progress.saved or progress.phase == "finishing":
                answers.append(old.search("word7")[0].file)

        Library(folder, FakeEmbedder("new", dim=16)).update(search, rebuild=True)
        assert len(answers) >= 4 and set(answers) == {"07.txt"}
        assert Library(shelf, FakeEmbedder("new", dim=16)).search("word7")[0].file == "07.txt"
        with pytest.raises(ModelMismatchError):
            old.search("word7")
        assert len(BucketStorage(shelf).tables()) == 1 and not BucketStorage(shelf).has(STAGED)

    def test_one_that_dies_goes_on_where_it_was(self, folder: Path, shelf: str) -> None:
        Library(folder, FakeEmbedder("old"), index=shelf).update()

        def die(progress: UpdateProgress) -> None:
            if progress.done_pages > FILES // 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Library(folder, FakeEmbedder("new")).update(die, rebuild=True)
        assert Library(shelf, FakeEmbedder("old")).count() == FILES
        report = Library(folder, FakeEmbedder("new")).update(rebuild=True)
        assert report.unchanged >= 8 and report.unchanged + report.indexed == FILES

    @pytest.mark.parametrize("again", ["update", "rebuild", "doctor"])
    def test_death_between_the_two_steps_of_publishing(
        self, folder: Path, shelf: str, again: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Library(folder, FakeEmbedder(), index=shelf).update()
        with monkeypatch.context() as patch:
            patch.setattr(
                BucketStorage, "remove", lambda _, name: signal.raise_signal(signal.SIGINT) if name == STAGED else None
            )
            with pytest.raises(KeyboardInterrupt):
                Library(folder, FakeEmbedder()).update(rebuild=True)
        library = Library(folder, FakeEmbedder())
        assert BucketStorage(shelf).has(STAGED) and library.search("word7")[0].file == "07.txt"
        if again == "doctor":
            found = doctor.examine(library, model=False)
            assert "rebuild.json" in "".join(f.message for f in found.findings if f.check == "orphans")
            doctor.repair(library, found)
        else:
            report = library.update(rebuild=again == "rebuild")
            assert (report.unchanged, report.indexed) == ((0, FILES) if again == "rebuild" else (FILES, 0))
        assert doctor.examine(library, model=False).findings == []
        assert (
            len(BucketStorage(shelf).tables()) == 1
            and not BucketStorage(shelf).has(STAGED)
            and library.count() == FILES
        )


class TestWhichIndex:
    def test_the_folder_knows_where_it_is(self, folder: Path, shelf: str) -> None:
        Library(folder, FakeEmbedder(), index=shelf).update()
        assert str(Library(folder).storage) == shelf
        (folder / "sub").mkdir()
        assert find_library(folder / "sub") == folder

    def test_a_folder_has_one(self, folder: Path, shelf: str) -> None:
        Library(folder, FakeEmbedder()).update()
        with pytest.raises(InputError, match=r"has an index of its own.*\.polylens first"):
            Library(folder, FakeEmbedder(), index=shelf).update()
        assert not Store.exists(shelf)

    def test_another_folder_does_not_empty_it(self, folder: Path, shelf: str, tmp_path: Path) -> None:
        Library(folder, FakeEmbedder(), index=shelf).update()
        other = tmp_path / "other"
        other.mkdir()
        (other / "a.txt").write_text("something else")
        with pytest.raises(InputError, match=rf"none of the {FILES} files of the index in {shelf}.*--rebuild"):
            Library(other, FakeEmbedder(), index=shelf).update()
        assert Library(shelf, FakeEmbedder()).count() == FILES
        assert Library(other, FakeEmbedder(), index=shelf).update(rebuild=True).indexed == 1

    @pytest.mark.parametrize("index", ["papers", "s3:/papers", "gs://papers", "s3://"])
    def test_what_is_no_address(self, folder: Path, index: str) -> None:
        with pytest.raises(InputError, match=r"s3://BUCKET/PREFIX"):
            Library(folder, index=index)

    def test_places(self, tmp_path: Path) -> None:
        assert isinstance(open_storage(tmp_path), FolderStorage)
        assert [str(open_storage(f"s3://shelf{rest}")) for rest in ("", "/", "/a/b/")] == ["s3://shelf"] * 2 + [
            "s3://shelf/a/b"
        ]


@pytest.fixture
def refuse(endpoint: str) -> Iterator[Callable[..., None]]:
    """When called, the server refuses every request until the end of the test."""
    yield lambda *_: buckets.ask_for_credentials(endpoint)
    buckets.ask_for_credentials(endpoint, asks=False)


class TestErrors:
    @pytest.mark.usefixtures("shelf")
    def test_no_bucket(self, folder: Path) -> None:
        for library in (
            Library(folder, FakeEmbedder(), index="s3://nowhere/papers"),
            Library("s3://nowhere", FakeEmbedder()),
        ):
            with pytest.raises(StorageUnavailableError, match=r"there is no bucket nowhere at http://127\.0\.0\.1"):
                library.update() if library.has_files else library.search("word")

    def test_nobody_there(self, shelf: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(StorageUnavailableError, match=r"http://127\.0\.0\.1:9 does not answer.*AWS_ENDPOINT_URL"):
            Library.open(shelf)

    def test_unknown_credentials(self, shelf: str, refuse: Callable[..., None]) -> None:
        refuse()
        with pytest.raises(StorageUnavailableError, match=r"refuses \(InvalidAccessKeyId\); check AWS_ACCESS_KEY_ID"):
            Store.create(shelf, "model", 32)

    def test_the_storage_goes_away_meanwhile(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(saving, "COMMIT_PAGES", 8)
        with buckets.running() as endpoint:
            for name, value in buckets.environment(endpoint).items():
                monkeypatch.setenv(name, value)
            buckets.make_bucket(endpoint, "shelf")
            library = Library(folder, FakeEmbedder(), index="s3://shelf/papers")
            library.update()
        with pytest.raises(StorageUnavailableError, match="does not answer"):
            library.search("word7")

    def test_the_storage_refuses_in_the_middle_of_reading(
        self, folder: Path, shelf: str, refuse: Callable[..., None]
    ) -> None:
        Library(folder, FakeEmbedder(), index=shelf).update()
        store = Store.open(shelf)
        snapshot, query = store.snapshot(), np.eye(store.dim, dtype=np.float32)[0]
        refuse()
        reads: list[Callable[[], Any]] = [
            snapshot.files,
            lambda: snapshot.num_pages(["07.txt"]),
            lambda: snapshot.row_of("07.txt", 1),
            lambda: snapshot.pages_of("07.txt"),
            lambda: snapshot.dense_candidates(query, 3),
            lambda: snapshot.text_candidates("word7", 3),
            lambda: snapshot.dense_of(0),
            lambda: snapshot.multivectors([0]),
            lambda: snapshot.fetch([0]),
            lambda: list(snapshot.batches()),
            lambda: snapshot.table(["file"]),
            store.snapshot,
        ]
        for read in reads:
            with pytest.raises(StorageUnavailableError, match=r"refuses.*; check AWS_ACCESS_KEY_ID"):
                read()

    def test_storage_that_refuses_is_no_damage(
        self, folder: Path, shelf: str, refuse: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        library = Library(folder, FakeEmbedder(), index=shelf)
        library.update()
        monkeypatch.setattr(doctor, "_check_disk", refuse)
        with pytest.raises(StorageUnavailableError, match="refuses"):
            doctor.examine(library, model=False)

    def test_without_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "obstore.store", None)
        with pytest.raises(InputError, match=r"pip install 'polylens\[s3\]'"):
            Library("s3://shelf/papers")

    def test_a_damaged_manifest(self, folder: Path, shelf: str) -> None:
        library = Library(folder, FakeEmbedder(), index=shelf)
        library.update()
        before = read_manifest(shelf)
        BucketStorage(shelf).write(MANIFEST, b"{")
        found = doctor.examine(library, model=False)
        assert not found.is_well and f"{shelf}/index.json is damaged" in found.findings[0].message
        doctor.repair(library, found)
        assert replace(read_manifest(shelf), created="") == replace(before, created="")
        assert doctor.examine(library, model=False).findings == []


def test_the_commands(folder: Path, shelf: str, tmp_path: Path) -> None:
    model = tiny.write(tmp_path / "tiny")
    options = ("--model", model)
    done = run("index", folder, "--index", shelf, *options)
    assert done.returncode == 0 and f"{FILES} indexed" in done.stdout, done.stderr
    for library in (folder, shelf):
        done = run("search", "word7", "--library", library, "--by", "text", *options)
        assert done.stdout.startswith("1. 07.txt, page 1"), done.stderr
    done = run("doctor", shelf, *options)
    assert (
        "files: not compared with the index" in done.stdout
        and f"{shelf}: {FILES} pages of {FILES} files" in done.stdout
    )
    done = run("export", "--library", shelf, "--out", tmp_path / "pages.parquet")
    assert done.returncode == 0 and f"{FILES} pages" in done.stderr
    done = run("index", shelf, *options)
    assert done.returncode == 10 and "are not on this machine" in done.stderr
    done = run("search", "word7", "--library", "s3://nowhere/papers", *options)
    assert done.returncode == 17 and done.stderr.startswith("polylens: s3://nowhere/papers cannot be used: there is no")


def test_to_watch_an_index_is_refused() -> None:
    done = run("watch", "s3://bucket/papers")
    assert (
        done.returncode == 2 and "s3://bucket/papers is an index without them; watch its folder instead" in done.stderr
    )


def test_a_server_without_the_files(folder: Path, shelf: str, tmp_path: Path) -> None:
    model = tiny.write(tmp_path / "tiny")
    import polylens

    Library(folder, polylens.load(str(model)), index=shelf).update()
    with serving.serving("--model", str(model), "--library", shelf, home=tmp_path) as running:
        state: dict[str, Any] = running.http.get("/library").json()
        assert (state["folder"], state["name"], state["pages"], state["problem"]) == (shelf, "papers", FILES, "")
        found = running.post("/library/search", {"query": "word7", "by": "text"}).json()
        assert found["results"][0]["file"] == "07.txt"
        place = {"file": "07.txt", "page": 1}
        text = running.http.get("/library/text", params=place).json()
        assert text["text"].startswith("word7 ") and "not on this machine" in text["note"] and not text["picture"]
        assert not any(row["picture"] for row in found["results"])
        for path in ("/library/page", "/library/file"):
            answer = running.http.get(path, params=place)
            assert answer.status_code == 404 and "not on this machine" in answer.json()["detail"]
