"""The doctor finds what is wrong, says nothing of what is right, and mends what can be mended."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.support import tiny
from tests.support.commands import polylens
from tests.support.fakes import FakeEmbedder
from tests.support.papers import make_pdf

from polylens.errors import LibraryNotFoundError
from polylens.index.table import store as store_module
from polylens.index.table.schema import FilePages, PageRow, page_table
from polylens.index.table.store import Store
from polylens.library.doctor import Diagnosis, examine, repair
from polylens.library.library import Library
from polylens.types import Embedding


class Collapsed(FakeEmbedder):
    """One vector for everything, but for a little noise."""

    def embed(self, inputs: Any, **_: Any) -> list[Embedding]:
        [same] = super().embed(["same"])
        rng = np.random.default_rng(self.num_inputs)
        noisy = same.dense + 0.001 * rng.standard_normal(same.dense.shape).astype(np.float32)
        return [Embedding(noisy / np.linalg.norm(noisy), same.multivector) for _ in inputs]


class LateCollapsed(FakeEmbedder):
    """Good dense vectors; one token vector for everything."""

    def embed(self, inputs: Any, **options: Any) -> list[Embedding]:
        [same] = super().embed(["same"])
        return [Embedding(e.dense, same.multivector[:1]) for e in super().embed(inputs, **options)]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setattr(store_module, "READER_GRACE", 0.02)
    folder = tmp_path / "papers"
    make_pdf(folder / "report.pdf", *(f"page about subject{i}" for i in range(4)))
    for i in range(6):
        (folder / f"{i}.txt").write_text(f"a note on topic{i}")
    PIL.Image.new("RGB", (20, 20), "red").save(folder / "red.png")
    Library(folder, FakeEmbedder()).update()
    return Library(folder, FakeEmbedder())


def told(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    return [(finding.level, finding.check) for finding in diagnosis.findings]


def rows(library: Library, change: Callable[[PageRow], PageRow | None], file: str = "report.pdf") -> None:
    """Commit a file's rows after a change, as no update would."""
    with Store.open(library.index_path, write=True) as store:
        record = store.files()[file]
        changed = []
        for row in store.snapshot().pages_of(file).to_pylist():
            dense, tokens = np.array(row["dense"], np.float32), np.array(row["multivector"], np.float16)
            if new := change(PageRow(row["page"], row["kind"], row["text"], dense, tokens)):
                changed.append(new)
        table = page_table(changed, store.dim, store.token_dim)
        store.commit([FilePages(file, record.hash, record.size, record.mtime_ns, table)])


def scaled(row: PageRow) -> PageRow:
    return PageRow(row.page, row.kind, row.text, row.dense * (0.5 if row.page == 2 else 1), row.multivector)


def scaled_tokens(row: PageRow) -> PageRow:
    return PageRow(row.page, row.kind, row.text, row.dense, row.multivector * np.float16(1.5))


def test_how_far_it_is(library: Library) -> None:
    told: list[tuple[int, int]] = []
    examine(library, model=False, report=lambda done, total: told.append((done, total)))
    assert told == [(page, 11) for page in range(1, 12)]


def test_a_sound_index(library: Library) -> None:
    diagnosis = examine(library)
    assert diagnosis.findings == [] and diagnosis.is_well
    assert (diagnosis.num_files, diagnosis.num_pages, diagnosis.model_id) == (8, 11, "fake")


@pytest.mark.parametrize(
    ("change", "check", "message"),
    [
        (lambda row: None if row.page == 2 else row, "pages", "report.pdf lacks page 2 of 4"),
        (
            lambda row: None if row.page == 4 else row,
            "pages",
            "the index and the file differ in the number of pages: report.pdf",
        ),
        (scaled, "vectors", "not of unit length: report.pdf"),
        (scaled_tokens, "vectors", "not of unit length: report.pdf"),
    ],
)
def test_damaged_pages_are_found_and_embedded_again(
    library: Library, change: Callable[[PageRow], PageRow | None], check: str, message: str
) -> None:
    rows(library, change)
    diagnosis = examine(library)
    assert ("problem", check) in told(diagnosis)
    assert any(message in finding.message for finding in diagnosis.findings)
    repair(library, diagnosis)
    after = examine(library)
    assert told(after) == [("note", "files")] and "1 not in the index (report.pdf)" in after.findings[0].message
    assert library.update().indexed == 1
    assert examine(library).findings == []


def test_rows_of_several_states(library: Library) -> None:
    with Store.open(library.index_path, write=True) as store:
        store._table.update(where="file = 'report.pdf' AND page = 3", values={"hash": "of another state"})
        store._table.update(where="file = '1.txt'", values={"model_id": "another"})
    messages = [finding.message for finding in examine(library).findings]
    assert any("report.pdf has pages of several states" in message for message in messages)
    assert any("1.txt has pages of another model: another" in message for message in messages)


