"""The folder that both frameworks search."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest
from tests.support.fakes import FakeEmbedder

from polylens.library.library import Library


@pytest.fixture
def library(tmp_path: Path) -> Library:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "may.md").write_text("The plumber wrote an invoice in May.")
    (tmp_path / "harbour.txt").write_text("Ships leave the harbour at dawn.")
    PIL.Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    library = Library(tmp_path, FakeEmbedder())
    library.update()
    return library
