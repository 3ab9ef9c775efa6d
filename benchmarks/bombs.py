"""What `polylens index` does with files that ask for too much: every bomb of the tests, among twenty good files.

    python benchmarks/bombs.py [--model nano] [--folder FOLDER] [--only NAME ...]

It prints the seconds, the most memory of the command and of any process that reads files for it, the exit status, how
many of the good files can be searched, and what is said of each bomb.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support import bombs, papers

GOOD = 20
BETWEEN = 0.05  # seconds between two looks


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--folder", type=Path, help="where to make the files; kept")
    parser.add_argument("--only", nargs="*", default=list(bombs.BOMBS), help="names of bombs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="polylens-bombs-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        for name in options.only:
            bombs.BOMBS[name](folder / name)
        good = make_good(folder)
        index(folder, options.model, good, options.only)


def make_good(folder: Path) -> list[str]:
    """Twenty files of ten kinds, whose names come between those of the bombs."""
    makers = {
        "pdf": lambda path: papers.make_pdf(path, "one", "two"),
        "docx": papers.make_docx,
        "pptx": papers.make_pptx,
        "xlsx": papers.make_xlsx,
        "png": lambda path: papers.make_image(path, "red"),
        "epub": lambda path: papers.make_epub(path, {"one": "<p>text</p>"}),
        "txt": lambda path: path.write_text("words"),
        "html": lambda path: path.write_text("<p>words</p>"),
        "zip": lambda path: papers.pack(path, {"inner.txt": "words"}),
        "eml": lambda path: path.write_text("Subject: s\nFrom: a@b\n\nwords"),
    }
    names = [f"{first}-good.{suffix}" for suffix in makers for first in "az"]
    assert len(names) == GOOD
    for name in names:
        path = folder / name
        makers[path.suffix[1:]](path)
        if path.suffix in (".txt", ".html", ".eml"):  # no two files alike
            path.write_text(path.read_text() + name)
    return names


def index(folder: Path, model: str, good: list[str], names: list[str]) -> None:
    command = [sys.executable, "-m", "polylens.cli", "index", str(folder), "--model", model, "--verbose"]
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        own = reading = 0.0
        while process.poll() is None:
            own = max(own, peak(process.pid))
            reading = max([reading, *map(peak, readers_of(process.pid))])
            time.sleep(BETWEEN)
        seconds = time.monotonic() - began
        said.seek(0)
        told = said.read().splitlines()
    if process.returncode:
        sys.exit("\n".join(told[-20:]))
    from polylens.library.library import Library
    from polylens.library.unsearchable import read_unsearchable

    library = Library(folder)
    found = library.files()
    print(f"exit status {process.returncode}, {seconds:.0f} s, most memory: {own:.2f} GB, a reader {reading:.2f} GB")
    print(f"good files that can be searched: {sum(name in found for name in good)} of {len(good)}")
    reasons = read_unsearchable(library.storage)
    for name in names:
        pages = found[name].num_pages if name in found else 0
        each = reasons.get(name)
        parts = "; ".join(f"{part}: {reason}" for part, reason in list(each.parts.items())[:3]) if each else ""
        is_named = (
            "" if any(name in line and not line.startswith("\r") for line in told) or not each else " (NOT NAMED)"
        )
        print(f"{name}: {pages:,} pages. {each.reason if each else ''}{parts}{is_named}")


def peak(pid: int) -> float:
    """The most memory that a process has had, in GB."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 2**20 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def readers_of(pid: int) -> list[int]:
    try:
        started = Path(f"/proc/{pid}/task").iterdir()
        children = [int(child) for task in started for child in (task / "children").read_text().split()]
        return [child for child in children if b"reader_process" in Path(f"/proc/{child}/cmdline").read_bytes()]
    except OSError:
        return []


if __name__ == "__main__":
    os.environ.setdefault("POLYLENS_ENGINE", "torch")
    main()
