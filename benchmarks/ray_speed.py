"""How many pages per second a Ray cluster of this machine indexes with one embedding actor and with two, and for which
share of the time their models compute; beside the same update without Ray.

    python benchmarks/ray_speed.py [--pages 40] [--embedders 1,2] [--engine openvino] [--json FILE]

Each run indexes made PDFs of the size of a sheet with nano. The cluster has as many cores as the machine. Starting it
and loading the models is part of the time, so measure many pages.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from made_pdfs import write_pdfs

import polylens
from polylens.integrations.ray import Model, RayExecutor
from polylens.library.library import Library

SIDES = (560, 850)  # points


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--embedders", default="1,2", help="comma-separated numbers of actors")
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [indexed(options.pages, options.engine, None)]
    rows += [indexed(options.pages, options.engine, number) for number in map(int, options.embedders.split(","))]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def indexed(pages: int, engine: str, embedders: int | None) -> dict[str, Any]:
    """One run, with so many actors; None is the update of this process alone."""
    model = polylens.load("nano", engine=engine)
    with tempfile.TemporaryDirectory(prefix="polylens-ray-") as folder:
        write_pdfs(Path(folder), pages, sides=SIDES)
        executor = None
        if embedders is not None:
            executor = RayExecutor(Model("nano", engine), model.max_pixels, embedders=embedders)
        began = time.monotonic()
        report = Library(folder, model).update(executor=executor, ocr="off")
        ended = time.monotonic()
    row: dict[str, Any] = {
        "embedding actors": embedders or "none, no Ray",
        "pages": report.pages,
        "pages/s": round(report.pages / (ended - began), 2),
    }
    if executor is not None:
        row["share of the time that the models compute"] = round(executor.work.share(ended - began), 2)
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__":
    main()
