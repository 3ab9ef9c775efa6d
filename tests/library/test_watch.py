"""What happens in a folder follows within seconds; what is half there waits."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support import tiny
from tests.support.fakes import FakeEmbedder
from tests.support.papers import make_pdf
from tests.support.waiting import HANG, until

from polylens.index.table.store import Store
from polylens.library import watch
from polylens.library.library import Library
from polylens.library.progress import Change, Report, UpdateProgress
from polylens.library.watch import Follower, Settling

AT_REST = {"ns": (1, 1)}  # times of a file that has not been written for long


class Notes:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.problems: list[str] = []
        self.reports: list[Report] = []
        self.looks: Counter[str] = Counter()

    def progress(self, library: Library, progress: UpdateProgress) -> None:
        self.lines += [f"{library.folder.name}: {change}" for change in progress.changes]

    def updated(self, library: Library, report: Report) -> None:
        self.reports.append(report)
        self.looks[library.folder.name] += 1

    def problem(self, _library: Library, error: Exception) -> None:
        self.problems.append(str(error))


class Watched:
    """Two folders that are followed in a thread."""

    def __init__(self, one: Path, two: Path) -> None:
        self.one, self.two, self.notes, self.embedder = one, two, Notes(), FakeEmbedder()
        self.follower = Follower([Library(one, self.embedder), Library(two, self.embedder)], self.notes)
        self.thread = threading.Thread(target=self.follower.run)
        self.thread.start()

    def comes(self, what: Callable[[], bool]) -> None:
        """Waits until something holds."""
        until(what, lambda: (self.notes.lines, self.notes.problems))

    def says(self, line: str) -> None:
        self.comes(lambda: line in self.notes.lines)


@contextmanager
def touched(file: Path) -> Iterator[None]:
    """A file whose times are set again and again, for who may not listen yet when it is done once."""
    heard = threading.Event()

    def touch() -> None:
        os.utime(file, **AT_REST)
        while not heard.wait(1.0):
            os.utime(file, **AT_REST)

    thread = threading.Thread(target=touch)
    thread.start()
    try:
        yield
    finally:
        heard.set()
        thread.join()


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(watch, "SETTLE", 0.6)
    monkeypatch.setattr(watch, "RESCAN", HANG)  # what follows, follows an event
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "there.txt").write_text("was there before")
        os.utime(tmp_path / name / "sub" / "there.txt", **AT_REST)
    watched = Watched(tmp_path / "one", tmp_path / "two")
    try:
        for folder in (watched.one, watched.two):
            watched.comes(lambda name=folder.name: watched.notes.looks[name] > 0)
            with touched(folder / "sub" / "there.txt"):  # until the system is heard to tell of changes
                watched.comes(lambda name=folder.name: watched.notes.looks[name] > 1)
        yield watched
    finally:
        watched.follower.stop()
        watched.thread.join()


class TestFollowing:
    def test_new_changed_moved_and_deleted(self, watched: Watched) -> None:
        (watched.one / "new.txt").write_text("something new")
        watched.says("one: added new.txt, 1 page")
        (watched.two / "new.txt").write_text("something else")
        watched.says("two: added new.txt, 1 page")
        (watched.one / "new.txt").write_text("something newer")
        watched.says("one: changed new.txt, 1 page")
        before = watched.embedder.num_inputs
        (watched.one / "sub").rename(watched.one / "elsewhere")
        watched.says("one: moved sub/there.txt -> elsewhere/there.txt")
        assert watched.embedder.num_inputs == before
        (watched.one / "new.txt").unlink()
        watched.says("one: removed new.txt")
        assert list(Store.open(watched.one / ".polylens").files()) == ["elsewhere/there.txt"]
        assert watched.notes.problems == []

    def test_a_folder_that_comes_as_a_whole(self, watched: Watched, tmp_path: Path) -> None:
        for i in range(20):
            make_pdf(tmp_path / "elsewhere" / "deep" / f"{i}.pdf", f"page {i}")
        shutil.copytree(tmp_path / "elsewhere", watched.one / "copied")
        files = Store.open(watched.one / ".polylens")
        watched.comes(lambda: len(files.files()) == 21)

    def test_a_file_that_is_still_being_copied(
        self, watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watch, "SETTLE", HANG)  # however slowly this goes, the file is at work
        make_pdf(tmp_path / "whole.pdf", *(f"page {i}" for i in range(30)))
        data = (tmp_path / "whole.pdf").read_bytes()
        with (watched.one / "growing.pdf").open("wb") as file:
            for start in range(0, len(data), len(data) // 4 + 1):
                file.write(data[start : start + len(data) // 4 + 1])
                file.flush()
                looks = watched.notes.looks["one"]
                watched.comes(lambda looks=looks: watched.notes.looks["one"] > looks)
        monkeypatch.setattr(watch, "SETTLE", 0.6)
        os.utime(watched.one / "growing.pdf")
        watched.says("one: added growing.pdf, 30 pages")
        assert [report.failed for report in watched.notes.reports if report.failed] == []
        assert any(report.waiting == ["growing.pdf"] for report in watched.notes.reports)

    def test_a_copy_that_stalls_is_taken_when_it_goes_on(self, watched: Watched, tmp_path: Path) -> None:
        make_pdf(tmp_path / "whole.pdf", "a page")
        data = (tmp_path / "whole.pdf").read_bytes()
        (watched.one / "stalled.pdf").write_bytes(data[:200])
        watched.comes(lambda: any(report.failed for report in watched.notes.reports))
        with (watched.one / "stalled.pdf").open("ab") as file:
            file.write(data[200:])
        watched.says("one: added stalled.pdf, 1 page")
        watched.comes(lambda: watched.notes.reports[-1].failed == [])

    def test_patterns_take_files_out_and_in(self, watched: Watched) -> None:
        (watched.one / ".polylensignore").write_text("sub/\n")
        watched.says("one: removed sub/there.txt")
        (watched.one / ".polylensignore").write_text("!\n")
        watched.comes(
            lambda: any("line 1: '!' is not a valid .gitignore pattern" in line for line in watched.notes.problems)
        )
        (watched.one / ".polylensignore").unlink()
        watched.says("one: added sub/there.txt, 1 page")

    def test_another_writer_is_waited_for(self, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watch, "BUSY", 0.1)
        update, tries = Library.update, Counter[Path]()

        def counted(library: Library, *arguments: Any, **options: Any) -> Report:
            tries[library.folder] += 1
            return update(library, *arguments, **options)

        monkeypatch.setattr(Library, "update", counted)
        with Store.stage(watched.one / ".polylens", "other", 32):
            (watched.one / "new.txt").write_text("new")
            watched.comes(lambda: bool(watched.notes.problems))
            refused = tries[watched.one]
            watched.comes(lambda: tries[watched.one] >= refused + 3)
            [problem] = watched.notes.problems  # said once, however often it is tried
            assert f"process {os.getpid()} is writing" in problem
        watched.says("one: added new.txt, 1 page")

    def test_an_index_that_has_gone_is_not_made_anew(self, watched: Watched) -> None:
        """As when a disk is taken away: its empty mount point is no folder whose files were all deleted."""
        (watched.one / ".polylens").rename(watched.one.parent / "taken away")
        (watched.one / "new.txt").write_text("new")
        watched.comes(lambda: any("has gone" in line for line in watched.notes.problems))
        assert not (watched.one / ".polylens").exists()
        (watched.one.parent / "taken away").rename(watched.one / ".polylens")
        (watched.one / "newer.txt").write_text("newer")
        watched.says("one: added newer.txt, 1 page")

    def test_without_events_the_folder_is_looked_at_in_any_case(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError("OS file watch limit reached")

        monkeypatch.setattr(watch.watchfiles, "watch", refuse)
        monkeypatch.setattr(watch, "RESCAN", 0.5)
        monkeypatch.setattr(watch, "SETTLE", 0.1)
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        blind = Watched(tmp_path / "one", tmp_path / "two")
        try:
            blind.comes(lambda: len(blind.notes.reports) >= 2)
            (tmp_path / "two" / "new.txt").write_text("new")
            blind.says("two: added new.txt, 1 page")
            assert any("watch limit reached" in line for line in blind.notes.problems)
        finally:
            blind.follower.stop()
            blind.thread.join()


class TestSettling:
    def test_what_changes_all_the_time_is_read_in_the_end(self, tmp_path: Path) -> None:
        now = 1_000_000.0
        settling = Settling(lambda: now)
        (tmp_path / "log").touch()
        decided = []
        for _ in range(200):
            now += 1.0
            os.utime(tmp_path / "log", (now, now))
            decided.append(settling.is_ready("log", (tmp_path / "log").stat()))
        assert decided.count(True) == 3  # once a minute
        now += watch.SETTLE
        assert settling.is_ready("log", (tmp_path / "log").stat())

    @pytest.mark.parametrize(("age", "ready"), [(0.1, False), (2.1, True), (-100.0, True)])
    def test_age(self, tmp_path: Path, age: float, ready: bool) -> None:
        now = 1_000_000.0
        (tmp_path / "file").touch()
        os.utime(tmp_path / "file", (now - age, now - age))
        assert Settling(lambda: now).is_ready("file", (tmp_path / "file").stat()) is ready


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (Change("added", "a.pdf", 2), "added a.pdf, 2 pages"),
        (Change("copied", "b.pdf", 1, before="a.pdf"), "copied a.pdf -> b.pdf"),
        (Change("removed", "a.pdf", 0), "removed a.pdf"),
    ],
)
def test_a_change_as_a_line(change: Change, line: str) -> None:
    assert str(change) == line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command(tmp_path: Path, number: signal.Signals) -> None:
    model = tiny.write(tmp_path / "tiny")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("a text")
    (tmp_path / "one" / "broken.pdf").write_bytes(b"%PDF-1.4 no")
    for file in tmp_path.glob("*/*.*"):  # long at rest, however fast the command begins: the first look has them all
        os.utime(file, **AT_REST)
    command = [sys.executable, "-m", "polylens.cli", "watch", "one", "two", "one", "--model", str(model)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as process:  # type: ignore[call-overload]
        heard = [process.stderr.readline() for _ in range(5)]
        (tmp_path / "two" / "b.txt").write_text("another text")
        with touched(tmp_path / "two" / "b.txt"):
            assert process.stdout.readline() == "two: added b.txt, 1 page\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=HANG)
    assert process.returncode == 0, said
    assert sum(line.startswith("watching ") for line in heard) == 2
    assert any(line.startswith("one: not searchable: broken.pdf: ") for line in heard), heard
    assert said.splitlines()[-1] == "stopped; what was finished is in the index"
    assert "Traceback" not in said
