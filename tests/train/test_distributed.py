"""What several processes leave behind when they have gone apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from ranks import environments

SCRIPT = """
import os, torch
from polylens.train.distributed import add_gradients, any_of, gathered_rows, processes
def threads():
    return len(os.listdir("/proc/self/task"))
weight = torch.nn.Parameter(torch.ones(4, 2))
(weight * 2).sum().backward()  # whatever threads torch has for itself
before = threads()
with processes(torch.device("cpu")) as (rank, num_ranks):
    gathered_rows(weight * 2, num_ranks).sum().backward()
    add_gradients([weight], num_ranks)
    torch.optim.AdamW([weight]).step()
    any_of(False, num_ranks)
    within = threads()
print(before, within, threads())
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads where Linux lists them")
def test_the_threads_of_a_group_end_with_it() -> None:
    command = [sys.executable, "-c", SCRIPT]
    for process in [subprocess.Popen(command, env=places, stdout=subprocess.PIPE) for places in environments(2)]:
        counts, _ = process.communicate(timeout=120)
        before, within, after = map(int, counts.split())
        assert process.returncode == 0
        assert after == before < within
