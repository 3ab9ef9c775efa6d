"""What the tests of nano's training share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.drawing import need_fonts
from tests.support.small_recipes import LANGUAGES, learned_from, small

from polylens.lab.nano import loop, tokenizer


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compilation, which takes longer than all of these runs together; every step is logged."""
    monkeypatch.setattr(loop.shutil, "which", lambda _: None)  # no compiler, no compilation
    monkeypatch.setattr(loop, "LOG_EVERY", 1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer only, learned from a few lines."""
    for language in LANGUAGES:
        need_fonts(language)
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "_corpus", lambda _: learned_from())
        loop._tokenizer(small(), folder)
    return folder


@pytest.fixture
def begin(prepared: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(prepared, tmp_path / name))
