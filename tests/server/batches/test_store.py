"""The folder of batches: what outlives its days, what a killed server leaves, and who may keep it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from polylens.errors import BusyError, NotFoundError, StorageError
from polylens.server.batches.record import is_id, new_id
from polylens.server.batches.store import DAY, BatchStore

MB = 1024 * 1024


def store(folder: Path, days: int = 30) -> BatchStore:
    return BatchStore(folder, MB, days)


def test_names_sort_by_age() -> None:
    names = [new_id("file-") for _ in range(100)]
    assert names == sorted(names) and all(map(is_id, names))
    assert not any(map(is_id, ("file-", "../file-" + "0" * 32, "file-" + "0" * 31 + "/", names[0] + "\n")))


def test_a_folder_is_one_stores_at_a_time(tmp_path: Path) -> None:
    first, second = store(tmp_path / "kept"), store(tmp_path / "kept")
    second.open_if_there()  # there is none yet
    file = first.add_file("ada", "a.jsonl", b"one")
    for ask in (second.open, lambda: second.files("ada"), lambda: second.file(file.id, "ada")):
        with pytest.raises(BusyError, match="--batches FOLDER"):
            ask()
    first.close()
    assert second.file(file.id, "ada") == file
    assert second.path(file.id).read_bytes() == b"one"
    second.close()


def test_files_and_batches_are_deleted_after_their_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store(tmp_path, days=2)
    read, waiting = (kept.add_file("ada", "a.jsonl", b"{}") for _ in range(2))
    done = kept.add_batch("ada", "/v1/embeddings", read.id, None)
    left = kept.add_batch("ada", "/v1/embeddings", waiting.id, None)
    kept.gather(done.id, "output", [b"{}\n"])
    done = kept.finish(done.id, status="completed")
    kept.close()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * DAY - 60)
    kept.open()
    assert kept.batches("ada") == [left, done] and len(kept.files("ada")) == 3
    kept.close()
    monkeypatch.setattr(time, "time", lambda: now + 2 * DAY + 60)
    kept.open()
    assert kept.batches("ada") == [left]
    assert [each.id for each in kept.files("ada")] == [waiting.id]  # a batch is still to read it
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"lock", left.id, waiting.id}
    with pytest.raises(NotFoundError, match="GET /v1/batches"):
        kept.batch(done.id, "ada")
    kept.close()


def test_what_a_killed_server_left_half_written_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = store(tmp_path)
    whole, broken = (kept.add_file("ada", "a.jsonl", b"{}") for _ in range(2))
    kept.close()
    (tmp_path / f"{new_id('file-')}.jsonl").write_bytes(b"without a record")
    (tmp_path / f"{whole.id}.json.partial").write_bytes(b"{")
    (tmp_path / f"{broken.id}.json").write_bytes(b"{")
    (tmp_path / "notes.txt").write_text("somebody's own")
    kept.open()
    assert [each.id for each in kept.files("ada")] == [whole.id]
    assert broken.id in caplog.text and kept.path(broken.id).exists()  # somebody may want to mend it
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "lock", "notes.txt", f"{whole.id}.json", f"{whole.id}.jsonl", f"{broken.id}.json", f"{broken.id}.jsonl",
    }  # fmt: skip
    kept.close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="--batches"):
        store(tmp_path / "file" / "kept").add_file("ada", "a.jsonl", b"{}")
