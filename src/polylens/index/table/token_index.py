"""The index of token vectors of a table: by it, a search finds the pages that late interaction then scores exactly.

It is made and kept by whoever compacts the index (`keep_current`), from more pages on than are scored exactly anyway.
It is an aid, not the data: pages that it does not know yet are scored as they are, and what it says of pages that have
gone is passed over. LanceDB numbers rows by the file that they lie in, and gives a page another row when it merges
files; such a page is known again by its content, and needs no vector to be read.

Which of the files in `tokens` belong to a version of the table is written in the metadata of the column of
multi-vectors: hence in that version itself, in the same step for every reader.

Shapes: E numbers per token vector, P pages of a segment.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from polylens.index.ranking import inverted
from polylens.index.ranking.centroids import SAMPLE, Centroids, num_centroids
from polylens.index.ranking.inverted import Segment
from polylens.index.storage.base import Storage
from polylens.index.table.conflicts import retried
from polylens.index.table.schema import BOUND_KEY, TOKENS_KEY, multivectors_of
from polylens.index.table.token_files import (
    FOLDER,
    LISTS,
    PAGES,
    Generation,
    Opener,
    StoredSegment,
    centroids_to_bytes,
    opener,
    read_centroids,
    read_segment,
    segment_to_bytes,
)
from polylens.types import FloatArray

Told = Callable[[int, int], None]
"""Called with the pages that are done, and all that are to be."""

INDEXED_FROM = 1_025
"""Pages from which on there is an index: so many fewer are all scored exactly."""

UNINDEXED = 256
"""Pages that the index may lack after an update: each search scores them exactly, in 30 ms."""

MOST_UNINDEXED = 1_024
"""Pages that the index may lack in the middle of one; what is beyond them is found by the other stages alone."""

SEGMENT_PAGES = 262_144
"""Most pages of a segment: making one takes about 500 MB."""

RETRAINED_AT = 4
"""Times as many pages as the centroids were found for, from which on they are found anew."""

_READ = 256  # pages whose vectors are read at a time: 50 MB where a page has 768
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio, by which neighbouring numbers part


class TokenIndex:
    """The index of token vectors at one moment, mapped into memory.

    Args:
        generation: Which files it consists of.
        centroids: Those that its pages are told by.
        segments: Its pages.
    """

    def __init__(self, generation: Generation, centroids: Centroids, segments: Sequence[StoredSegment]) -> None:
        self.generation = generation
        self.centroids = centroids
        self.segments = segments
        self.drawn: list[npt.NDArray[np.float16]] | None = None
        """The multi-vectors of some pages at random, once someone has read them."""

    def nearest(
        self, query: FloatArray, n: int, among: npt.NDArray[np.uint64] | None = None
    ) -> list[tuple[int, str, int, bool]]:
        """The pages whose centroids are nearest to a query, best first, as row, file, page, whether it has a text.

        Some may have gone from the table since.

        Args:
            query: Unit vectors, `[S, E]`.
            n: Most pages returned.
            among: The rows that are looked among; None is all.
        """
        similar = inverted.similarities(query, self.centroids.vectors)
        keep = None if among is None else [np.isin(each.rows, among) for each in self.segments]
        best = inverted.nearest_pages(similar, [each.segment for each in self.segments], n, keep)
        found: dict[tuple[int, int], tuple[int, str, int, bool]] = {}
        for number, stored in enumerate(self.segments):
            pages = [page for segment, page in best if segment == number]
            told = stored.pages.take(pa.array(pages, pa.int64()))
            columns = (told.column(name).to_pylist() for name in ("file", "page", "has_text"))
            rows = zip(stored.rows[pages].tolist(), *columns, strict=True)
            found.update(zip(((number, page) for page in pages), rows, strict=True))
        return [found[place] for place in best]

    def spread(self, n: int, among: npt.NDArray[np.uint64] | None = None) -> list[int]:
        """Rows spread evenly over the pages, `n` at most; some may have gone since. `among` as above."""
        parts = [each.rows for each in self.segments]
        rows = np.concatenate([np.zeros(0, np.uint64), *parts])
        if among is not None:
            rows = rows[np.isin(rows, among)]
        return rows[np.linspace(0, len(rows) - 1, min(n, len(rows)), dtype=np.int64)].tolist() if len(rows) else []


def generation_of(table: Any) -> str:
    """The name of the generation that belongs to a version of a table; "" where there is none."""
    metadata = table.schema.field("multivector").metadata or {}
    return str(metadata.get(TOKENS_KEY.encode(), b"").decode())


def token_index_of(table: Any) -> TokenIndex | None:
    """The index of a version of a table, which lies on this machine's disk; None where it has none, or does not.

    Args:
        table: LanceDB's table of pages.
    """
    name = generation_of(table)
    try:
        return _mapped(Path(str(table.uri), FOLDER), name) if name else None
    except (OSError, ValueError):  # on object storage, or just superseded
        return None


@lru_cache(maxsize=4)
def _mapped(folder: Path, name: str) -> TokenIndex | None:
    """A generation of files that never change, hence kept for the next search."""
    return _loaded((folder / name).read_bytes(), opener(folder))


def _loaded(content: bytes, open_file: Opener) -> TokenIndex | None:
    """The index that a generation consists of; None for one of a later format."""
    generation = Generation.from_bytes(content)
    if generation is None:
        return None
    segments = [read_segment(each, open_file) for each in generation.segments]
    return TokenIndex(generation, read_centroids(open_file(generation.centroids)), segments)


def unindexed(table: Any, index: TokenIndex, where: str | None) -> list[tuple[int, str, int, bool]]:
    """The pages that an index does not know, as row, file, page, whether it has a text; at most `MOST_UNINDEXED`.

    Args:
        table: LanceDB's table of pages.
        index: Its index.
        where: SQL condition that narrows the pages; None for every page.
    """
    beyond = _beyond(index.generation.bound)
    if not table.count_rows(beyond):
        return []
    columns = {"file": "file", "page": "page", "has_text": "text != ''"}
    condition = f"{beyond} AND ({where})" if where else beyond
    found = table.search().where(condition).limit(MOST_UNINDEXED).select(columns).with_row_id(True).to_arrow()
    return list(zip(*(found.column(name).to_pylist() for name in ("_rowid", *columns)), strict=True))


def is_behind(table: Any) -> bool:
    """Whether a table has more pages than are scored exactly, and no index, or one that lacks many of them.

    Args:
        table: LanceDB's table of pages, on any storage.
    """
    if table.count_rows() < INDEXED_FROM:
        return False
    metadata = table.schema.field("multivector").metadata or {}
    bound = metadata.get(BOUND_KEY.encode())
    return bound is None or table.count_rows(_beyond(int(bound))) > UNINDEXED


def _beyond(bound: int) -> str:
    return f"_rowid > {bound:d}"


def keep_current(table: Any, storage: Storage, told: Told = lambda _done, _all: None) -> None:
    """Make the index of the pages as they are, and let the next version of the table name it.

    Whoever calls this has the lock of the index. Pages whose centroids are known, under this row or another one, are
    not read again.

    Args:
        table: LanceDB's table of pages, at its latest version.
        storage: Where it lies.
        told: Called with the pages that are done, and all that are to be.
    """
    writer = _Writer(table, storage, told)
    if writer.num_pages >= INDEXED_FROM:
        writer.write()


class _Writer:
    """One making of the index.

    Args:
        table: LanceDB's table of pages.
        storage: Where it lies.
        told: Called with the pages that are done, and all that are to be.
    """

    def __init__(self, table: Any, storage: Storage, told: Told) -> None:
        self._table = table
        self._told = told
        self._storage = storage
        self._folder = f"{table.name}.lance/{FOLDER}"
        found = table.search().select(["_rowid"]).with_row_id(True).to_arrow()
        self._rows = np.sort(found.column("_rowid").to_numpy())
        self.num_pages = len(self._rows)

    def write(self) -> None:
        """Write the files, name them in a new version of the table, and remove what no version needs."""
        old = self._old()
        if old is None or self.num_pages >= RETRAINED_AT * old.generation.trained_on:
            centroids, kept, trained_on = self._trained(), [], self.num_pages
            name = self._write(".centroids.arrow", centroids_to_bytes(centroids.vectors))
            known: list[StoredSegment] = []
        else:
            centroids, name, trained_on = old.centroids, old.generation.centroids, old.generation.trained_on
            known = list(old.segments)
            kept = [each for each in known if self._is_kept(each)]
        missing = np.setdiff1d(self._rows, np.concatenate([np.zeros(0, np.uint64), *(each.rows for each in kept)]))
        names = [each.name for each in kept]
        for start in range(0, len(missing), SEGMENT_PAGES):
            some = missing[start : start + SEGMENT_PAGES]
            names.append(self._segment(some, centroids, known, partial(self._tell, start, len(missing))))
        generation = Generation(name, tuple(names), trained_on, int(self._rows[-1]))
        self._publish(generation)

    def _tell(self, start: int, total: int, at: int) -> None:
        self._told(start + at, total)

    def _old(self) -> TokenIndex | None:
        """The index that there is."""
        name = generation_of(self._table)
        try:
            return _loaded(self._read(name), self._open) if name else None
        except (OSError, ValueError, KeyError):  # lost or broken: it is only an aid, and is made anew
            return None

    def _is_kept(self, stored: StoredSegment) -> bool:
        """Whether a segment is large and three quarters of its pages are still there under their rows."""
        alive = int(np.isin(stored.rows, self._rows).sum())
        return alive > 0.75 * len(stored.rows) and len(stored.rows) > SEGMENT_PAGES // 2

    def _trained(self) -> Centroids:
        """Centroids for the pages that there are, from the vectors of some of them."""
        order = np.random.default_rng(0).permutation(self.num_pages)
        first = self._vectors(self._rows[np.sort(order[:_READ])])
        mean = max(1.0, sum(map(len, first)) / len(first))
        num = num_centroids(int(mean * self.num_pages))
        pages = int(2 * num * SAMPLE / mean) + 1  # of each of which about half of the vectors are taken
        sample = [np.zeros((0, first[0].shape[1]), np.float16)]
        for start in range(0, min(pages, self.num_pages), _READ):
            rows = np.sort(order[start : min(pages, start + _READ)])
            sample += [each[start % 2 :: 2] for each in self._vectors(self._rows[rows])]
        return Centroids.train(np.concatenate(sample), num)

    def _segment(
        self,
        rows: npt.NDArray[np.uint64],
        centroids: Centroids,
        known: Sequence[StoredSegment],
        told: Callable[[int], None],
    ) -> str:
        """Write a segment of some rows, ascending, and return its name; tells at which of them it is."""
        pages = self._pages(rows)
        keys = pages.column("key").to_numpy()
        codes = _known_codes(keys, known)
        unknown = [at for at, each in enumerate(codes) if each is None]
        for start in range(0, len(unknown), _READ):
            some = unknown[start : start + _READ]
            vectors = self._vectors(rows[some])
            ends, found = inverted.page_codes(centroids.nearest(np.concatenate(vectors)), list(map(len, vectors)))
            for number, at in enumerate(some):
                codes[at] = found[ends[number] : ends[number + 1]]
            told(some[-1] + 1)
        told(len(rows))
        lengths = [0 if each is None else len(each) for each in codes]
        code_ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        joined = np.concatenate([np.zeros(0, np.uint16), *(each for each in codes if each is not None)])
        lists = inverted.transposed(code_ends, joined, len(centroids.vectors))
        contents = segment_to_bytes(Segment(code_ends, joined, *lists), pages)
        name = uuid.uuid4().hex
        for kind, content in zip((PAGES, LISTS), contents, strict=True):
            self._write(kind, content, name)
        return name

    def _pages(self, rows: npt.NDArray[np.uint64]) -> pa.Table:
        """`row`, `key`, `file`, `page` and `has_text` of some rows, which are ascending."""
        columns = {"file": "file", "page": "page", "hash": "hash", "has_text": "text != ''"}
        between = f"_rowid >= {rows[0]:d} AND _rowid <= {rows[-1]:d}"
        found = self._table.search().where(between).select(columns).with_row_id(True).to_arrow().sort_by("_rowid")
        found = found.filter(pa.array(np.isin(found.column("_rowid").to_numpy(), rows)))
        keys = keys_of(found.column("hash").to_pylist(), found.column("page").to_numpy())
        told = found.select(["file", "page", "has_text"])
        return told.append_column("row", pa.array(rows)).append_column("key", pa.array(keys)).combine_chunks()

    def _vectors(self, rows: npt.NDArray[np.uint64]) -> list[npt.NDArray[np.float16]]:
        """The multi-vectors of some rows, in their order."""
        return list(multivectors_of(self._table, rows.tolist()).values())

    def _publish(self, generation: Generation) -> None:
        """Let a new version of the table name the files, and remove all others."""
        name = self._write(".json", generation.to_bytes())
        told = {TOKENS_KEY: name, BOUND_KEY: str(generation.bound)}

        def attempt() -> None:
            self._table.checkout_latest()
            self._table.update_field_metadata({"path": "multivector", "metadata": told})

        retried(attempt, self._table.name)
        for file in self._storage.names(self._folder):
            if file not in {name, *generation.files}:
                self._storage.remove(f"{self._folder}/{file}")

    def _write(self, kind: str, content: bytes, name: str = "") -> str:
        """Write a file, and return its name."""
        name = f"{name or uuid.uuid4().hex}{kind}"
        self._storage.write(f"{self._folder}/{name}", content)
        return name

    def _read(self, name: str) -> bytes:
        return self._storage.read(f"{self._folder}/{name}")

    def _open(self, name: str) -> pa.NativeFile:
        folder = Path(str(self._table.uri), FOLDER)
        return opener(folder)(name) if folder.is_dir() else pa.BufferReader(self._read(name))


def keys_of(hashes: Sequence[str], pages: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
    """A number per page by the content of its file and its place there, whatever the file is called now.

    Args:
        hashes: Of the content of each page's file.
        pages: The page's number in it.
    """
    each = {told: int.from_bytes(hashlib.blake2b(told.encode(), digest_size=8).digest()) for told in set(hashes)}
    return np.array([each[told] for told in hashes], np.uint64) + pages.astype(np.uint64) * _MIX


def _known_codes(keys: npt.NDArray[np.uint64], known: Sequence[StoredSegment]) -> list[npt.NDArray[np.uint16] | None]:
    """The centroids of pages by their keys, as segments have them; None where none has."""
    found: list[npt.NDArray[np.uint16] | None] = [None] * len(keys)
    for stored in known:
        if not len(stored.keys):
            continue
        order = np.argsort(stored.keys, kind="stable")
        places = np.minimum(np.searchsorted(stored.keys, keys, sorter=order), len(order) - 1)
        pages = order[places]
        ends, codes = stored.segment.code_ends, stored.segment.codes
        for at in np.flatnonzero(stored.keys[pages] == keys).tolist():
            found[at] = codes[ends[pages[at]] : ends[pages[at] + 1]]
    return found