def test_leftovers(library: Library) -> None:
    index = library.index_path
    store = Store.open(index)
    store._database.create_table("pages_1", schema=store._table.schema)
    (index / "index.json.partial").write_text("{")
    diagnosis = examine(library)
    assert told(diagnosis) == [("problem", "orphans")]
    assert "index.json.partial, pages_1.lance" in diagnosis.findings[0].message
    assert repair(library, diagnosis)[:2] == ["removed pages_1", "removed index.json.partial"]
    assert examine(library).findings == []


def test_a_rebuild_that_was_not_finished_is_not_thrown_away(library: Library) -> None:
    Store.stage(library.index_path, "other", 32).close()
    diagnosis = examine(library)
    assert told(diagnosis) == [("note", "orphans")] and "--rebuild --model other" in diagnosis.findings[0].message
    repair(library, diagnosis)
    assert told(examine(library)) == [("note", "orphans")]


@pytest.mark.parametrize("pool", [1, 3])
def test_a_damaged_manifest_is_written_anew(library: Library, pool: int) -> None:
    library.update(rebuild=True, pool=pool)
    before = json.loads((library.index_path / "index.json").read_text())
    (library.index_path / "index.json").write_text("{")
    diagnosis = examine(library)
    assert told(diagnosis) == [("problem", "index")]
    repair(library, diagnosis)
    assert examine(library).findings == []
    after = json.loads((library.index_path / "index.json").read_text())
    assert {**after, "created": ""} == {**before, "created": ""}


def test_data_that_cannot_be_read(library: Library) -> None:
    for file in library.index_path.glob("*.lance/data/*"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    diagnosis = examine(library)
    assert ("problem", "index") in told(diagnosis)
    assert "--rebuild" in diagnosis.findings[0].message
    library.update(rebuild=True)
    assert examine(library).findings == []


def test_what_has_changed_since_is_a_note(library: Library) -> None:
    (library.folder / "0.txt").write_text("changed")
    (library.folder / "1.txt").unlink()
    (library.folder / "new.txt").write_text("new")
    diagnosis = examine(library)
    assert told(diagnosis) == [("note", "files")] and diagnosis.is_well
    message = diagnosis.findings[0].message
    assert "1 changed (0.txt); 1 gone or ignored (1.txt); 1 not in the index (new.txt)" in message


def test_who_is_writing(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/polylens", "watch", "papers"])
    with Store.open(library.index_path, write=True):
        [finding] = examine(library).findings
    assert (finding.level, finding.message) == ("note", "one process is writing to it, or several are")
    with contextlib.closing(library.storage.lock()):
        [finding] = examine(library).findings
    assert (finding.level, finding.check) == ("note", "lock")
    assert f"process {os.getpid()} is writing" in finding.message and "`polylens watch papers`" in finding.message


def test_little_space(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polylens.library.doctor.LITTLE_SPACE", 10**18)
    assert told(examine(library)) == [("problem", "disk")]


@pytest.mark.parametrize("embedder", [Collapsed(), LateCollapsed()])
def test_a_model_that_answers_the_same_for_everything(library: Library, embedder: FakeEmbedder) -> None:
    collapsed = Library(library.folder, embedder)
    found = told(examine(collapsed))  # the index is of a sound one
    assert found == [("problem", "model")] * 2  # texts, pictures
    collapsed.update(rebuild=True)
    messages = [finding.message for finding in examine(collapsed).findings]
    assert len(messages) == 3 and "the model has collapsed" in messages[0]
    assert messages[1].startswith("fake does not tell texts apart")


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(LibraryNotFoundError, match="polylens index"):
        examine(Library(tmp_path))


def test_the_command(tmp_path: Path) -> None:
    model = tiny.write(tmp_path / "tiny")
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "a.txt").write_text("a text")
    assert polylens("index", folder, "--model", model).returncode == 0
    (folder / ".polylens" / "index.json.partial").write_text("{")
    done = polylens("doctor", folder, "--model", model)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "problem   orphans: left over from a process that was killed: index.json.partial"
    assert lines[-1].startswith(f"{folder}: 1 pages of 1 files, tiny@") and "--repair may help" in lines[-1]
    done = polylens("doctor", folder, "--model", model, "--repair", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["well"], report["findings"]) == (0, True, []), report
    assert report["repaired"][0] == "removed index.json.partial"
    assert "no index in" in polylens("doctor", tmp_path).stderr
