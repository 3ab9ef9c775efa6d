"""The files of the index of token vectors: Arrow tables beside those of LanceDB, which are written once and never
changed, and which a search maps into memory and reads only where it looks.

They lie in the folder `tokens` of LanceDB's table, so they are copied and dropped with it. Which of them belong to a
version of the table is written in that version itself; see `token_index`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from polylens.index.ranking.centroids import Centroids
from polylens.index.ranking.inverted import Segment
from polylens.types import FloatArray

FOLDER = "tokens"  # in that of LanceDB's table
PAGES, LISTS = ".pages.arrow", ".lists.arrow"  # what a segment consists of
FORMAT = 1

Opener = Callable[[str], pa.NativeFile]
"""Opens one of these files by its name."""


@dataclass(frozen=True, slots=True)
class Generation:
    """Which files make up the index of token vectors at one moment."""

    centroids: str
    segments: tuple[str, ...]
    trained_on: int
    """Pages that there were when the centroids were found."""
    bound: int
    """The largest row that was there when it was made: rows beyond it are unknown to it."""

    def to_bytes(self) -> bytes:
        told = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({"format": FORMAT, **told}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Generation | None:
        """A generation as it was written; None for one of a later format."""
        told = json.loads(content)
        if told.pop("format") != FORMAT:
            return None
        return cls(**{**told, "segments": tuple(told["segments"])})

    @property
    def files(self) -> set[str]:
        return {self.centroids, *(each + kind for each in self.segments for kind in (PAGES, LISTS))}


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """Some pages by their centroids, and which rows of the table they are."""

    name: str
    segment: Segment
    rows: npt.NDArray[np.uint64]
    """`[P]`, ascending."""
    keys: npt.NDArray[np.uint64]
    """`[P]`: what a page is known by once it has another row; see `token_index.keys_of`."""
    pages: pa.Table
    """`file`, `page` and `has_text` of each page, `[P]`."""


def centroids_to_bytes(vectors: FloatArray) -> bytes:
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    return _to_bytes(pa.table({"centroid": column}))


def read_centroids(file: pa.NativeFile) -> Centroids:
    column = _read(file).column("centroid").chunk(0)
    return Centroids(column.flatten().to_numpy().reshape(len(column), -1))


def segment_to_bytes(segment: Segment, pages: pa.Table) -> tuple[bytes, bytes]:
    """The contents of the two files of a segment.

    Args:
        segment: The centroids of some pages.
        pages: `row`, `key`, `file`, `page` and `has_text` of the same pages.
    """
    codes = pa.ListArray.from_arrays(pa.array(segment.code_ends), pa.array(segment.codes))
    lists = pa.ListArray.from_arrays(pa.array(segment.list_ends), pa.array(segment.pages))
    return _to_bytes(pages.append_column("codes", codes)), _to_bytes(pa.table({"pages": lists}))


def read_segment(name: str, open_file: Opener) -> StoredSegment:
    pages, lists = _read(open_file(name + PAGES)), _read(open_file(name + LISTS))
    codes, listed = pages.column("codes").chunk(0), lists.column("pages").chunk(0)
    code_ends, list_ends = codes.offsets.to_numpy(), listed.offsets.to_numpy()
    segment = Segment(code_ends, codes.values.to_numpy(), list_ends, listed.values.to_numpy())
    rows, keys = (pages.column(name).chunk(0).to_numpy() for name in ("row", "key"))
    return StoredSegment(name, segment, rows, keys, pages.select(["file", "page", "has_text"]))


def opener(folder: Path) -> Opener:
    """Maps the files of a folder into memory."""
    return lambda name: pa.memory_map(str(folder / name))


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return bytes(sink.getvalue())


def _read(file: Any) -> pa.Table:
    return pa.ipc.open_file(file).read_all()
