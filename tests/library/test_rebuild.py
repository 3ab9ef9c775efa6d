"""An index for another model is made beside the one that answers, and takes its place in one moment."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support import serving, tiny
from tests.support.commands import polylens
from tests.support.fakes import FakeEmbedder
from tests.support.root import ROOT
from tests.support.waiting import until

from polylens.errors import LibraryBusyError, ModelMismatchError
from polylens.index.table import store as store_module
from polylens.index.table.manifest import STAGED, read_manifest
from polylens.library import saving
from polylens.library.library import Library
from polylens.library.progress import UpdateProgress
from polylens.types import Embedding

SEARCH = (
    "import sys\n"
    "from tests.support.fakes import FakeEmbedder; from polylens.library.library import Library\n"
    "for query in sys.stdin:\n"
    "    hits = Library.open(sys.argv[1], FakeEmbedder('old')).search(query.strip())\n"
    "    print(len(hits), hits[0].file, flush=True)"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store_module, "READER_GRACE", 0.05)
    monkeypatch.setattr(saving, "COMMIT_PAGES", 8)
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(30):
        (folder / f"{i:02}.txt").write_text(f"word{i}")
    Library(folder, FakeEmbedder("old")).update()
    return folder


class Dying(FakeEmbedder):
    """Dies after so many inputs."""

    left = 10

    def embed(self, *args: Any, **options: Any) -> list[Embedding]:
        if self.num_inputs >= self.left:
            raise KeyboardInterrupt
        return super().embed(*args, **options)


def test_the_old_index_answers_until_the_new_one_is_complete(folder: Path) -> None:
    old = Library(folder, FakeEmbedder("old"))
    command = [sys.executable, "-c", SEARCH, str(folder)]
    answers = []
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None

        def search(progress: UpdateProgress) -> None:
            if progress.saved or progress.phase == "finishing":
                [best, *_] = old.search("word7")
                other.stdin.write("word7\n")
                other.stdin.flush()
                answers.append((best.file, other.stdout.readline().split()))
                with pytest.raises(LibraryBusyError):
                    Library(folder, FakeEmbedder("old")).update()

        Library(folder, FakeEmbedder("new", dim=16)).update(search, rebuild=True)
        other.stdin.close()
    assert len(answers) >= 4 and answers == [("07.txt", ["10", "07.txt"])] * len(answers)
    assert Library.open(folder, FakeEmbedder("new", dim=16)).search("word7")[0].file == "07.txt"
    with pytest.raises(ModelMismatchError, match=r"'new'.*'old'"):
        old.search("word7")
    assert len(list((folder / ".polylens").glob("*.lance"))) == 1
    assert not (folder / ".polylens" / STAGED).exists()


def test_one_that_dies_leaves_the_old_one_and_goes_on_where_it_was(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Library(folder, Dying("new")).update(rebuild=True)
    old = Library.open(folder, FakeEmbedder("old"))
    assert old.count() == 30 and old.search("word7")[0].file == "07.txt"
    (folder / "more.txt").write_text("more")
    assert Library(folder, FakeEmbedder("old")).update().indexed == 1  # it is kept up to date, and
    embedder = FakeEmbedder("new")
    report = Library(folder, embedder).update(rebuild=True)  # the other is not forgotten
    assert (report.unchanged, report.indexed) == (16, 15)
    assert Library.open(folder, FakeEmbedder("new")).count() == 31


def test_one_for_a_third_model_begins_anew(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Library(folder, Dying("new")).update(rebuild=True)
    assert Library(folder, FakeEmbedder("third")).update(rebuild=True).indexed == 30
    assert read_manifest(folder / ".polylens").model_id == "third"
    assert len(list((folder / ".polylens").glob("*.lance"))) == 1


def test_a_staged_index_whose_table_is_gone_begins_anew(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Library(folder, Dying("new")).update(rebuild=True)
    table = json.loads((folder / ".polylens" / STAGED).read_text())["table"]
    shutil.rmtree(folder / ".polylens" / f"{table}.lance")
    assert Library(folder, FakeEmbedder("new")).update(rebuild=True).indexed == 30


def test_a_library_that_chose_the_model_itself_takes_the_new_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "polylens.runtime.embedder.load",
        lambda name, **_: FakeEmbedder(name, dim={"old": 32, "new": 16}[name]),
    )
    library = Library(folder)
    assert library.search("word7")[0].file == "07.txt"
    Library(folder, FakeEmbedder("new", dim=16)).update(rebuild=True)
    assert library.search("word7")[0].file == "07.txt"
    assert library.embedder.model_id == "new"


SEARCHED = {"query": "text"}


@pytest.fixture
def one_text(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("a text")
    return folder


def rebuild(folder: Path, model: Path | str) -> None:
    while True:  # the server may be at it just now
        done = polylens("index", folder, "--rebuild", "--model", model)
        if done.returncode != 7:
            assert done.returncode == 0, done.stderr
            return


def test_a_server_that_runs_meanwhile_takes_the_new_model(tmp_path: Path, one_text: Path) -> None:
    """One that it has, one that it finds by its name; and it goes on keeping the folder up to date."""
    one, other = tiny.write(tmp_path / "one"), tiny.write(tmp_path / "other", seed=1)
    rebuild(one_text, one)
    options = ("--model", str(one), "--model", str(other), "--library", str(one_text))
    with serving.serving(*options, home=tmp_path) as running:
        for number, (model, name) in enumerate(((other, "other"), ("nano", "nano"), (one, "one"))):
            rebuild(one_text, model)
            found = running.post("/library/search", SEARCHED)
            assert found.status_code == 200 and found.json()["results"][0]["file"] == "a.txt"
            assert running.http.get("/library").json()["model"] == name
            (one_text / f"{number}.txt").write_text("another")
            until(lambda files=number + 2: state(running)["files"] == files, lambda: state(running))
            assert state(running)["problem"] == ""
        assert [each["id"] for each in running.http.get("/v1/models").json()["data"]].count("jina-ai/nano") == 1


def test_a_server_begins_with_the_one_of_its_models_that_the_index_has(tmp_path: Path, one_text: Path) -> None:
    one, other = tiny.write(tmp_path / "one"), tiny.write(tmp_path / "other", seed=1)
    rebuild(one_text, other)
    options = ("--model", str(one), "--model", str(other), "--library", str(one_text))
    with serving.serving(*options, home=tmp_path) as running:
        assert running.http.get("/library").json()["model"] == "other"
        assert running.post("/library/search", SEARCHED).json()["results"][0]["file"] == "a.txt"


def test_a_server_that_does_not_find_the_new_model_says_what_to_do(tmp_path: Path, one_text: Path) -> None:
    one, other = tiny.write(tmp_path / "one"), tiny.write(tmp_path / "other", seed=1)
    folder, search = one_text, SEARCHED
    rebuild(folder, one)
    with serving.serving("--model", str(one), "--library", str(folder), home=tmp_path) as running:
        assert running.post("/library/search", search).json()["results"][0]["file"] == "a.txt"
        rebuild(folder, one)
        assert running.post("/library/search", search).json()["results"][0]["file"] == "a.txt"
        rebuild(folder, other)
        answer = running.post("/library/search", search)
        assert answer.status_code == 409 and "Restart the server with --model" in answer.json()["detail"]
        (folder / "b.txt").write_text("another")
        until(lambda: state(running)["problem"])
        assert "Restart the server with --model" in state(running)["problem"]


def state(running: serving.Running) -> Any:
    return running.http.get("/library").json()
