"""An index of before pages had a language: searched as it is, given its languages by the next that writes to it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from tests.support.fakes import FakeEmbedder
from tests.support.killing import Nursery, contents, timed

from polylens.errors import InputError
from polylens.index.export import export
from polylens.index.ranking.filters import Filters
from polylens.index.ranking.language import language_of
from polylens.index.table.store import Store
from polylens.library.library import Library

TEXTS = {
    "steg.txt": "Wer im Hafen arbeitet, trägt auf dem Steg eine Schwimmweste.",
    "it's.md": "The keeper lights the lamp at dusk and winds the clockwork.",
    "sub/phare.txt": "Le gardien allume la lampe au crépuscule, chaque soir de l'année.",
    "figures.csv": "12.50, 14.30, 17.00, 12.50, 14.30, 17.00",
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder whose index lacks the column, and that of the places of words, which is younger."""
    folder = tmp_path / "folder"
    for name, text in TEXTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    Library(folder, FakeEmbedder()).update()
    age(folder)
    return folder


def age(folder: Path) -> None:
    with Store.open(folder / ".polylens", write=True) as store:
        store._table.drop_columns(["language", "words"])
    assert not Store.open(folder / ".polylens").snapshot().has_languages


def languages(folder: Path) -> dict[str, str]:
    rows = [row for batch in Store.open(folder / ".polylens").snapshot().batches() for row in batch.to_pylist()]
    return {row["file"]: row["language"] for row in rows}


def test_it_is_searched_as_before(old: Path, tmp_path: Path) -> None:
    library = Library(old, FakeEmbedder())
    for by in ("fused", "late", "dense", "text"):
        [best] = library.search("keeper lamp", top=1, by=by)
        assert (best.file, best.language) == ("it's.md", "")
    assert library.search("lampe", filters=Filters.of(languages=["fr"])) == []
    assert library.why_nothing(filters=Filters.of(languages=["fr"])).startswith(
        "no page of this index has a language yet; `polylens index`"
    )
    assert library.search("lampe", filters=Filters.of("sub", until="2200-01-01"))[0].file == "sub/phare.txt"
    assert library.stored("steg.txt", 1).language == ""
    assert export(library.storage, tmp_path / "out.jsonl") == len(TEXTS)


def test_the_next_update_tells_the_languages_and_embeds_nothing(old: Path) -> None:
    before = Store.open(old / ".polylens")
    rows, version, indices = contents(old), before._table.version, before._table.list_indices()
    reader = Library(old, FakeEmbedder())
    reader.search("keeper")
    embedder = FakeEmbedder()
    report = Library(old, embedder).update()
    assert (report.unchanged, report.indexed, embedder.num_inputs) == (len(TEXTS), 0, 0)
    assert languages(old) == {name: language_of(text) for name, text in TEXTS.items()}
    assert set(languages(old).values()) == {"de", "en", "fr", ""}
    after = Store.open(old / ".polylens")
    assert contents(old) == rows and after._table.version == version + 2  # one per column
    assert [index.name for index in after._table.list_indices()] == [index.name for index in indices]
    assert [hit.file for hit in reader.search("keeper", filters=Filters.of(languages=["fr"]))] == [
        "sub/phare.txt"
    ]  # opened before it
    assert after._table.schema.names == Store.create(old / "new", "fake", 32)._table.schema.names


def test_new_pages_go_where_the_old_ones_are(old: Path) -> None:
    (old / "haven.txt").write_text("De havenmeester schrijft elke ochtend het weer op in zijn dagboek.")
    (old / "steg.txt").rename(old / "pier.txt")
    assert Library(old, FakeEmbedder()).update().moved == 1
    assert languages(old)["haven.txt"] == "nl" and languages(old)["pier.txt"] == "de"


def test_one_without_pages(tmp_path: Path) -> None:
    Library(tmp_path, FakeEmbedder()).update()
    age(tmp_path)
    (tmp_path / "steg.txt").write_text(TEXTS["steg.txt"])
    Library(tmp_path, FakeEmbedder()).update()
    assert languages(tmp_path) == {"steg.txt": "de"}


def test_languages_that_cannot_be_written_are_an_error_and_leave_it_as_it_was(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(text: str) -> str:
        raise InputError(f"no room for {text!r}")

    rows = contents(old)
    monkeypatch.setattr("polylens.index.table.upgrade.language_of", full)
    with pytest.raises(InputError):
        Library(old, FakeEmbedder()).update()
    monkeypatch.undo()
    assert contents(old) == rows
    Library(old, FakeEmbedder()).update()  # the lock was let go
    assert languages(old)["steg.txt"] == "de"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork and die")
@pytest.mark.parametrize(("deaths", "ends"), [(3, 1), pytest.param(8, 3, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_has_all_languages_or_none(tmp_path: Path, deaths: int, ends: int) -> None:
    folder, rng = tmp_path / "folder", random.Random(0)
    folder.mkdir()
    for number in range(200):
        (folder / f"{number}.txt").write_text(f"{rng.choice(list(TEXTS.values()))} {number}")
    Library(folder, FakeEmbedder()).update()
    rows, told = contents(folder), languages(folder)
    nursery, died, through = Nursery(folder), 0, 0
    try:
        age(folder)
        longest = 1.5 * timed(nursery, "upgrade")
        while died < deaths or through < ends:
            age(folder)
            said = nursery.run("upgrade", rng.uniform(0.0, longest))
            longest *= 0.9 if "complete" in said else 1.1  # both happen, however fast the machine is just now
            died, through = died + ("complete" not in said), through + ("complete" in said)
            assert contents(folder) == rows
            has = Store.open(folder / ".polylens").snapshot().has_languages
            assert has or "complete" not in said
            assert languages(folder) == (told if has else dict.fromkeys(told, ""))
            assert "complete" in nursery.run("upgrade", None)
            assert languages(folder) == told
    finally:
        nursery.close()
