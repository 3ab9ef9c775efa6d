"""What becomes of files that nobody here wrote: every file of some folders is read, as `polylens index` reads it.

    python benchmarks/strangers.py FOLDER... --out outcomes.tsv

Prints how many files of each kind are read, read in part, have no pages or are refused, the slowest, and the memory
that the program and its readers took at the peak. Each outcome and its reason is a line of the file; nothing is
embedded.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from polylens.documents.opening import kind_of
from polylens.documents.reader_processes import Readers
from polylens.errors import DocumentError

MAX_PIXELS = 300_000  # of a drawn page, which only has to be drawn
STATES = ("read", "in part", "no pages", "refused")


def outcome(readers: Readers, path: Path, most: int) -> tuple[str, int, int, str]:
    """One of `STATES`, the pages and characters that were read, and the reason."""
    pages = chars = 0
    try:
        with readers.open(path, max_pixels=MAX_PIXELS) as document:
            for page in document:
                pages, chars = pages + 1, chars + len(page.text)
                if pages == most:
                    break
            unread = dict(document.unread)
    except DocumentError as error:
        return "refused", pages, chars, str(error)
    if unread:
        return "in part", pages, chars, json.dumps(unread, ensure_ascii=False)
    return ("read" if pages else "no pages"), pages, chars, ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--pages", type=int, default=40, help="most pages that are read of a file")
    parser.add_argument("--out", type=Path, default=Path("outcomes.tsv"), help="the outcome of each file")
    asked = parser.parse_args()

    counts: Counter[tuple[str, str, str]] = Counter()
    slowest: list[tuple[float, Path]] = []
    with Readers(1) as readers, asked.out.open("w", encoding="utf-8") as out:
        for folder in asked.folders:
            for path in sorted(path for path in folder.rglob("*") if path.is_file() and kind_of(path)):
                began = time.monotonic()
                state, pages, chars, reason = outcome(readers, path, asked.pages)
                seconds, kind = time.monotonic() - began, kind_of(path) or ""
                counts[folder.name, kind, state] += 1
                slowest = sorted([*slowest, (seconds, path)], reverse=True)[:3]
                told = (state, kind, str(pages), str(chars), f"{seconds:.2f}", str(path), " ".join(reason.split()))
                print("\t".join(told), file=out, flush=True)

    table = Table("folder", "kind", *STATES)
    for folder, kind in sorted({(folder, kind) for folder, kind, _ in counts}):
        table.add_row(folder, kind, *(str(counts[folder, kind, state]) for state in STATES))
    Console().print(table)
    for seconds, path in slowest:
        print(f"{seconds:.1f} s: {path}")
    for who, name in ((resource.RUSAGE_SELF, "this program"), (resource.RUSAGE_CHILDREN, "its largest reader")):
        print(f"{name}: {resource.getrusage(who).ru_maxrss // 1024} MB at the peak")


if __name__ == "__main__":
    main()
