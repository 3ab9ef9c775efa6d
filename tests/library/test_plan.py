"""What an update has to do, decided without a file, an index or a model."""

from __future__ import annotations

import os
from typing import Any

import pytest

from polylens.errors import DocumentError
from polylens.index.table.snapshot import FileRecord
from polylens.library.plan import Duplicate, NewContent, Plan, Unreadable
from polylens.library.plan import plan as plan_of
from polylens.types import Kind


def status(size: int = 1, mtime_ns: int = 0, ctime_ns: int = 0) -> os.stat_result:
    fields = {"st_mtime_ns": mtime_ns, "st_ctime_ns": ctime_ns}
    return os.stat_result((0o644, 7, 1, 1, 0, 0, size, 0, 0, 0), fields)


def record(content: str, size: int = 1, mtime_ns: int = 0) -> FileRecord:
    return FileRecord(content, size, mtime_ns, num_pages=1)


def unread(file: str) -> str:
    pytest.fail(f"{file} was read")


def one_page(_file: str) -> tuple[int, Kind]:
    return 1, "text"


def plan(known: dict[str, FileRecord], files: dict[str, os.stat_result], **options: Any) -> Plan:
    return plan_of(known, files, **{"inspect": one_page, **options})


class TestPlan:
    def test_the_same_size_and_time_is_unchanged_and_not_read(self) -> None:
        made = plan({"a.txt": record("A")}, {"a.txt": status()}, digest=unread, report=unread)
        assert made.unchanged == ["a.txt"]
        assert not (made.new or made.duplicates or made.gone or made.vanished)

    def test_new_and_changed_files_are_to_be_embedded(self) -> None:
        files = {"a.txt": status(mtime_ns=5), "b.txt": status()}
        made = plan({"a.txt": record("A")}, files, digest=lambda file: f"content of {file}")
        assert made.new == [
            NewContent(file, f"content of {file}", files[file], 1, "text") for file in ("a.txt", "b.txt")
        ]

    def test_a_touched_file_is_a_duplicate_of_itself(self) -> None:
        touched = status(mtime_ns=5)
        made = plan({"a.txt": record("A")}, {"a.txt": touched}, digest=lambda _: "A")
        assert made.duplicates == [Duplicate("a.txt", "A", touched, "a.txt", is_moved=False)]
        assert made.duplicates[0].is_touched

    def test_moved_and_copied_files(self) -> None:
        known = {"old.txt": record("A"), "stays.txt": record("B"), "gone.txt": record("C")}
        files = {"copy.txt": status(), "new.txt": status(), "stays.txt": status()}
        made = plan(known, files, digest={"copy.txt": "B", "new.txt": "A"}.__getitem__)
        assert [(each.file, each.of, each.is_moved) for each in made.duplicates] == [
            ("copy.txt", "stays.txt", False),
            ("new.txt", "old.txt", True),
        ]
        assert (made.vanished, made.gone) == (["gone.txt"], ["gone.txt", "old.txt"])

    def test_the_same_content_under_another_suffix_is_another_document(self) -> None:
        made = plan({"a.txt": record("A")}, {"a.txt": status(), "a.html": status()}, digest=lambda _: "A")
        assert [each.file for each in made.new] == ["a.html"] and not made.duplicates
        made = plan({"a.txt": record("A")}, {"a.txt": status(), "b.TXT": status()}, digest=lambda _: "A")
        assert [each.file for each in made.duplicates] == ["b.TXT"]

    def test_two_files_that_change_places(self) -> None:
        known = {"a.txt": record("A"), "b.txt": record("B")}
        files = {"a.txt": status(mtime_ns=1), "b.txt": status(mtime_ns=1)}
        made = plan(known, files, digest={"a.txt": "B", "b.txt": "A"}.__getitem__)
        assert [(each.file, each.of, each.is_moved) for each in made.duplicates] == [
            ("a.txt", "b.txt", False),
            ("b.txt", "a.txt", False),
        ]
        assert not made.gone

    def test_files_below_a_folder_that_cannot_be_listed_are_not_gone(self) -> None:
        known = {"shut/a.txt": record("A"), "shutter.txt": record("B")}
        made = plan(known, {}, digest=unread, closed_folders=["shut"])
        assert made.gone == made.vanished == ["shutter.txt"]

    def test_what_is_not_ready_waits(self) -> None:
        files = {"a.txt": status(), "b.txt": status(size=2)}
        made = plan({}, files, digest=lambda file: file, is_ready=lambda _, status: status.st_size == 2)
        assert made.waiting == ["a.txt"] and [each.file for each in made.new] == ["b.txt"]

    def test_what_cannot_be_hashed_keeps_its_pages(self) -> None:
        def refuse(file: str) -> str:
            raise PermissionError(13, "Permission denied", file)

        made = plan({"a.txt": record("A")}, {"a.txt": status(mtime_ns=1)}, digest=refuse)
        assert made.unopened == [("a.txt", "cannot be read (Permission denied)")]
        assert not (made.gone or made.unreadable)

    @pytest.mark.parametrize("reason", ["ends early", ""])
    def test_unreadable_files_are_tried_again_once_they_have_changed(self, reason: str) -> None:
        unreadable = {"a.pdf": Unreadable(status(ctime_ns=3), reason)}
        same = plan({}, {"a.pdf": status(ctime_ns=3)}, digest=unread, unreadable=unreadable)
        assert same.unreadable == [("a.pdf", unreadable["a.pdf"])]
        changed = plan({}, {"a.pdf": status(ctime_ns=4)}, digest=lambda _: "A", unreadable=unreadable)
        assert not changed.unreadable and [each.file for each in changed.new] == ["a.pdf"]

    def test_new_contents_without_pages_are_unreadable(self) -> None:
        def inspect(file: str) -> tuple[int, Kind]:
            if file == "broken.pdf":
                raise DocumentError("broken.pdf: ends early")
            return (0, "text") if file == "empty.txt" else (3, "pdf")

        files = {"broken.pdf": status(), "empty.txt": status(size=0), "whole.pdf": status()}
        made = plan({"broken.pdf": record("A", mtime_ns=9)}, files, digest=lambda file: file, inspect=inspect)
        assert [(file, found.reason) for file, found in made.unreadable] == [
            ("broken.pdf", "broken.pdf: ends early"),
            ("empty.txt", ""),
        ]
        assert all(found.is_still(files[file]) for file, found in made.unreadable)
        assert [(each.file, each.num_pages, each.kind) for each in made.new] == [("whole.pdf", 3, "pdf")]

    def test_every_file_that_is_looked_at_is_reported(self) -> None:
        seen: list[str] = []
        known = {"a.txt": record("A"), "b.txt": record("B")}
        files = {"a.txt": status(), "b.txt": status(size=9), "c.txt": status()}
        plan(known, files, digest=lambda file: file, report=seen.append)
        assert seen == ["b.txt", "c.txt"]
