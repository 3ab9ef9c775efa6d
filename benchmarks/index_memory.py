"""Whether the memory of `polylens index` stays flat: one-page PDFs of as many sizes as files, indexed with nano.

    python benchmarks/index_memory.py [--pages 1000] [--every 50] [--source FOLDER] [--json FILE]

The update runs in a process of its own, as a user starts it, and is looked at from outside: each line is the resident
memory of that process and of those that it started, when so many pages were indexed, and the most between two lines.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from made_pdfs import write_pdfs

INDEX = """
import sys, polylens
from polylens.library.library import Library
library = Library(sys.argv[1], polylens.load("nano"))
library.update(lambda progress: print(progress.done_pages, flush=True))
"""
BETWEEN = 0.05  # seconds between two looks


class Watch(threading.Thread):
    """Looks at the memory of a process and its children again and again."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.now = self.most = 0.0

    def run(self) -> None:
        while (now := memory(self.pid)) > 0:
            self.now, self.most = now, max(self.most, now)
            time.sleep(BETWEEN)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=1_000)
    parser.add_argument("--every", type=int, default=50, help="pages between two lines")
    parser.add_argument("--source", type=Path, help="the src folder of another checkout to measure")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="polylens-memory-") as folder:
        write_pdfs(Path(folder) / "pdfs", options.pages)
        rows = follow(Path(folder) / "pdfs", options.every, options.source)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def follow(folder: Path, every: int, source: Path | None) -> list[dict[str, Any]]:
    """Indexes the folder and prints a line per `every` pages."""
    environment = {**os.environ, **({} if source is None else {"PYTHONPATH": str(source)})}
    command = [sys.executable, "-c", INDEX, str(folder)]
    rows: list[dict[str, Any]] = []
    target = every
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        watch = Watch(process.pid)
        watch.start()
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= target:
                target = int(line) // every * every + every
                rows.append(
                    {
                        "pages": int(line),
                        "MB": round(memory(process.pid)),
                        "most MB": round(watch.most),
                        "seconds": round(time.perf_counter() - began),
                    }
                )
                watch.most = 0.0
                print(json.dumps(rows[-1]), flush=True)
    if process.returncode:
        raise SystemExit(f"the update ended with exit code {process.returncode}")
    return rows


def memory(pid: int) -> float:
    """Resident memory of a process and of its children, in MB; 0 where it has ended."""
    total = 0.0
    for each in (pid, *children(pid)):
        try:
            found = re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{each}/status").read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        total += int(found[1]) / 1024 if found else 0.0
    return total


def children(pid: int) -> list[int]:
    try:
        files = list(Path(f"/proc/{pid}/task").glob("*/children"))
        return [int(child) for file in files for child in file.read_text(encoding="ascii").split()]
    except OSError:
        return []


if __name__ == "__main__":
    main()
