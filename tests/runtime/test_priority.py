"""Threads that give way to others, whatever priority the process was started with."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import os, threading
from polylens.runtime.priority import yield_to_others

os.nice({started} - os.nice(0))

def work():
    yield_to_others()
    print(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

thread = threading.Thread(target=work)
thread.start()
thread.join()
print(os.nice(0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
@pytest.mark.parametrize(("started", "lowered"), [(15, 19), (19, 19)])
def test_a_thread_only_ever_gives_way(started: int, lowered: int) -> None:
    """To raise a priority takes a right that a server rarely has."""
    command = [sys.executable, "-c", CODE.format(started=started)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(lowered), str(started)]
