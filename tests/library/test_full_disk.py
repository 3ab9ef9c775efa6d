"""A disk that is full, or that nothing may be written to: one line says so, and nothing is damaged."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support import tiny
from tests.support.commands import polylens
from tests.support.root import ROOT
from tests.support.stores import DIM, pages

from polylens.errors import InputError, StorageError
from polylens.index.table.store import Store

NO_SPACE = "No space left on device"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs to be allowed to mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


@contextmanager
def read_only(place: Path) -> Iterator[Path]:
    """The same disk once more, read-only; the disk itself cannot be while LanceDB holds a file of it open."""
    same = place.with_name("read-only")
    same.mkdir()
    subprocess.run(["mount", "--bind", str(place), str(same)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(same)], check=True)
        yield same
    finally:
        subprocess.run(["umount", "--lazy", str(same)], check=True)


def test_a_store_on_a_full_disk_keeps_what_it_has(small_disk: Path) -> None:
    path, count = small_disk / ".polylens", 0
    with Store.create(path, "model", DIM) as store:
        with pytest.raises(StorageError, match=rf"cannot be written \({NO_SPACE}\).*make room"):
            while True:
                store.commit([pages(f"file {count}", 40, seed=count)])
                count += 1
        with pytest.raises(StorageError, match=NO_SPACE):
            store.compact(force=True)
        assert len(Store.open(path).files()) == count > 3
    remount(small_disk, "size=20m")
    with Store.open(path, model_id="model", write=True) as store:
        store.commit([pages("one more", 40)])
        store.compact(force=True)
        assert len(store.files()) == count + 1
    with read_only(small_disk) as same:
        assert Store.open(same / ".polylens").count() == 40 * (count + 1)
        with pytest.raises(InputError, match=r"cannot be written to \(Read-only file system\)"):
            Store.open(same / ".polylens", write=True)


def test_a_new_index_on_a_full_disk(small_disk: Path) -> None:
    with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match=NO_SPACE):
        while True:
            filler.write(bytes(4096))
    with pytest.raises(StorageError, match=NO_SPACE):
        Store.create(small_disk / ".polylens", "model", DIM)
    assert not Store.exists(small_disk / ".polylens")
    (small_disk / "filler").unlink()
    Store.create(small_disk / ".polylens", "model", DIM).close()


def test_the_commands(small_disk: Path, tmp_path: Path) -> None:
    model = tiny.write(tmp_path / "tiny")
    for i in range(300):
        (small_disk / f"{i}.txt").write_text(" ".join(f"word{i + j}" for j in range(150)))
    done = polylens("index", small_disk, "--model", model)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (16, "", 1), done.stderr
    assert done.stderr.startswith("polylens: the index in ") and f"({NO_SPACE})" in done.stderr
    remount(small_disk, "size=60m")
    done = polylens("index", small_disk, "--model", model)
    assert (done.returncode, done.stderr) == (0, "")
    remount(small_disk, "ro")
    done = polylens("search", "word7", "--library", small_disk, "--model", model, "--top", "1")
    assert (done.returncode, done.stderr) == (0, "299 more results: --offset 1 continues the list\n")
    assert done.stdout.startswith("1. ")
    done = polylens("index", small_disk, "--model", model)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "cannot be written to (Read-only file system)" in done.stderr
    done = polylens("doctor", small_disk, "--model", model)
    assert "note      disk: " in done.stdout and "can be searched, but not brought up to date" in done.stdout


def test_a_limit_of_the_user(tmp_path: Path) -> None:
    """As above, for those who may not mount: a process that may write no large files."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from tests.support.stores import DIM, pages; from polylens.index.table.store import Store\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = Store.create(Path(sys.argv[1]), 'model', DIM); store.commit([pages('small', 3)])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "store.commit([pages(f'large {i}', 40, seed=i) for i in range(20)])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / ".polylens")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "StorageError" in done.stderr and "File too large" in done.stderr
    assert list(Store.open(tmp_path / ".polylens").files()) == ["small"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000
