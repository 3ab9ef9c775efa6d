"""Processes that train together: their environments, as `torchrun` sets them, and what they print."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from tests.support.commands import Forked
from tests.support.root import ROOT
from tests.support.waiting import PROGRAM_HANG


def environments(num_ranks: int) -> list[dict[str, str]]:
    """One environment per process: this process's own, with a rank and the address of the first rank.

    A single process gets this process's environment unchanged.
    """
    if num_ranks == 1:
        return [dict(os.environ)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": str(num_ranks), "LOCAL_WORLD_SIZE": str(num_ranks), "OMP_NUM_THREADS": "1"}
    shared = {**os.environ, **world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [{**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in map(str, range(num_ranks))]


def start(code: str, *arguments: str | Path, log: Path, environment: Mapping[str, str]) -> Forked:
    """Runs Python in a process of its own, without the checks of shapes; what it says goes to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    nothing = Path(os.devnull)
    return Forked(arguments, {"stdin": nothing, "stdout": nothing, "stderr": log}, ROOT, environment, code)


def train_together(code: str, *arguments: str | Path, logs: Path, variables: Mapping[str, str] | None = None) -> None:
    """Runs the same Python in two processes, a rank each; both must succeed.

    Args:
        code: What they run.
        arguments: Of both.
        logs: The folder that their stderr goes to.
        variables: Of their environments, besides this process's.
    """
    files = [logs / f"rank-{rank}.log" for rank in range(2)]
    started = [
        start(code, *arguments, log=file, environment={**places, **(variables or {})})
        for file, places in zip(files, environments(2), strict=True)
    ]
    assert [process.wait(PROGRAM_HANG) for process in started] == [0, 0], [file.read_text() for file in files]
