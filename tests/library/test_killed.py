"""kill -9 at a hundred random moments of indexing, updating, rebuilding and compacting.

After each: the index opens, what was said to be saved is in it with all of its pages, searching finds it. In the end an
update that nobody kills leaves what a fresh index would have.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from tests.support.fakes import FakeEmbedder
from tests.support.killing import Nursery, contents

from polylens.documents.splitting import split
from polylens.index.table.manifest import STAGED
from polylens.index.table.store import Store
from polylens.library.library import Library

FILES = 24

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork and die")


@dataclass
class World:
    """A folder, and what must be in its index whatever dies."""

    folder: Path
    rng: random.Random
    saved: set[str] = field(default_factory=set)  # files said to be safe in the state that they have now
    texts: dict[str, str] = field(default_factory=dict)  # hash -> text, of every state that ever was
    states: int = 0

    def write(self, file: str) -> None:
        self.states += 1
        words = [f"state{self.states} word{self.rng.randrange(50)}" for _ in range(self.rng.randrange(1, 250))]
        text = f"unique{self.states} " + " ".join(words)
        (self.folder / file).parent.mkdir(exist_ok=True)
        (self.folder / file).write_text(text)
        self.texts[digest(self.folder / file)] = text
        self.saved.discard(file)

    def disturb(self) -> None:
        """Touch some files, change one, move one, delete one, add one: some of it."""
        there = sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*.txt"))
        for file in self.rng.sample(there, 6):
            os.utime(self.folder / file)  # written anew as it was: nothing of it may be missing at any moment
        if self.rng.random() < 0.7:
            self.write(self.rng.choice(there))
        if self.rng.random() < 0.3:
            self.states += 1
            old, new = self.rng.choice(there), f"sub/{self.states}-moved.txt"
            (self.folder / "sub").mkdir(exist_ok=True)
            (self.folder / old).rename(self.folder / new)
            self.saved.discard(old)
        elif self.rng.random() < 0.3 and len(there) > FILES // 2:
            gone = self.rng.choice(there)
            (self.folder / gone).unlink()
            self.saved.discard(gone)
        elif len(there) < FILES:
            self.write(f"{self.states}-new.txt")

    def check(self) -> None:
        """The index opens, and whatever was promised holds."""
        if not Store.exists(self.folder / ".polylens"):
            assert not self.saved
            return
        snapshot = Store.open(self.folder / ".polylens").snapshot()
        files = snapshot.files()
        assert self.saved <= files.keys()
        for file in self.saved:
            assert files[file].hash == digest(self.folder / file)
        rows = pa.Table.from_batches(snapshot.columns(["file", "page", "text"])) if files else pa.table({"file": []})
        pages: dict[str, list[tuple[int, str]]] = {file: [] for file in files}
        for row in rows.to_pylist():
            pages[row["file"]].append((row["page"], row["text"]))
        for file, record in files.items():
            expected = list(enumerate(split(self.texts[record.hash]), start=1))
            assert sorted(pages[file]) == expected  # whole, in a state that the file once had
        if files:
            file = self.rng.choice(sorted(self.saved or files))
            word = self.texts[files[file].hash].split()[0]
            [best] = Library.open(self.folder, FakeEmbedder()).search(word, top=1)
            assert files[best.file].hash == files[file].hash


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("deaths", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_nothing_that_was_reported_done_is_ever_lost(tmp_path: Path, deaths: int) -> None:
    world = World(tmp_path / "folder", random.Random(deaths))
    world.folder.mkdir()
    for i in range(FILES):
        world.write(f"{i:02}.txt")
    nursery, longest, ending = Nursery(world.folder), 0.3, 0.1
    died: dict[str, int] = {"indexing": 0, "compacting": 0, "rebuilding": 0}
    try:
        while sum(died.values()) < deaths or min(died.values()) < max(1, deaths // 20):
            rebuild = world.rng.random() < 0.2 and Store.exists(world.folder / ".polylens")
            compacting = not rebuild and world.rng.random() < 0.2  # the last step of an update, and a short one
            seconds = world.rng.uniform(0.0, ending if compacting else 1.7 * longest if rebuild else longest)
            lines = nursery.run("rebuild" if rebuild else "update", seconds, "updated" if compacting else None)
            pace = 0.9 if "complete" in lines else 1.05  # a third finish, however fast the machine is just now
            longest, ending = (longest, ending * pace) if compacting else (longest * pace, ending)
            if "complete" not in lines:
                phase = "compacting" if "updated" in lines else "rebuilding" if rebuild else "indexing"
                died[phase] += 1
            if not rebuild or "updated" in lines:  # before that, what a rebuild saves is safe, but elsewhere
                world.saved |= {line[6:] for line in lines if line.startswith("saved ")}
            world.check()
            world.disturb()
        assert "complete" in nursery.run("update", None)
        if (world.folder / ".polylens" / STAGED).exists():  # the rebuild that was interrupted goes on
            assert "complete" in nursery.run("rebuild", None)
    finally:
        nursery.close()
    assert contents(world.folder) == contents(fresh(world.folder, tmp_path / "fresh"))
    assert not list((world.folder / ".polylens").glob("*.partial"))
    assert len(list((world.folder / ".polylens").glob("*.lance"))) == 1


def fresh(folder: Path, copy: Path) -> Path:
    """The same files, indexed in one go."""
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".polylens"))
    Library(copy, FakeEmbedder()).update()
    return copy
