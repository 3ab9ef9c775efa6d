"""A file that is written beside its place is there whole, or as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from polylens.atomic import SUFFIX, write_beside


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("fsync", [False, True])
def test_a_new_file_and_a_replaced_one(tmp_path: Path, fsync: bool) -> None:
    for content in ("first", "second, which is longer", "3"):
        with write_beside(tmp_path / "file.json", fsync=fsync) as beside:
            beside.write_text(content)
            assert names(tmp_path) == sorted({"file.json" + SUFFIX, *(names(tmp_path))})
        assert (tmp_path / "file.json").read_text() == content
        assert names(tmp_path) == ["file.json"]


def test_until_the_end_the_old_file_is_there(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    with write_beside(file) as beside:
        beside.write_text("new")
        assert file.read_text() == "old"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(error), write_beside(file) as beside:
        beside.write_text("half")
        raise error
    assert file.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_disk_that_fills_up_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), write_beside(tmp_path / "file", fsync=True) as beside:
        beside.write_text("new")
    assert names(tmp_path) == []


def test_it_is_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: steps.append("fsync"))
    monkeypatch.setattr(os, "replace", lambda *_: steps.append("replace"))
    for fsync in (False, True):
        with write_beside(tmp_path / "file", fsync=fsync) as beside:
            beside.write_text("new")
    assert steps == ["replace", "fsync", "replace"]


def test_what_a_killed_process_left_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("precious")
    os.link(source, tmp_path / f"file{SUFFIX}")
    with write_beside(tmp_path / "file") as beside:
        beside.write_text("new")
    assert (source.read_text(), (tmp_path / "file").read_text()) == ("precious", "new")


def test_a_place_that_cannot_be_taken_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match=rf"taken{SUFFIX}.*taken'$"), write_beside(tmp_path / "taken") as beside:
        beside.write_text("new")
    assert names(tmp_path) == ["taken"]
