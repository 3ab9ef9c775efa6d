"""The update under way, as the search page is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.fakes import FakeEmbedder

from polylens.library.library import Library
from polylens.library.progress import UpdateProgress
from polylens.server.search_page.updates import UpdateStatus


def status() -> UpdateStatus:
    return UpdateStatus(lambda: pytest.fail("the model is the index's own"))


def summaries(folder: Path) -> list[dict[str, Any] | None]:
    """What the page is told while the library of a folder is brought up to date, in order, and after it."""
    library, told = Library(folder, FakeEmbedder()), status()
    seen: list[dict[str, Any] | None] = []

    def progress(now: UpdateProgress) -> None:
        told.progress(library, now)
        seen.append(told.summary())

    told.updated(library, library.update(progress))
    return [*seen, told.summary()]


def test_an_update_is_shown_to_its_end(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.txt").write_text(f"word{i}")
    *seen, after = summaries(tmp_path)
    assert after is None
    phases = [each["phase"] for each in seen if each is not None]
    assert list(dict.fromkeys(phases)) == ["scanning", "indexing", "finishing"]
    last = seen[-1]
    assert last is not None
    assert (last["done_pages"], last["total_pages"], last["eta_seconds"]) == (3, 3, None)


def test_a_scan_that_finds_nothing_new_shows_no_more_than_the_files_that_it_looks_at(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("word")
    Library(tmp_path, FakeEmbedder()).update()
    shown = [each for each in summaries(tmp_path) if each is not None]
    assert all(each["phase"] == "scanning" and each["file"] for each in shown)


def test_a_long_finish_says_how_long(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library, told = Library(tmp_path, FakeEmbedder()), status()
    clock = iter([100.0, 110.0]).__next__
    monkeypatch.setattr("polylens.server.search_page.updates.time.monotonic", clock)
    told.progress(library, UpdateProgress("finishing", "", 1_000, 4_000))
    now = told.summary()
    assert now is not None and now["eta_seconds"] == pytest.approx(30.0)
