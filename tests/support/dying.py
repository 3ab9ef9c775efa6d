"""A process that prepares others, each of which brings an index up to date and compacts it; tests kill those.

python tests/support/dying.py FOLDER SECONDS_PER_INPUT

It reads a line for each: "update", "rebuild", or "upgrade", which opens the index for writing and no more. It answers
with the process that it started for it ("pid N"), that says which files are safe ("saved FILE") and that it is through
("complete"), and with its end ("end N"). Starting them by fork from one that has imported everything already takes
milliseconds instead of a second.
"""

import contextlib
import os
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.fakes import FakeEmbedder

from polylens.index.ranking import language
from polylens.index.table import store
from polylens.library import saving
from polylens.library.library import Library
from polylens.library.progress import UpdateProgress


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())  # at once and whole: what is said, is said


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
