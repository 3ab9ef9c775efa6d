"""Commands of polylens as a user runs them: arguments in, exit status and output back."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Self

from tests.support.root import ROOT
from tests.support.waiting import HANG, PROGRAM_HANG, until


def polylens(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command; what it prints is text."""
    done = run(*arguments)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def run(
    *arguments: str | Path,
    cwd: Path | None = None,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    code: str = "",
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command in a process of its own, forked from one that has imported what commands need.

    Args:
        arguments: The arguments of `polylens`.
        cwd: The folder in which it runs; by default this process's.
        stdin: What it reads.
        environment: All of its environment variables; by default this process's.
        code: Python that is run instead of a command.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in ("stdin", "stdout", "stderr")}
        for file in files.values():
            file.write_text(stdin if file.name == "stdin" else "", encoding="utf-8")
        status = Forked(arguments, files, cwd, environment, code).wait()
        out, err = (files[name].read_bytes() for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(["polylens", *map(str, arguments)], status, out, err)


class Forked:
    """A command that runs, with the methods of `subprocess.Popen` that tests use.

    Args:
        arguments: The arguments of `polylens`.
        files: What its `stdin`, `stdout` and `stderr` are.
        cwd: The folder in which it runs; by default this process's.
        environment: All of its environment variables; by default this process's.
        code: Python that is run instead of a command.
    """

    def __init__(
        self,
        arguments: Sequence[str | Path],
        files: Mapping[str, Path],
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        code: str = "",
    ) -> None:
        job = {
            "arguments": [*map(str, arguments)],
            "code": code,
            "cwd": str(cwd or Path.cwd()),
            "environment": {"OMP_NUM_THREADS": "1", **(os.environ if environment is None else environment)},
            **{name: str(file) for name, file in files.items()},
        }
        self.pid = int(_ask(job))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status; None while the command runs."""
        if self.returncode is None:
            self.returncode = json.loads(_ask({"poll": self.pid}))
        return self.returncode

    def wait(self, seconds: float = HANG) -> int:
        """The exit status, once the command has ended."""
        until(lambda: self.poll() is not None, seconds=seconds)
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:  # a process that nobody asked about keeps its id after its end
            os.kill(self.pid, number)


class Piped(Forked):
    """Python that runs; what it prints is read while it runs. A block of it ends with the process.

    Args:
        code: What is run.
        arguments: Its own.
        environment: All of its environment variables; by default this process's.
    """

    def __init__(self, code: str, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        out, self._err = (Path(self._folder.name) / name for name in ("stdout", "stderr"))
        os.mkfifo(out)
        self._err.write_text("", encoding="utf-8")
        files = {"stdin": Path(os.devnull), "stdout": out, "stderr": self._err}
        super().__init__(arguments, files, ROOT, environment, code)
        self.stdout = out.open(encoding="utf-8")  # once the process has opened its end

    @property
    def errors(self) -> str:
        """What it has written to its stderr."""
        return self._err.read_text(encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.kill()
        self.stdout.close()
        self.wait(PROGRAM_HANG)
        self._folder.cleanup()


def module(name: str) -> str:
    """Python that runs a module as the program."""
    return f"import runpy; runpy.run_module({name!r}, run_name='__main__')"


def _ask(question: dict[str, object]) -> str:
    forking = _forking()
    assert forking.stdin is not None and forking.stdout is not None
    forking.stdin.write(json.dumps(question) + "\n")
    forking.stdin.flush()
    return forking.stdout.readline()


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
