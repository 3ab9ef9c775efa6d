"""`.polylensignore` means what `.gitignore` would mean: git itself is asked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from polylens.documents.ignore import IGNORE_FILE, Ignore, read_ignore
from polylens.documents.scan import scan
from polylens.errors import InputError

FILES = ["a.txt", "keep.log.txt", "logs/a.txt", "logs/deep/b.txt", "src/logs/c.txt", "src/x.md", "src/y.txt", "ü.txt"]
PATTERNS = [
    "logs/",
    "/logs",
    "*.txt\n!keep.*",
    "**/deep",
    "src/*\n!src/x.md",
    "logs/\n!logs/a.txt",  # what lies in an ignored folder cannot be taken back
    "# a comment\n\n?.md  ",
    "\\#a\n*.md",
    "[a-k]*.txt",
    "ü.txt",
]


def tree(folder: Path, patterns: str) -> None:
    for file in FILES:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("text")
    (folder / IGNORE_FILE).write_text(patterns + "\n", encoding="utf-8")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the judge")
@pytest.mark.parametrize("patterns", PATTERNS)
def test_as_git_has_it(tmp_path: Path, patterns: str) -> None:
    tree(tmp_path, patterns)
    command = ["git", "-c", "core.quotePath=false", "-c", f"core.excludesFile={tmp_path / IGNORE_FILE}"]
    subprocess.run([*command, "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text(patterns + "\n", encoding="utf-8")
    listed = [*command, "ls-files", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = {file for file in done.stdout.splitlines() if not file.startswith(".")}
    assert set(scan(tmp_path).files) == expected
    ignore = read_ignore(tmp_path)
    assert {file for file in FILES if not ignore.covers(file)} == expected


@pytest.mark.parametrize("line", ["!", "[z-a].txt", "a[", "/", "name\\"])
def test_a_line_that_is_no_pattern_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / IGNORE_FILE).write_text(f"*.log\n\n{line}\n")
    with pytest.raises(InputError, match=r"\.polylensignore, line 3: .* is not a valid \.gitignore pattern"):
        scan(tmp_path)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / IGNORE_FILE).write_bytes(b"*.log\n\xff\xfe\n")
    with pytest.raises(InputError, match=r"is not UTF-8 .* at byte 6"):
        read_ignore(tmp_path)


def test_no_patterns_no_cost() -> None:
    assert not Ignore([]).covers("a/b/c.txt")
