"""Threads that give way to others, whatever priority the process was started with."""

from __future__ import annotations

import subprocess
import sys

import pytest

from polylens.runtime.priority import LOWEST, NICENESS

CODE = """
import os, threading
from polylens.runtime.priority import yield_to_others

os.nice({steps})

def work():
    yield_to_others()
    print(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

thread = threading.Thread(target=work)
thread.start()
thread.join()
print(os.nice(0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
@pytest.mark.parametrize("steps", [0, 15, 19])
def test_a_thread_only_ever_gives_way(steps: int) -> None:
    """To raise a priority takes a right that a server rarely has."""
    command = [sys.executable, "-c", CODE.format(steps=steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lowered, started = map(int, done.stdout.split())
    assert lowered == min(LOWEST, started + NICENESS) and started >= steps
