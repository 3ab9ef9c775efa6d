"""One search reads the manifest once and opens the table once, and is repeated for one reason alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.fakes import FakeEmbedder
from tests.support.searching import over_http, service_of

from polylens.errors import ModelMismatchError, PolylensError
from polylens.index.ranking.filters import Filters
from polylens.index.storage.folder import FolderStorage
from polylens.index.table import snapshot as snapshots
from polylens.index.table.store import Store
from polylens.library.library import Library
from polylens.library.view import View


class CountingStorage(FolderStorage):
    """Counts what is asked of the storage: on object storage each is a round trip."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: Counter[str] = Counter()

    def read(self, name: str) -> bytes:
        self.asked[f"read {name}"] += 1
        return super().read(name)

    def has(self, name: str) -> bool:
        self.asked[f"has {name}"] += 1
        return super().has(name)

    def connect(self) -> Any:
        database, asked = super().connect(), self.asked

        class Counting:
            def open_table(self, name: str) -> Any:
                asked["open table"] += 1
                return database.open_table(name)

        return Counting()


ONCE = {"read index.json": 1, "open table": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(f"word{number} of the harbour")
    Library(tmp_path, FakeEmbedder()).update()
    return tmp_path


@pytest.fixture
def counted(folder: Path) -> tuple[Library, CountingStorage]:
    library = Library(folder, FakeEmbedder())
    library.storage = storage = CountingStorage(folder / ".polylens")
    return library, storage


class TestReads:
    def test_the_first_search_and_the_next(self, counted: tuple[Library, CountingStorage]) -> None:
        library, storage = counted
        for word in ("word1", "word2"):
            storage.asked.clear()
            assert library.search(word)[0].file == f"{word[-1]}.txt"
            assert storage.asked == ONCE

    @pytest.mark.parametrize("filters", [Filters(), Filters.of(kinds=["pdf"])])
    def test_the_search_page(self, counted: tuple[Library, CountingStorage], filters: Filters) -> None:
        """It also tells how many pages each file has, or why nothing was found."""
        library, storage = counted
        service = service_of(library)
        storage.asked.clear()
        answer = over_http(service, "word1", filters=filters)
        assert [row["pages"] for row in answer["results"]] == ([] if filters.kinds else [1] * 6)
        assert (answer["reason"] is None) == (not filters.kinds)
        assert storage.asked == ONCE

    def test_the_first_search_of_a_library_that_loads_its_model(
        self, counted: tuple[Library, CountingStorage], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, storage = counted
        library = Library(storage.path.parent)
        library.storage = storage
        monkeypatch.setattr("polylens.runtime.embedder.load", lambda name, **_: FakeEmbedder(name))
        assert library.search("word1")[0].file == "1.txt"
        assert storage.asked == ONCE

    @pytest.mark.parametrize(
        "ask",
        [
            lambda library: library.like("1.txt", 1, filters=Filters.of(kinds=["text"])),
            lambda library: library.why_nothing(by="text", filters=Filters.of("none", languages=["fi"])),
            lambda library: library.stored("1.txt", 1),
            lambda library: library.page("1.txt", 1),
            lambda library: library.facets(),
            lambda library: library.num_pages(["1.txt"]),
        ],
    )
    def test_any_other_question(
        self, counted: tuple[Library, CountingStorage], ask: Callable[[Library], object]
    ) -> None:
        library, storage = counted
        assert ask(library)
        assert storage.asked == ONCE

    def test_a_page_as_the_search_page_reads_it(self, counted: tuple[Library, CountingStorage]) -> None:
        library, storage = counted
        service = service_of(library)
        storage.asked.clear()
        shown = asyncio.run(service.text("1.txt", 1))
        assert shown["text"].startswith("word1") and shown["pages"] == 1
        assert storage.asked == ONCE

    def test_a_view_answers_several(self, counted: tuple[Library, CountingStorage]) -> None:
        library, storage = counted
        view = library.view()
        hits = view.search("word1", filters=Filters.of(kinds=["text"]))
        assert view.num_pages([hit.file for hit in hits]) == {f"{number}.txt": 1 for number in range(6)}
        assert view.search("word1", filters=Filters.of(kinds=["pdf"])) == []
        assert view.why_nothing(filters=Filters.of(kinds=["pdf"])) == "no page is of the kind pdf; remove a filter"
        assert storage.asked == ONCE


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The states of the index that were searched."""
    states = []
    real = snapshots.Snapshot.dense_candidates

    def dense_candidates(snapshot: snapshots.Snapshot, *args: Any, **kwargs: Any) -> Any:
        states.append(snapshot.version)
        return real(snapshot, *args, **kwargs)

    monkeypatch.setattr(snapshots.Snapshot, "dense_candidates", dense_candidates)
    return states


def opened(library: Library) -> View:
    """A view whose table is open already, as under a slow search."""
    view = library.view()
    view.version()
    return view


def compact_away(folder: Path) -> None:
    """Writes a new version, and removes all those before it."""
    with Store.open(folder / ".polylens", write=True) as store:
        store.remove(["5.txt"])
        store._table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)
        store._table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)


class TestAsksOnceMore:
    @pytest.mark.filterwarnings("ignore:optimize.cleanup_older_than=0.")
    def test_where_its_version_was_compacted_away(self, folder: Path, asked: list[tuple[str, int]]) -> None:
        view = opened(Library(folder, FakeEmbedder()))
        compact_away(folder)
        assert view.search("word1", top=9)[0].file == "1.txt"
        assert len(asked) == 2 and asked[0][0] == asked[1][0] and asked[0][1] < asked[1][1]
        assert view.search("word2")[0].file == "2.txt" and len(asked) == 3  # the view is of the latest version now

    @pytest.mark.filterwarnings("ignore:optimize.cleanup_older_than=0.")
    def test_what_lance_db_says_then(self, folder: Path) -> None:
        snapshot = Store.open(folder / ".polylens").snapshot()
        compact_away(folder)
        with pytest.raises(RuntimeError, match=r"Not found: .*\.lance/data/") as error:
            snapshot.count("page = 1")
        assert snapshots.is_superseded(error.value)

    def test_where_a_rebuild_took_its_place(self, folder: Path, asked: list[tuple[str, int]]) -> None:
        view = Library(folder, FakeEmbedder()).view()  # of which nothing is open yet
        Library(folder, FakeEmbedder()).update(rebuild=True)
        assert view.search("word1")[0].file == "1.txt" and len(asked) == 1
        view = opened(Library(folder, FakeEmbedder()))
        Library(folder, FakeEmbedder()).update(rebuild=True)
        assert view.search("word3")[0].file == "3.txt" and 2 <= len(asked) <= 3

    def test_where_a_rebuild_has_another_model_the_search_is_refused(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, int]]
    ) -> None:
        monkeypatch.setattr("polylens.runtime.embedder.load", lambda name, **_: FakeEmbedder(name))
        library = Library(folder)  # its model is whichever the index names
        view = opened(library)
        assert view.search("word1")[0].file == "1.txt" and len(asked) == 1
        Library(folder, FakeEmbedder("other")).update(rebuild=True)
        with pytest.raises(ModelMismatchError, match="made anew with another model, 'other', during this search"):
            view.search("word1")
        assert library.search("word1")[0].file == "1.txt"

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("CUDA error: out of memory"),
            RuntimeError("lance error: Invalid input, no such column"),
            OSError(5, "Input/output error"),
            PolylensError("not our day"),
        ],
    )
    def test_for_no_other_error(self, folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []

        def fail(*_: object, **__: object) -> None:
            calls.append(1)
            raise error

        monkeypatch.setattr(snapshots.Snapshot, "fetch", fail)
        with pytest.raises(type(error), match=str(error)[:20].replace("[", r"\[")):
            Library(folder, FakeEmbedder()).search("word1")
        assert calls == [1]

    def test_nor_for_a_model_that_fails(self, folder: Path) -> None:
        class Failing(FakeEmbedder):
            def embed(self, inputs: Any, **options: Any) -> Any:
                super().embed(inputs, **options)
                raise RuntimeError("Not found: a kernel for pages.lance/ on this device")

        embedder = Failing()
        with pytest.raises(RuntimeError, match="a kernel"):
            Library(folder, embedder).search("word1")
        assert embedder.num_inputs == 1

    def test_a_damaged_index_is_not_asked_twice(self, folder: Path, asked: list[tuple[str, int]]) -> None:
        for file in (folder / ".polylens").glob("*.lance/data/*"):
            file.unlink()
        with pytest.raises(RuntimeError, match="Not found"):
            Library(folder, FakeEmbedder()).search("word1")
        assert len(asked) == 1
