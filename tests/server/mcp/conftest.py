"""A small library, indexed once, for the tests of what assistants see of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.support.root import ROOT

from polylens.library.library import Library

SECRET = "The safe opens with 4711."


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts, a picture and a PDF, and beside it a file that nobody may read."""
    pytest.importorskip("mcp", reason="needs the extra mcp: pip install 'polylens[mcp]'")
    root = tmp_path_factory.mktemp("mcp")
    (root / "secret.txt").write_text(SECRET)
    folder = root / "My shelf"
    (folder / "notes").mkdir(parents=True)
    (folder / "notes" / "#1 käse?.md").write_text("The cheese is kept in the cellar, behind the red door.")
    (folder / "harbour.txt").write_text("Ships leave the harbour at dawn.")
    for name in ("red-bicycle.jpg", "invoice-2024-0417.pdf"):
        shutil.copy(ROOT / "samples" / name, folder)
    Library(folder).update()
    return folder
