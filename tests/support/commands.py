"""Commands of polylens as a user runs them: arguments in, exit status and output back."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.support.root import ROOT


def polylens(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command; what it prints is text."""
    done = run(*arguments)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def run(
    *arguments: str | Path,
    cwd: Path | None = None,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command in a process of its own, forked from one that has imported what commands need.

    Args:
        arguments: The arguments of `polylens`.
        cwd: The folder in which it runs; by default this process's.
        stdin: What it reads.
        environment: All of its environment variables; by default this process's.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in ("stdin", "stdout", "stderr")}
        for file in files.values():
            file.write_text(stdin if file.name == "stdin" else "", encoding="utf-8")
        job = {
            "arguments": [*map(str, arguments)],
            "cwd": str(cwd or Path.cwd()),
            "environment": {"OMP_NUM_THREADS": "1", **(os.environ if environment is None else environment)},
            **{name: str(file) for name, file in files.items()},
        }
        forking = _forking()
        assert forking.stdin is not None and forking.stdout is not None
        forking.stdin.write(json.dumps(job) + "\n")
        forking.stdin.flush()
        status = int(forking.stdout.readline())
        out, err = (files[name].read_bytes() for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(["polylens", *job["arguments"]], status, out, err)


@cache
def _forking() -> subprocess.Popen[str]:
    """One for each process that tests, ended with it."""
    command = [sys.executable, "-m", "tests.support.forking"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    process.stdout.close()
    process.wait()
