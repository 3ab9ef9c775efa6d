"""How many pages per second `Library.update` indexes with nano, and for which share of the time the engine works.

    python benchmarks/index_speed.py [--pages 40] [--rounds 2] [--engine openvino] [--source FOLDER] [--json FILE]

Each round indexes the samples and made PDFs of the size of a sheet, in a process of its own; with `--engine`, another
engine than torch is measured too, and with `--source`, the `src` folder of another checkout by torch, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from made_pdfs import write_pdfs

SAMPLES = Path(__file__).parents[1] / "samples"
SIDES = (560, 850)  # points
INDEX = """
import json, sys, time
import polylens
from polylens.library.library import Library
model = polylens.load("nano", engine=sys.argv[2])
image = polylens.Image(sys.argv[3])
for _ in range(2):
    model.embed(["warm", image])
model.engine.prepare([])  # waits for graphs that were begun
run, busy = model.engine.run, 0.0

def timed(items):
    global busy
    began = time.perf_counter()
    found = list(run(items))
    busy += time.perf_counter() - began
    return iter(found)

model.engine.run = timed
began = time.perf_counter()
report = Library(sys.argv[1], model).update()
seconds = time.perf_counter() - began
print(json.dumps({"pages": report.pages, "seconds": seconds, "engine": busy, "failed": len(report.failed)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=40, help="made pages, besides the samples")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--engine", help="measured besides torch")
    parser.add_argument("--source", type=Path, help="the src folder of another checkout")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    kinds: dict[str, tuple[Path | None, str]] = {"torch": (None, "torch")}
    if options.source is not None:
        kinds = {str(options.source): (options.source, "torch"), **kinds}
    if options.engine is not None:
        kinds[options.engine] = (None, options.engine)
    rounds = [{name: index(*kind, options.pages) for name, kind in kinds.items()} for _ in range(options.rounds)]
    result = {name: summary([each[name] for each in rounds]) for name in rounds[0]}
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def index(source: Path | None, engine: str, pages: int) -> dict[str, float]:
    environment = {**os.environ, **({} if source is None else {"PYTHONPATH": str(source)})}
    with tempfile.TemporaryDirectory(prefix="polylens-speed-") as folder:
        shutil.copytree(SAMPLES, Path(folder) / "files", ignore=shutil.ignore_patterns(".*"))  # such as an index
        write_pdfs(Path(folder) / "files/made", pages, sides=SIDES)
        picture = next(iter(sorted(SAMPLES.glob("*.jpg"))))
        command = [sys.executable, "-c", INDEX, str(Path(folder) / "files"), engine, str(picture)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    """The median of the rounds."""
    return {
        "pages": runs[0]["pages"],
        "pages per second": round(statistics.median(run["pages"] / run["seconds"] for run in runs), 2),
        "share of the time that the engine works": round(
            statistics.median(run["engine"] / run["seconds"] for run in runs), 3
        ),
    }


if __name__ == "__main__":
    main()
