"""Runs `polylens serve` as a process, for tests that talk to it over HTTP."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
from tests.support.commands import Forked
from tests.support.waiting import HANG, PROGRAM_HANG, until

ADDRESS = re.compile(r"http://[\d.]+:\d+")

Process = subprocess.Popen[bytes] | Forked


class Running:
    """A running server.

    Args:
        process: The server's process.
        url: The address that it listens on.
        log: The file that its stderr goes to.
    """

    def __init__(self, process: Process, url: str, log: Path) -> None:
        self.process, self.url, self.log = process, url, log
        self.http = httpx2.Client(base_url=url, trust_env=False, timeout=HANG)

    def post(self, path: str, body: Any, **options: Any) -> httpx2.Response:
        return self.http.post(path, json=body, **options)

    def library(self) -> Any:
        """The state of the library."""
        return self.http.get("/library").json()

    def settled(self, *, files: int, failed: int = 0) -> Any:
        """The state of the library, once it has so many files, told of so many that failed, and shows no update.

        An update has the lowest priority, so it waits wherever other tests compute.
        """

        def is_settled() -> bool:
            now = self.library()
            return now["files"] == files and len(now["failed"]) >= failed and now["updating"] is None

        until(is_settled, self.library, PROGRAM_HANG)
        return self.library()

    def embed(self, value: Any, model: str = "nano", **fields: Any) -> Any:
        """The answer to an embeddings request, which must succeed."""
        response = self.post("/v1/embeddings", {"model": model, "input": value, **fields})
        assert response.status_code == 200, response.text
        return response.json()


@contextmanager
def serving(
    *arguments: str,
    home: Path,
    variables: Mapping[str, str] | None = None,
    path: Path | None = None,
    python: Path | None = None,
    start: Sequence[str] = ("serve", "--threads", "1"),
) -> Iterator[Running]:
    """Runs `polylens serve` until the block ends, and asserts that it then exits with 0.

    Args:
        arguments: Of the command, besides a free port.
        home: Its home, where its log lies too.
        variables: Of its environment, besides or instead of this process's.
        path: A folder with another package `polylens`, which the server imports from nothing instead.
        python: The interpreter of another environment that has the package.
        start: The beginning of another command that serves.
    """
    environment = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1", **(variables or {})}
    command = [*start, "--port", "0", *arguments]
    log = home / "server.log"
    log.write_text("", encoding="utf-8")
    process: Process
    if path is None and python is None:
        files = {"stdin": Path(os.devnull), "stdout": Path(os.devnull), "stderr": log}
        process = Forked(command, files, environment=environment)
    else:
        environment["PYTHONPATH"] = str(path or "")
        run = [python or sys.executable, "-m", "polylens.cli", *command]
        with log.open("w", encoding="utf-8") as stderr:
            process = subprocess.Popen(run, stderr=stderr, env=environment, cwd=home)
    running = Running(process, _url(process, log), log)
    try:
        yield running
    finally:
        running.http.close()
        process.terminate()
        assert process.wait() == 0, log.read_text(encoding="utf-8")


def _url(process: Process, log: Path) -> str:
    """The address that the server prints once it listens."""
    said = partial(log.read_text, encoding="utf-8")
    try:
        until(lambda: ADDRESS.search(said()) or process.poll() is not None, said)
        address = ADDRESS.search(said())
        assert address, f"the server did not start: {said()}"
    except AssertionError:
        process.kill()
        raise
    return address[0]
