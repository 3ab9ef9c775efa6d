"""On a machine without a browser and without fonts the same tests are collected; those that need either are skipped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import hiding
from tests.support.root import ROOT

BROWSER_TEST = "tests/server/search_page/test_page_formats.py::test_on_the_page"
CONCERNED = r"\b(chromium|browser|browsing|fonts|FONT\w*|synthetic|small_recipes|drawing|scans|hiding)\b"
"""What a file says that may miss what is hidden."""
FONT_TESTS = ("tests/lab/synthetic/test_queries.py", "tests/lab/synthetic/test_pictograms.py::TestNames")


def bare_pytest(*arguments: str, cwd: Path = ROOT) -> str:
    """What pytest prints on a machine that lacks everything that can be hidden; it must succeed."""
    hidden = {hiding.VARIABLE: ",".join(hiding.CHOICES), "PYTEST_ADDOPTS": "", "PYTEST_XDIST_WORKER": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **hidden}, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("concerned", [CONCERNED, pytest.param("", marks=pytest.mark.slow)], ids=["concerned", "all"])
def test_the_same_tests_are_collected(request: pytest.FixtureRequest, concerned: str) -> None:
    """Compared with what this very session collected: in a run of the whole suite, all files that `concerned` finds."""
    config, collected = request.config, request.config.stash[hiding.COLLECTED]
    assert request.node.nodeid in collected
    files = {node.partition("::")[0] for node in collected}
    files = {file for file in files if re.search(concerned, (config.rootpath / file).read_text(encoding="utf-8"))}
    here = [node for node in collected if node.partition("::")[0] in files]
    asked = here if any("::" in argument for argument in config.args) else sorted(files)
    without_shape_checks = "addopts=--doctest-modules --import-mode=importlib --strict-markers"  # they take time
    printed = bare_pytest("--collect-only", "-o", without_shape_checks, *asked)
    there = [line for line in printed.splitlines() if "::" in line]
    assert sorted(there) == sorted(here)


def test_what_needs_them_is_skipped_with_a_reason() -> None:
    printed = bare_pytest("-rs", BROWSER_TEST, *FONT_TESTS)
    assert "apt-get install chromium" in printed
    assert "apt-get install fonts-noto-core" in printed and "apt-get install fonts-noto-color-emoji" in printed
    skipped = re.search(r"(\d+) skipped", printed)
    assert skipped and int(skipped[1]) > 20
