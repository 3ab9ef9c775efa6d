"""What the index costs at a size: adding pages, disk, memory, a search cold and warm.

    python benchmarks/index_scale.py [--pages 1000,10000,100000] [--vectors 64] [--exact 20] [--json FILE]

Pages are synthetic: a page's vectors scatter around a few topics that it shares with others, and a query is a few
vectors of one page with noise, so the page that it should find is known. Each size is indexed and searched in a process
of its own, so that memory is that size's. A search is cold where the index was just opened and the system was asked to
forget its files, and warm where it has read them all.

A million pages of 64 vectors take 17 GB of disk and about an hour; of 768 vectors, 200 GB:

    python benchmarks/index_scale.py --pages 1000000 --vectors 64 --exact 10
    python benchmarks/index_scale.py --pages 1000000 --vectors 768 --exact 4
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
from polylens.index.ranking.late import maxsim
from polylens.index.search import search
from polylens.index.table.schema import FilePages, PageRow, multivectors, page_table
from polylens.index.table.store import Store
from polylens.types import Embedding

DIM, TOKEN_DIM = 256, 128
TOPICS = 2_000
A_FILE, A_COMMIT = 10, 640  # pages
QUERY_TOKENS = 12
TOP = 10
COLD_QUERIES = 20
NOISE = 0.6  # length of what is added to a unit vector


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", default="1000,10000,100000", help="comma-separated sizes")
    parser.add_argument("--vectors", type=int, default=64, help="vectors per page")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--exact", type=int, default=20, help="queries whose best pages are found exactly as well")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    rows = []
    for pages in map(int, options.pages.split(",")):
        with tempfile.TemporaryDirectory(prefix="polylens-scale-", dir=Path.cwd()) as folder:
            row = {"pages": pages, **_apart(fill, Path(folder) / "index", pages, options.vectors)}
            row |= _apart(ask, Path(folder) / "index", pages, options.vectors, options.queries)
            row |= _apart(recall, Path(folder) / "index", pages, options.vectors, options.exact)
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
    """Searches for pages that are known to be there, cold and warm."""
    rng = np.random.default_rng(7)
    cold = Asked(pages, vectors, rng)
    for _ in range(COLD_QUERIES):
        forget(folder)
        cold.ask(Store.open(folder))
    remember(folder)
    store = Store.open(folder)
    Asked(pages, vectors, rng).ask(store)
    warm = Asked(pages, vectors, rng)
    for _ in range(queries):
        warm.ask(store)
    return {
        "cold p50 ms": cold.percentile(50),
        "cold p95 ms": cold.percentile(95),
        "warm p50 ms": warm.percentile(50),
        "warm p95 ms": warm.percentile(95),
        "hit@1": round((cold.found + warm.found) / (COLD_QUERIES + queries), 3),
        "searching MB": _peak_mb(),
    }


def recall(folder: Path, pages: int, vectors: int, queries: int) -> dict[str, float]:
    """The share of the ten best pages by exact MaxSim over all pages that a search by late interaction finds."""
    if not queries:
        return {}
    rng = np.random.default_rng(7)
    asked = [query_for(rng, int(rng.integers(0, pages)), vectors) for _ in range(queries)]
    snapshot = Store.open(folder).snapshot()
    names: list[tuple[str, int]] = []
    scores: list[list[npt.NDArray[np.float32]]] = [[] for _ in asked]
    began = time.monotonic()
    for batch in snapshot.columns(["file", "page", "multivector"], 1_024):
        names += zip(batch.column("file").to_pylist(), batch.column("page").to_pylist(), strict=True)
        found = list(multivectors(batch.column("multivector"), TOKEN_DIM))
        for query, each in zip(asked, scores, strict=True):
            each.append(maxsim(query.multivector, found))
    seconds = time.monotonic() - began
    shares = []
    for query, each in zip(asked, scores, strict=True):
        best = {names[at] for at in np.argsort(-np.concatenate(each))[:TOP]}
        hits = search(snapshot, query, TOP, by="late")
        shares.append(len(best & {(hit.file, hit.page) for hit in hits}) / TOP)
    return {f"recall@{TOP}": round(float(np.mean(shares)), 3), "exact s/query": round(seconds / queries, 2)}


def query_for(rng: np.random.Generator, number: int, vectors: int) -> Embedding:
    """A query for a page: a few of its vectors, and its dense one, with noise."""
    dense, tokens = page_of(number, vectors)
    chosen = tokens[rng.choice(len(tokens), QUERY_TOKENS, replace=False)].astype(np.float32)
    return Embedding(noisy(rng, dense[None])[0], noisy(rng, chosen))


class Asked:
    """What a number of queries took, and how many of them found their page."""

    def __init__(self, pages: int, vectors: int, rng: np.random.Generator) -> None:
        self.pages, self.vectors, self.rng = pages, vectors, rng
        self.times: list[float] = []
        self.found = 0

    def ask(self, store: Store) -> None:
        number = int(self.rng.integers(0, self.pages))
        query = query_for(self.rng, number, self.vectors)
        tick = time.monotonic()
        hits = search(store.snapshot(), query, 10)
        self.times.append(1000 * (time.monotonic() - tick))
        self.found += (hits[0].file, hits[0].page) == (f"{number // A_FILE * A_FILE}.txt", number % A_FILE + 1)

    def percentile(self, share: float) -> float:
        return round(float(np.percentile(self.times, share)), 1)


def forget(folder: Path) -> None:
    """Asks the system to drop the files from its memory."""
    for path in files_in(folder):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def remember(folder: Path) -> None:
    """Reads the files, so that the system has them in its memory."""
    for path in files_in(folder):
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


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
