"""A process that forks others, each of which updates and compacts an index; tests kill those children.

python -m tests.support.dying FOLDER SECONDS_PER_INPUT

It reads one line per child: "update", "rebuild", or "upgrade", which only opens the index for writing. It prints the
child's process id ("pid N") and, when the child has ended, its exit status ("end N"); between those the child prints
which files are saved ("saved FILE") and that it has finished ("complete"). A fork of a process that has already
imported everything starts in milliseconds instead of a second.
"""

import contextlib
import os
import sys
import warnings
from pathlib import Path

from tests.support.fakes import FakeEmbedder

from polylens.index.ranking import language
from polylens.index.table import store
from polylens.library import saving
from polylens.library.library import Library
from polylens.library.progress import UpdateProgress


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())  # unbuffered: a kill right after it loses nothing


def tell(progress: UpdateProgress) -> None:
    for file in progress.saved:
        say("saved", file)


def work(folder: Path, delay: float, what: str) -> None:
    if what == "upgrade":
        store.Store.open(folder / ".polylens", write=True).close()
        say("complete")
        return
    Library(folder, FakeEmbedder(delay=delay)).update(tell, rebuild=what == "rebuild")
    say("updated")
    with contextlib.closing(store.Store.open(folder / ".polylens", write=True)) as open_store:
        open_store.compact(force=True)
    say("complete")


if __name__ == "__main__":
    saving.COMMIT_PAGES = 6
    store.READER_GRACE = 0.02
    language.language_of("Loaded now, in no child's time.")
    warnings.filterwarnings("ignore", message="lancedb fork support is experimental")
    for line in sys.stdin:
        if child := os.fork():
            say("pid", child)
            say("end", os.waitpid(child, 0)[1])
        else:
            try:
                work(Path(sys.argv[1]), float(sys.argv[2]), line.strip())
            finally:
                os._exit(0)
