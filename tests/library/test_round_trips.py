"""A search of an index on object storage waits for the storage at most three times, and copies of it stay bounded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import buckets
from tests.support.fakes import FakeEmbedder
from tests.support.relays import DELAY, Traffic, relaying
from tests.support.waiting import until

from polylens.errors import InputError
from polylens.index.ranking.filters import Filters
from polylens.index.search import RANKINGS
from polylens.index.storage import mirror
from polylens.index.storage.bucket import BucketStorage
from polylens.index.storage.folder import folder_size
from polylens.index.storage.mirror import Mirror
from polylens.index.table import token_index
from polylens.index.table.manifest import read_manifest
from polylens.index.table.store import Store
from polylens.library.library import Library

pytestmark = pytest.mark.skipif(not buckets.HAS_MOTO, reason="needs moto with its server, of the extra dev")

FILES = 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return buckets.write_subjects(tmp_path / "folder", FILES)


@pytest.fixture
def traffic(folder: Path, shelf: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Traffic]:
    """An index in a bucket, and what is asked of the bucket from then on."""
    Library(folder, FakeEmbedder(), index=shelf).update()
    with relaying(os.environ["AWS_ENDPOINT_URL"], delay=DELAY) as (address, traffic):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        yield traffic


def test_at_most_three_once_it_is_open(traffic: Traffic, folder: Path, shelf: str) -> None:
    library, here = Library(shelf, FakeEmbedder()), Library(folder, FakeEmbedder())
    library.search("word1")
    assert traffic.round_trips() > 3  # the counter counts
    for by in RANKINGS:
        for query, filters in (("word7 subject3", None), ("subject2", Filters.of(kinds=["text"]))):
            traffic.clear()
            hits = library.search(query, by=by, filters=filters)
            assert 1 <= traffic.round_trips() <= 3, traffic.told()
            assert hits == here.search(query, by=by, filters=filters) and hits


def test_it_follows_the_index(traffic: Traffic, folder: Path, shelf: str) -> None:
    library = Library(shelf, FakeEmbedder())
    assert library.count() == FILES
    (folder / "new.txt").write_text("something entirely new")
    (folder / "03.txt").unlink()
    Library(folder, FakeEmbedder(), index=shelf).update()
    assert library.search("entirely")[0].file == "new.txt"
    assert library.files().keys() == {path.name for path in folder.glob("*.txt")}
    traffic.clear()
    assert library.search("entirely")[0].file == "new.txt" and traffic.round_trips() <= 3, traffic.told()
    with Store.open(shelf, write=True) as store:
        store.compact(force=True)
    assert library.search("entirely")[0].file == "new.txt"
    Library(folder, FakeEmbedder("other"), index=shelf).update(rebuild=True)
    assert Library(shelf, FakeEmbedder("other")).search("entirely")[0].file == "new.txt"


def test_the_index_of_token_vectors_is_copied_as_well(
    folder: Path, shelf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_index, "INDEXED_FROM", 10)
    monkeypatch.setattr(token_index, "UNINDEXED", 1)
    Library(folder, FakeEmbedder(), index=shelf).update()
    with relaying(os.environ["AWS_ENDPOINT_URL"], delay=DELAY) as (address, traffic), monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        library = Library(shelf, FakeEmbedder())
        assert library.search("word7 subject3")[0].found_by == ("tokens", "text")
        for number in range(6):  # fewer than are scored without an index are added meanwhile
            (folder / f"new {number}.txt").write_text(f"entirely{number} new")
            Library(folder, FakeEmbedder(), index=shelf).update()
            hit = library.search(f"entirely{number}")[0]
            assert (hit.file, hit.found_by) == (f"new {number}.txt", ("tokens", "text"))
        traffic.clear()
        assert library.search("word7 subject3")[0].found_by == ("tokens", "text")
        assert traffic.round_trips() <= 3, traffic.told()
    monkeypatch.setenv(mirror.VARIABLE, "0")
    assert Library(shelf, FakeEmbedder()).search("word7 subject3")[0].found_by == ("dense", "text")


def test_the_bucket_answers_until_a_large_one_is_copied(
    traffic: Traffic, shelf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "AT_ONCE", 0)
    library = Library(shelf, FakeEmbedder())
    first = library.search("word7 subject3")
    assert library._mirror is not None
    until(lambda: library._mirror.table(read_manifest(shelf).table) is not None)  # type: ignore[union-attr]
    traffic.clear()
    assert library.search("word7 subject3") == first and traffic.round_trips() <= 3


def test_what_is_too_large_is_read_from_the_bucket(
    traffic: Traffic, folder: Path, shelf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for most in ("0", "0.00001"):
        monkeypatch.setenv(mirror.VARIABLE, most)
        library = Library(shelf, FakeEmbedder())
        assert library.search("word7 subject3") == Library(folder, FakeEmbedder()).search("word7 subject3")
        assert library._mirror is not None and not library._mirror.folder.exists()
    monkeypatch.setenv(mirror.VARIABLE, "much")
    with pytest.raises(InputError, match=r"INDEX_CACHE_GB must be a number of gigabytes, 0 for none, got 'much'"):
        Library(shelf, FakeEmbedder())


def test_the_copy_searched_longest_ago_makes_room(folder: Path, shelf: str) -> None:
    copies: list[Mirror] = []
    for i in range(3):
        Library(folder, FakeEmbedder(), index=f"{shelf}/{i}").update(rebuild=i > 0)
        (folder / ".polylens" / "elsewhere").unlink()
        name = read_manifest(f"{shelf}/{i}").table
        most = int(2.5 * folder_size(copies[0].folder)) if copies else 10**9
        copies.append(Mirror(BucketStorage(f"{shelf}/{i}"), most=most))
        assert copies[-1].table(name) is not None
        os.utime(copies[-1].folder / "used", (i + 1, i + 1))
    assert [copy.folder.exists() for copy in copies] == [False, True, True]
