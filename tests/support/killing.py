"""Processes that are killed while they index, and what an index holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.support.root import ROOT

from polylens.index.table.store import Store

DELAY = 0.001  # seconds an input takes


class Nursery:
    """`dying.py`, which starts processes to be killed."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, str(ROOT / "tests/support/dying.py"), str(folder), str(DELAY)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, what: str, seconds: float | None) -> list[str]:
        """What a process said until it ended, or until it was killed after so many seconds."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline().split()[1])
        killer = threading.Timer(seconds or 0.0, os.kill, (pid, signal.SIGKILL))
        if seconds is not None:
            killer.start()
        lines = []
        for line in self.process.stdout:
            if line.startswith("end "):
                break
            lines.append(line.strip())
        killer.cancel()
        return lines

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def contents(folder: Path) -> dict[tuple[str, int], tuple[object, ...]]:
    """Every row of an index, by file and page."""
    columns = ["file", "page", "kind", "text", "hash", "size", "mtime_ns", "model_id", "dense", "multivector"]
    batches = Store.open(folder / ".polylens").snapshot().columns(columns)
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert len({(row["file"], row["page"]) for row in rows}) == len(rows)
    return {(row["file"], row["page"]): (*map(repr, row.values()),) for row in rows}
