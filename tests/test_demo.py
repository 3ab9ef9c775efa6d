"""`make demo`, as somebody who has just cloned the project meets it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.root import ROOT
from tests.support.waiting import HANG, PROGRAM_HANG

# Samples of many pages, or that no question is about: 28 of 59 pages.
LONG = (
    *("annual-report-2024.pdf", "anemometer-handbook.pdf", "tide-forecast-slides.pdf", "budget-2025.pdf"),
    *("invoice-2024-0533.pdf", "logbook-1962.pdf", "minutes-2024-09.pdf", "red-bicycle.jpg", "sailing-boat.png"),
)
INSTALL_HANG = 3600  # seconds; most of them are for torch to arrive


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What is committed, and nothing that only lies about here."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    there = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(there)], check=True, timeout=HANG)
    if not (there / "src/polylens/assets/nano/config.json").exists():
        pytest.skip("the weights of nano are not committed yet")
    return there


def make_demo(clone: Path, timeout: int, **variables: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MAKE"))}
    done = subprocess.run(
        ["make", "demo", f"PYTHON={sys.executable}"],
        cwd=clone,
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert (clone / "samples/.polylens/index.json").exists()
    return done.stdout


def check(printed: str) -> None:
    answers = re.split(r"^.+  \[(\w+)\]$", printed, flags=re.MULTILINE)
    languages, hits = answers[1::2], answers[2::2]
    assert len(set(languages)) >= 8
    for found in hits:
        where = r"page \d+(?:, [a-z ]+)?"
        assert re.search(rf"^  1\. \S+\.\w+, {where}  \(match \d\.\d\d\)$", found, flags=re.MULTILINE)
    outcome = re.search(r"^Of (\d+) such questions, (\d+) find the page they are about", printed, flags=re.MULTILINE)
    assert outcome
    asked, right = map(int, outcome.groups())
    assert asked >= 20 and right > asked / 2
    in_vain = re.search(
        r"^Of (\d+) questions that no page answers, (\d+) find nothing that fits well", printed, re.MULTILINE
    )
    assert in_vain and int(in_vain[1]) >= 10 and int(in_vain[2]) > int(in_vain[1]) / 2
    closing = printed[outcome.end() :]
    assert "polylens index ~/Documents" in closing and "polylens search --library ~/Documents" in closing
    assert "polylens open samples" in closing


@pytest.mark.parametrize("left_out", [LONG, pytest.param((), marks=pytest.mark.slow)], ids=["short", "whole"])
def test_a_fresh_clone_finds_things_offline(clone: Path, left_out: tuple[str, ...]) -> None:
    """With the packages that run this test; what is imported of polylens is the clone's own."""
    for name in left_out:
        (clone / "samples" / name).unlink()
    (clone / ".venv").mkdir()
    (clone / ".venv/bin").symlink_to(Path(sys.executable).parent)
    (clone / ".venv/.run").touch()
    nowhere = "http://127.0.0.1:9"
    printed = make_demo(
        clone,
        PROGRAM_HANG,
        PYTHONPATH=str(clone / "src"),
        HF_HUB_OFFLINE="1",
        http_proxy=nowhere,
        https_proxy=nowhere,
        no_proxy="",
    )
    check(printed)


@pytest.mark.slow
def test_a_fresh_clone_installs_what_it_needs(clone: Path) -> None:
    """With an environment of its own, which wants a package index."""
    check(make_demo(clone, INSTALL_HANG))
    assert (clone / ".venv/pyvenv.cfg").exists()
