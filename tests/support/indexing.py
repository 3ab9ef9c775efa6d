"""A process that indexes a folder slowly and prints which files are saved; tests kill it at any moment.

python -m tests.support.indexing FOLDER SECONDS_PER_INPUT
"""

import sys

from tests.support.fakes import FakeEmbedder

from polylens.library import saving
from polylens.library.library import Library
from polylens.library.progress import UpdateProgress


def tell(progress: UpdateProgress) -> None:
    for file in progress.saved:
        print("saved", file, flush=True)
    if progress.phase == "indexing":
        print("working", progress.done_pages, flush=True)


if __name__ == "__main__":
    saving.COMMIT_PAGES = 6
    print("started", flush=True)
    Library(sys.argv[1], FakeEmbedder(delay=float(sys.argv[2]))).update(tell)
    print("complete", flush=True)
