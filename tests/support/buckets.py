"""A local S3 server, moto, in a separate process; its contents live in memory.

python -m tests.support.buckets

The process prints the port that it listens on, and serves until its stdin is closed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.root import ROOT
from tests.support.waiting import HANG

HAS_MOTO = all(importlib.util.find_spec(name) for name in ("moto", "flask", "flask_cors"))


def write_subjects(folder: Path, count: int) -> Path:
    """A folder of short texts about five subjects, to be indexed in a bucket."""
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:02}.txt").write_text(f"word{i} of a page about subject{i % 5}")
    return folder


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Runs a server within the block; gives its address."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.buckets"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as server:  # type: ignore[call-overload]
        assert server.stdin is not None and server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.stdin.close()
        server.wait()


def make_bucket(endpoint: str, name: str) -> None:
    _send("PUT", f"{endpoint}/{name}")


def ask_for_credentials(endpoint: str, asks: bool = True) -> None:
    """Makes the server refuse every request from here on, as for unknown credentials, or answer every one again."""
    _send("POST", f"{endpoint}/moto-api/reset-auth", b"0" if asks else b"inf")  # requests before it begins to ask


def _send(method: str, address: str, body: bytes = b"") -> None:
    request = urllib.request.Request(address, body, {"Content-Type": "text/plain"}, method=method)
    urllib.request.urlopen(request, timeout=HANG).close()


def environment(endpoint: str) -> Mapping[str, str]:
    """Variables that a program needs in order to use the server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }


def serve() -> None:
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    serve()
