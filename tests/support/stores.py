"""Small indexes with random vectors."""

from __future__ import annotations

import itertools
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from polylens.index.table.schema import FilePages, PageRow, page_table
from polylens.index.table.store import Store

DIM = 8


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    values = rng.standard_normal(shape).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def pages(file: str, num_pages: int, seed: int = 0, text: str = "text") -> FilePages:
    rng = np.random.default_rng(seed)
    rows = [
        PageRow(
            number,
            "pdf",
            f"{text} {number}",
            unit(rng, DIM),
            unit(rng, int(rng.integers(1, 9)), 128).astype(np.float16),
        )
        for number in range(1, num_pages + 1)
    ]
    return FilePages(file, f"hash {seed}", 1000 + seed, 10**18 + seed, page_table(rows, DIM))


FILES = {  # file -> when it was modified
    "a.pdf": "2026-10-31T23:59:59.999",
    "notes/b.pdf": "2026-11-01T00:00:00",
    "notes/old/it's.txt": "2026-11-30T23:59:59.999",
    "notesb/c.txt": "2026-12-01T00:00:00",
}
LANGUAGES = ["de", "en", "", "zh", "de"]


def store_of(folder: Path) -> tuple[Store, list[dict[str, Any]]]:
    """A small index, opened for reading, and its pages as plain dictionaries."""
    rng, pages = np.random.default_rng(0), []
    with Store.create(folder / "index", "model", DIM) as store:
        for file, modified in FILES.items():
            when = datetime.fromisoformat(modified)
            kinds = itertools.cycle(["pdf", "image"] if file.endswith("pdf") else ["text"])
            rows = []
            for number, (kind, language) in enumerate(zip(kinds, LANGUAGES, strict=False), start=1):
                dense = rng.standard_normal(DIM).astype(np.float32)
                rows.append(PageRow(number, kind, "word", dense, np.ones((1, 128), np.float16), language))
                pages.append({"file": file, "page": number, "kind": kind, "language": language, "when": when})
            store.commit([FilePages(file, "h", 1, round(when.timestamp() * 1e9), page_table(rows, DIM))])
    return Store.open(folder / "index"), pages
