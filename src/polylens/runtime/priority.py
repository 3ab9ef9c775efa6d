"""How much of the processor a thread gets where others want it as well."""

from __future__ import annotations

import os
import sys
import threading

NICENESS = 10
"""Steps below other threads: on Linux a thread gets about a tenth of what one without such a step gets beside it."""

LOWEST = 19


def yield_to_others() -> None:
    """Lets the calling thread, and those that it starts from now on, give way to the other threads of this machine.

    Where nothing else computes it is as quick as before. Only Linux has priorities of threads; elsewhere this does
    nothing.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # Added to what the process was started with: to go below that, as under `nice -n 19`, takes a right.
        os.setpriority(os.PRIO_PROCESS, thread, min(LOWEST, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS))
