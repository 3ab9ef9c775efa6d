"""Processes that train together: whose rows are whose, what they leave behind, and what takes only one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.ranks import environments
from tests.support.waiting import PROGRAM_HANG


def together(script: str, num_ranks: int) -> list[str]:
    """What each of several processes prints that run the same script."""
    command = [sys.executable, "-c", script]
    started = [subprocess.Popen(command, env=places, stdout=subprocess.PIPE) for places in environments(num_ranks)]
    printed = [process.communicate(timeout=PROGRAM_HANG)[0].decode().strip() for process in started]
    assert [process.returncode for process in started] == [0] * num_ranks
    return printed


SCRIPT = """
import atexit, os, torch
from polylens.train.distributed import add_gradients, any_of, gathered_rows, processes
def threads():
    return len(os.listdir("/proc/self/task"))
weight = torch.nn.Parameter(torch.ones(4, 2))
(weight * 2).sum().backward()  # whatever threads torch has for itself
counts = [threads()]
atexit.register(lambda: print(*counts, threads()))  # what is registered first comes last
processes()
gathered_rows(weight * 2).sum().backward()
add_gradients([weight])
torch.optim.AdamW([weight]).step()
any_of(False)
counts.append(threads())
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads where Linux lists them")
def test_the_threads_of_a_group_end_with_it() -> None:
    for counts in together(SCRIPT, 2):
        before, within, after = map(int, counts.split())
        assert after == before < within


ROWS = """
import torch
from polylens.train.distributed import add_gradients, gathered_rows, processes
rank = processes().process_index
weight = torch.nn.Parameter(torch.arange(1.0, 4.0)[:, None] * (rank + 1))
nothing = gathered_rows(weight[:0])
mine = weight[:rank]  # none of the first process, one of the second, two of the third
everyone = gathered_rows(mine)
(everyone * torch.arange(1.0, 4.0)[:, None]).sum().backward()
before = weight.grad.flatten().tolist()
add_gradients([weight])
print(list(nothing.shape), everyone.flatten().tolist(), before, weight.grad.flatten().tolist())
"""


def test_rows_of_all_in_the_order_of_ranks_and_gradients_to_ones_own() -> None:
    own = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 3.0, 0.0]]  # row 1 is the second process's, 2 and 3 the third's
    assert together(ROWS, 3) == [f"[0, 1] [2.0, 3.0, 6.0] {mine} [3.0, 3.0, 0.0]" for mine in own]


NANO = """
from pathlib import Path
from polylens.errors import InputError
from polylens.lab.nano import loop
from polylens.lab.nano.recipes import RECIPES
try:
    loop.train(RECIPES["nano"](), Path("nowhere"), report=print)
except InputError as refused:
    print(refused, Path("nowhere").exists())
"""


def test_what_learns_from_nothing_learns_in_one_process() -> None:
    told = "nano is trained by a single process, got 2; start it without a launcher False"
    assert together(NANO, 2) == [told] * 2


WITHOUT_ACCELERATE = """
import sys
sys.modules["accelerate"] = None
from polylens.cli import main
sys.argv[1:] = ["train", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--list"], 0, "finetune: One task's adapter"),
        (["finetune", "--data", "pairs.jsonl"], 2, "training needs accelerate, which is not installed"),
    ],
)
def test_without_the_extra_recipes_are_listed_and_none_is_begun(options: list[str], code: int, told: str) -> None:
    command = [sys.executable, "-c", WITHOUT_ACCELERATE, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code and told in done.stdout + done.stderr
