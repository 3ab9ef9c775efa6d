"""Walks a newcomer's path in an empty environment, and prints the seconds of each step as a table.

    python benchmarks/newcomer.py dist/polylens-0.1.0-py3-none-any.whl

It makes an environment, installs the wheel by pip with whatever index pip has, and then uses nothing but what was
installed: it indexes a copy of `samples/`, searches it, opens its page, serves, and asks the server. Whoever walks it
without a copy of the repository has a folder of their own. The exit code is 1 if a step fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parents[1] / "samples"
QUESTION = "goose cracked the great lens"
ADDRESS = re.compile(r"http://[\d.]+:\d+")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("wheel", type=Path)
    wheel = options.parse_args().wheel.absolute()
    with tempfile.TemporaryDirectory(prefix="newcomer-") as name:
        walk(wheel, Path(name))


def walk(wheel: Path, place: Path) -> None:
    """All steps, in the order in which a newcomer takes them."""
    python, folder = place / "venv/bin/python", place / "documents"
    program = python.parent / "polylens"
    variables = {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(place), "BROWSER": "true"}
    variables |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "OMP_"))}
    shutil.copytree(SAMPLES, folder, ignore=shutil.ignore_patterns(".polylens", ".maker"))

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=place, env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    print("| step | seconds |\n|---|---|")
    step("python -m venv .venv", lambda: venv.create(place / "venv", with_pip=True))
    step("pip install polylens", lambda: run(python, "-m", "pip", "install", "--quiet", "--no-cache-dir", wheel))
    step(f"polylens index documents ({count(folder)} files)", lambda: run(program, "index", folder))
    found = step("polylens search", lambda: run(program, "search", QUESTION, "--library", folder, "--json"))
    assert json.loads(found)["results"][0]["file"] == "keepers-letter.jpg", found
    with started([program, "open", folder], place, variables) as address:
        page = step("polylens open, until the page is there", lambda: asked(address()))
        assert "<title>" in page
    with started([program, "serve", "--port", "0"], place, variables) as address:
        answer = step(
            "polylens serve, until curl has a vector", lambda: asked(f"{address()}/v1/embeddings", "a harbour")
        )
        assert len(json.loads(answer)["data"][0]["embedding"]) == 256
    megabytes = sum(path.stat().st_size for path in (place / "venv").rglob("*") if path.is_file()) / 1e6
    print(f"\n{megabytes:,.0f} MB in the environment")


def count(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def step(name: str, work: Callable[[], Any]) -> Any:
    started = time.monotonic()
    result = work()
    print(f"| `{name}` | {time.monotonic() - started:.1f} |", flush=True)
    return result


@contextmanager
def started(command: list[str | Path], place: Path, variables: Mapping[str, str]) -> Iterator[Callable[[], str]]:
    """A server; called, what is given waits for the address that it prints."""
    log = place / "server.log"
    with log.open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(command, cwd=place, env=variables, stderr=stderr)

    def address() -> str:
        while process.poll() is None:
            if there := ADDRESS.search(log.read_text(encoding="utf-8")):
                return there[0]
            time.sleep(0.02)
        sys.exit(f"{command[1]} ended: {log.read_text(encoding='utf-8')}")

    try:
        yield address
    finally:
        process.terminate()
        process.wait()


def asked(address: str, text: str = "") -> str:
    body = json.dumps({"model": "nano", "input": [text]}).encode() if text else None
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        return response.read().decode()


if __name__ == "__main__":
    main()
