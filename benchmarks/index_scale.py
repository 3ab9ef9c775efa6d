"""What the index costs at a size: adding pages, disk, memory, a search cold and warm.

    python benchmarks/index_scale.py [--pages 1000,10000,100000] [--vectors 64] [--json FILE]

Pages are synthetic: a page's vectors scatter around a few topics that it shares with others, and a query is a few
vectors of one page with noise, so the page that it should find is known. Each size is indexed and searched in a process
of its own, so that memory is that size's. "Cold" is the first search of a fresh process after the system was asked to
forget the files' pages.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import numpy.typing as npt

from polylens.evaluate.machine import processor
from polylens.index.search import search
from polylens.index.store import FilePages, PageRow, Store, page_table
from polylens.types import Embedding

DIM, TOKEN_DIM = 256, 128
TOPICS = 2_000
A_FILE, A_COMMIT = 10, 640  # pages
QUERY_TOKENS = 12
NOISE = 0.6  # length of what is added to a unit vector


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", default="1000,10000,100000", help="sizes, comma between")
    parser.add_argument("--vectors", type=int, default=64, help="of a page")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    rows = []
    for pages in map(int, options.pages.split(",")):
        with tempfile.TemporaryDirectory(prefix="polylens-scale-", dir=Path.cwd()) as folder:
            row = {"pages": pages, **_apart(fill, Path(folder) / "index", pages, options.vectors)}
            row |= _apart(ask, Path(folder) / "index", pages, options.vectors, options.queries)
        rows.append(row)
        print(json.dumps(row))
    result = {
        "vectors": options.vectors,
        "sizes": rows,
        "hardware": f"{os.cpu_count()} cores, {processor()}",
        "versions": f"lancedb {lancedb.__version__}, numpy {np.__version__}, Python {platform.python_version()}",
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def fill(folder: Path, pages: int, vectors: int) -> dict[str, float]:
    """Commits every page, compacts, and says what that took."""
    began = time.monotonic()
    making = 0.0
    with Store.create(folder, "synthetic@0", DIM, TOKEN_DIM) as store:
        lot: list[FilePages] = []
        for first in range(0, pages, A_FILE):
            tick = time.monotonic()
            made = [page_of(number, vectors) for number in range(first, min(first + A_FILE, pages))]
            making += time.monotonic() - tick
            rows = [
                PageRow(i, "text", f"page {first + i}", dense, tokens)
                for i, (dense, tokens) in enumerate(made, start=1)
            ]
            lot.append(FilePages(f"{first}.txt", str(first), 1, 1, page_table(rows, DIM, TOKEN_DIM)))
            if len(lot) * A_FILE >= A_COMMIT or first + A_FILE >= pages:
                store.commit(lot)
                lot = []
        store.compact(force=True)
    seconds = time.monotonic() - began - making
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "pages/s": round(pages / seconds, 1),
        "bytes/page": round(size / pages),
        "indexing MB": _peak_mb(),
    }


def ask(folder: Path, pages: int, vectors: int, queries: int) -> dict[str, float]:
    """Searches for pages that are known to be there."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    rng = np.random.default_rng(7)
    store = Store.open(folder)
    times, found = [], 0
    for number in rng.integers(0, pages, queries):
        dense, tokens = page_of(int(number), vectors)
        chosen = tokens[rng.choice(len(tokens), QUERY_TOKENS, replace=False)].astype(np.float32)
        query = Embedding(noisy(rng, dense[None])[0], noisy(rng, chosen))
        tick = time.monotonic()
        hits = search(store, query, 10)
        times.append(1000 * (time.monotonic() - tick))
        found += (hits[0].file, hits[0].page) == (f"{number // A_FILE * A_FILE}.txt", number % A_FILE + 1)
    warm = np.array(times[1:])
    return {
        "cold ms": round(times[0], 1),
        "p50 ms": round(float(np.percentile(warm, 50)), 1),
        "p95 ms": round(float(np.percentile(warm, 95)), 1),
        "hit@1": found / queries,
        "searching MB": _peak_mb(),
    }


def page_of(number: int, vectors: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float16]]:
    """A page by its number: unit vectors around eight of the topics, the dense one around two of them."""
    rng = np.random.default_rng((1, number))
    topics = rng.integers(0, TOPICS, 8)
    tokens = noisy(rng, topic_vectors(TOKEN_DIM)[rng.choice(topics, vectors)])
    dense = noisy(rng, topic_vectors(DIM)[topics[:2]].sum(axis=0, keepdims=True))[0]
    return dense, tokens.astype(np.float16)


_topics: dict[int, npt.NDArray[np.float32]] = {}


def topic_vectors(dim: int) -> npt.NDArray[np.float32]:
    if dim not in _topics:
        rows = np.random.default_rng(dim).standard_normal((TOPICS, dim)).astype(np.float32)
        _topics[dim] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return _topics[dim]


def noisy(rng: np.random.Generator, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Unit rows near the given ones."""
    noise = rng.standard_normal(rows.shape).astype(np.float32)
    rows = rows + NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _apart(function: Any, *arguments: Any) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


if __name__ == "__main__":
    main()
