"""One of several processes that write, change and remove files of one folder, and update its index all the while.

python -m tests.support.writing FOLDER INDEX PROCESS PROCESSES FILES ROUNDS

INDEX is `s3://BUCKET/PREFIX`, or "-" for the folder's own. The process prints "saved FILE HASH" once a file is safe,
"removed FILE" once it is gone, and "complete" at its end. Only files whose number divided by PROCESSES leaves the
remainder PROCESS are its own to change; it indexes all of them.
"""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path

from tests.support.fakes import FakeEmbedder

from polylens.index.table import store
from polylens.library import saving
from polylens.library.library import Library
from polylens.library.progress import UpdateProgress


def main(folder: Path, index: str | None, process: int, processes: int, files: int, rounds: int) -> None:
    rng = random.Random(process)
    library = Library(folder, FakeEmbedder(), index=index)

    def tell(progress: UpdateProgress) -> None:
        for change in progress.changes:
            print(change.what, change.file, flush=True)

    for number in range(rounds):
        for i in range(process, files, processes):
            path = folder / f"{i:04}.txt"
            if number == 0 or rng.random() < 0.2:
                text = " ".join(f"word{rng.randrange(50)}" for _ in range(rng.randrange(1, 400)))
                beside = folder / f".{i:04}.writing"  # a file that is half written is nothing to index
                beside.write_text(f"unique{process}x{number}x{i} {text}")
                beside.rename(path)
            elif rng.random() < 0.05:
                path.unlink(missing_ok=True)
        library.update(tell)
    print("complete", flush=True)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    saving.COMMIT_PAGES = 8
    store.READER_GRACE = 0.2
    name, place, *numbers = sys.argv[1:]
    main(Path(name), None if place == "-" else place, *map(int, numbers))
