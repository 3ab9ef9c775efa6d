"""The same synthetic pages in LanceDB's own multi-vector search and in Qdrant Edge, beside this project's index.

    python benchmarks/index_peers.py [--pages 20000] [--vectors 64] [--queries 20] [--peers-env FOLDER] [--json FILE]

The pages and queries are those of index_scale.py. Recall is that of the ten best pages by exact MaxSim over all of
them. LanceDB is asked with its IVF_PQ index of the token vectors, refined tenfold; Qdrant Edge as this project works:
the 1,024 nearest dense vectors (HNSW), then its own exact MaxSim. `--peers-env` names a folder where `pip install
--target FOLDER --no-deps qdrant-edge-py` put it; without that, it is left out. fast-plaid needs another torch than
this project does, and is not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import index_scale
import lancedb
import numpy as np
import pyarrow as pa
from index_scale import DIM, TOKEN_DIM, TOP, page_of, query_for
from lancedb.index import IvfPq

from polylens.evaluate.machine import processor
from polylens.index.ranking.late import maxsim
from polylens.index.search import search
from polylens.index.table.store import Store
from polylens.types import Embedding

LOT = 500  # pages added at a time
CANDIDATES = 1_024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=20_000)
    parser.add_argument("--vectors", type=int, default=64)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--peers-env", type=Path, help="folder that holds qdrant_edge")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.peers_env:
        sys.path.append(str(options.peers_env))
    rng = np.random.default_rng(7)
    queries = [query_for(rng, int(rng.integers(0, options.pages)), options.vectors) for _ in range(options.queries)]
    best = exact(options.pages, options.vectors, queries)
    rows = []
    for name, make in (("polylens", Polylens), ("LanceDB", Lance), ("Qdrant Edge", Edge)):
        with tempfile.TemporaryDirectory(prefix="polylens-peers-", dir=Path.cwd()) as folder:
            try:
                rows.append(
                    {"index": name, **measured(make, Path(folder), options.pages, options.vectors, queries, best)}
                )
            except ModuleNotFoundError as missing:
                rows.append({"index": name, "left out": str(missing)})
        print(json.dumps(rows[-1]), flush=True)
    result = {"pages": options.pages, "vectors": options.vectors, "rows": rows}
    result["hardware"] = f"{os.cpu_count()} cores, {processor()}"
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def exact(pages: int, vectors: int, queries: list[Embedding]) -> list[set[int]]:
    """The numbers of the ten best pages of each query, by MaxSim over all pages."""
    scores: list[list[Any]] = [[] for _ in queries]
    for first in range(0, pages, LOT):
        tokens = [page_of(number, vectors)[1] for number in range(first, min(pages, first + LOT))]
        for query, each in zip(queries, scores, strict=True):
            each.append(maxsim(query.multivector, tokens))
    return [set(np.argsort(-np.concatenate(each))[:TOP].tolist()) for each in scores]


def measured(
    make: Callable[[Path, int, int], Any], folder: Path, pages: int, vectors: int, queries: list[Embedding], best: Any
) -> dict[str, float]:
    """Adding, bytes, times and recall of one index."""
    began = time.monotonic()
    index = make(folder / "index", pages, vectors)
    seconds = time.monotonic() - began
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    times, shares = [], []
    for query in queries:  # once to warm up
        index.ask(query)
    for query, wanted in zip(queries, best, strict=True):
        tick = time.monotonic()
        found = index.ask(query)
        times.append(1000 * (time.monotonic() - tick))
        shares.append(len(wanted & set(found)) / TOP)
    return {
        "pages/s": round(pages / seconds, 1),
        "bytes/page": round(size / pages),
        "p50 ms": round(float(np.percentile(times, 50)), 1),
        "p95 ms": round(float(np.percentile(times, 95)), 1),
        f"recall@{TOP}": round(float(np.mean(shares)), 3),
    }


class Polylens:
    """This project's index."""

    def __init__(self, folder: Path, pages: int, vectors: int) -> None:
        index_scale.fill(folder, pages, vectors)
        self._snapshot = Store.open(folder).snapshot()

    def ask(self, query: Embedding) -> list[int]:
        hits = search(self._snapshot, query, TOP, by="late")
        return [int(hit.file.removesuffix(".txt")) + hit.page - 1 for hit in hits]


class Lance:
    """LanceDB's own search by multi-vectors."""

    def __init__(self, folder: Path, pages: int, vectors: int) -> None:
        kind = pa.list_(pa.list_(pa.float32(), TOKEN_DIM))
        schema = pa.schema([("number", pa.int32()), ("vector", kind)])
        self._table = lancedb.connect(folder).create_table("pages", schema=schema)
        for first in range(0, pages, LOT):
            numbers = range(first, min(pages, first + LOT))
            tokens = [page_of(number, vectors)[1].astype(np.float32).tolist() for number in numbers]
            self._table.add(pa.table({"number": pa.array(numbers, pa.int32()), "vector": pa.array(tokens, kind)}))
        self._table.create_index("vector", config=IvfPq(distance_type="cosine"))

    def ask(self, query: Embedding) -> list[int]:
        found = self._table.search(query.multivector, vector_column_name="vector").refine_factor(10).limit(TOP)
        return found.select(["number", "_distance"]).to_arrow().column("number").to_pylist()


class Edge:
    """Qdrant Edge: dense vectors by HNSW, then its own MaxSim over what they found."""

    def __init__(self, folder: Path, pages: int, vectors: int) -> None:
        import qdrant_edge as q

        folder.mkdir()
        late = q.EdgeVectorParams(
            TOKEN_DIM,
            q.Distance.Dot,
            on_disk=True,
            datatype=q.VectorStorageDatatype.Float16,
            multivector_config=q.MultiVectorConfig(q.MultiVectorComparator.MaxSim),
            hnsw_config=q.HnswIndexConfig(m=0, ef_construct=0, full_scan_threshold=0),
        )
        self._q = q
        self._shard = q.EdgeShard.create(
            str(folder), q.EdgeConfig(vectors={"dense": q.EdgeVectorParams(DIM, q.Distance.Dot), "late": late})
        )
        for first in range(0, pages, LOT):
            made = [(number, *page_of(number, vectors)) for number in range(first, min(pages, first + LOT))]
            points = [
                q.Point(number, {"dense": dense.tolist(), "late": tokens.astype(np.float32).tolist()})
                for number, dense, tokens in made
            ]
            self._shard.update(q.UpdateOperation.upsert_points(points))
        self._shard.optimize()

    def ask(self, query: Embedding) -> list[int]:
        q = self._q
        near = q.Prefetch(CANDIDATES, q.Query.Nearest(query.dense.tolist(), using="dense"))
        nearest = q.Query.Nearest(query.multivector.tolist(), using="late")
        return [found.id for found in self._shard.query(q.QueryRequest(TOP, query=nearest, prefetches=[near]))]


if __name__ == "__main__":
    main()
