"""The pages of a file wait on disk until all have come, and are the same as from memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.fakes import FakeEmbedder

from polylens.errors import StorageError
from polylens.index.table.schema import PageRow
from polylens.library import saving
from polylens.library.library import Library
from polylens.library.saving import Rows


def rows(number: int) -> list[PageRow]:
    rng = np.random.default_rng(0)
    dense, tokens = rng.standard_normal((number, 4), np.float32), rng.standard_normal((number, 3, 8)).astype(np.float16)
    return [PageRow(n + 1, "pdf", f"page {n}", dense[n], tokens[n], "en") for n in range(number)]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_on_disk_as_in_memory(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = Rows(4, 8)
    for row in rows(10):
        gathered.append(row)
    whole = gathered.table()
    assert whole.num_rows == 10
    monkeypatch.setattr(saving, "SPOOL_BYTES", 3 * 3 * 8 * 2)
    spooled = Rows(4, 8)
    for number, row in enumerate(rows(10), start=1):
        spooled.append(row)
        assert len(spooled) == number and len(spooled._rows) <= 4
    assert len(list(temporary.rglob("rows"))) == 1
    table = spooled.table()
    assert list(temporary.iterdir()) == []
    assert table.combine_chunks().equals(whole.combine_chunks())
    del table


def test_dropped(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "SPOOL_BYTES", 0)
    dropped = Rows(4, 8)
    dropped.append(rows(1)[0])
    assert len(dropped) == 1 and list(temporary.iterdir())
    dropped.clear()
    assert len(dropped) == 0 and not list(temporary.iterdir())


def test_no_room(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "SPOOL_BYTES", 0)
    temporary.rmdir()
    with pytest.raises(StorageError, match=r"cannot take the vectors of a large file \(No such file.*TMPDIR"):
        Rows(4, 8).append(rows(1)[0])


def test_an_index_of_spooled_pages(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.txt").write_text("\n\n".join(f"words of passage {n} " + "x" * 1_200 for n in range(30)))
    monkeypatch.setattr(saving, "SPOOL_BYTES", 100)
    library = Library(folder, FakeEmbedder())
    assert library.update().pages == 30
    assert library.stored("a.txt", 17).text.startswith("words of passage 16") and library.count() == 30
    assert list(temporary.iterdir()) == []
