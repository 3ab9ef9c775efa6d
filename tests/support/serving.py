"""`polylens serve` as a process, for tests that talk to it over HTTP."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2


class Running:
    """A server that runs, and what it was asked to serve.

    Args:
        process: Its process.
        url: Where it listens.
        log: What it writes to stderr.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process, self.url, self.log = process, url, log
        self.http = httpx2.Client(base_url=url, trust_env=False, timeout=60)

    def post(self, path: str, body: Any, **options: Any) -> httpx2.Response:
        return self.http.post(path, json=body, **options)

    def embed(self, value: Any, model: str = "nano", **fields: Any) -> Any:
        """The answer to an embeddings request that must work."""
        response = self.post("/v1/embeddings", {"model": model, "input": value, **fields})
        assert response.status_code == 200, response.text
        return response.json()


@contextmanager
def serving(*arguments: str, home: Path, variables: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Runs `polylens serve` until the block ends, and looks at how it ends.

    Args:
        arguments: Of the command, besides a free port.
        home: Its home, where its log lies too.
        variables: Of its environment, besides or instead of this process's.
    """
    environment = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1", **(variables or {})}
    command = [sys.executable, "-m", "polylens.cli", "serve", "--port", "0", "--threads", "1", *arguments]
    log = home / "server.log"
    with log.open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env=environment)
    running = Running(process, _url(process, log), log)
    try:
        yield running
    finally:
        running.http.close()
        process.terminate()
        assert process.wait(timeout=60) == 0, log.read_text(encoding="utf-8")


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where the server says that it listens."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"http://[\d.]+:\d+", log.read_text(encoding="utf-8"))
        if found:
            return found[0]
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"the server did not start: {log.read_text(encoding='utf-8')}")
