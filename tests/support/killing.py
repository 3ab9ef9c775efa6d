"""Processes that are killed while they index, and the contents of an index."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.support.root import ROOT

from polylens.index.table.schema import multivectors
from polylens.index.table.store import Store

DELAY = 0.001  # seconds per input


class Nursery:
    """Runs `dying.py`, which starts the processes that are killed."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.support.dying", str(folder), str(DELAY)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, what: str, seconds: float | None, after: str | None = None) -> list[str]:
        """Lines that a process printed until it finished, or was killed `seconds` after its start or after a line."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline().split()[1])
        killer = threading.Timer(seconds or 0.0, os.kill, (pid, signal.SIGKILL))
        if seconds is not None and after is None:
            killer.start()
        lines = []
        for line in self.process.stdout:
            if line.startswith("end "):
                break
            lines.append(line.strip())
            if seconds is not None and lines[-1] == after:
                killer.start()
        killer.cancel()
        return lines

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def timed(nursery: Nursery, what: str) -> float:
    """Seconds that it takes where nobody kills it."""
    began = time.monotonic()
    assert "complete" in nursery.run(what, None)
    return time.monotonic() - began


def contents(folder: Path) -> dict[tuple[str, int], tuple[object, ...]]:
    """All rows of an index by file and page, each value as its `repr`, and vectors as their bytes."""
    told = ["file", "page", "kind", "text", "hash", "size", "mtime_ns", "model_id"]
    found: dict[tuple[str, int], tuple[object, ...]] = {}
    for batch in Store.open(folder / ".polylens").snapshot().columns([*told, "dense", "multivector"]):
        dense = batch.column("dense").flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
        tokens = batch.column("multivector")
        late = multivectors(tokens, tokens.type.value_type.list_size)
        for row, *vectors in zip(batch.select(told).to_pylist(), dense, late, strict=True):
            name = row["file"], row["page"]
            assert name not in found
            found[name] = (*map(repr, row.values()), *(each.tobytes() for each in vectors))
    return found
