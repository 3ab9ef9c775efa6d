"""What a run learns from is told by names and contents."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.drawing import need_fonts

from polylens.lab.nano.data import fingerprints
from polylens.lab.nano.nano_clip_recipe import nano_clip
from polylens.lab.nano.nano_recipe import nano
from polylens.lab.synthetic import fonts
from polylens.lab.synthetic.lexicon import LANGUAGES


def test_the_kinds_are_those_that_the_recipe_draws_from() -> None:
    of_nano, of_clip = fingerprints.data_fingerprints(nano()), fingerprints.data_fingerprints(nano_clip())
    assert set(of_clip) == {"words", "fonts"}
    assert set(of_nano) == {"words", "fonts", "pictograms", "catalogues", "functions", "manuals"}
    assert all(of_nano[kind] == of_clip[kind] for kind in of_clip)
    assert int(of_nano["functions"]["files"]) > 300 and int(of_nano["words"]["words"]) > 10_000


def test_all_that_is_drawn_with_is_counted_and_nothing_held_out() -> None:
    trained = set(fonts.files("train"))
    for language in LANGUAGES:
        need_fonts(language)
        assert {face.path for face in fonts.faces(language, "train")} <= trained
    assert {face.path for face in fonts.monospaced("train")} <= trained
    assert not trained & set(fonts.files("held_out"))


def test_names_and_contents_tell_machines_apart_but_folders_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def summed(folder: str, **files: str) -> dict[str, int | str]:
        (tmp_path / folder).mkdir()
        paths = [tmp_path / folder / name for name in files]
        for path in paths:
            path.write_text(files[path.name])
        monkeypatch.setattr(fonts, "files", lambda _: paths)
        return fingerprints.data_fingerprints(nano_clip())["fonts"]

    here = summed("here", a="ink", b="paper")
    assert here["files"] == 2
    assert summed("elsewhere", b="paper", a="ink") == here
    assert summed("newer", a="ink", b="paper!")["sha256"] != here["sha256"]
    assert summed("renamed", a="ink", c="paper")["sha256"] != here["sha256"]
    assert summed("swapped", a="paper", b="ink")["sha256"] != here["sha256"]
