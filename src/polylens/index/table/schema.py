"""The columns of the table of pages, and pages as its rows.

Shapes: T tokens of a page.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from polylens.index.ranking import full_text
from polylens.index.ranking.language import UNTOLD
from polylens.index.ranking.word_boxes import pack
from polylens.index.table.manifest import Manifest
from polylens.types import FloatArray, Kind, Word

TOKEN_DIM = 128  # numbers per vector of a multi-vector, unless a model has another width

HalfArray = npt.NDArray[np.float16]

FILE_COLUMNS = ["file", "hash", "size", "mtime_ns", "model_id"]
PAGE_COLUMNS = ["page", "kind", "text", "language", "words", "dense", "multivector"]
STREAM_PAGES = 64  # pages of a larger commit in memory at a time
POOL_KEY = "polylens.pool"  # in the metadata of the schema
TOKENS_KEY = "polylens.tokens"  # in that of the column of multi-vectors: the file that names their index
BOUND_KEY = "polylens.tokens.bound"  # and the largest row that it knows

_KEY = {"lance-schema:unenforced-primary-key": "true"}
"""Marks the columns by which Lance tells that two writers add the same page at the same time; see `is_keyed`."""

_ALWAYS = {"polylens.words": "always"}
"""Marks the column of words of a table all of whose pages were asked where their words stand; see `asks_all_pages`."""


@dataclass(frozen=True, slots=True)
class PageRow:
    """One page, ready to be stored."""

    page: int  # from 1
    kind: Kind
    text: str
    dense: FloatArray
    multivector: HalfArray
    language: str = UNTOLD  # ISO 639 code
    words: Sequence[Word] = ()
    size: tuple[int, int] | None = None  # width and height of the picture in pixels; None without one


@dataclass(frozen=True, slots=True)
class FilePages:
    """All pages of one file, ready to be stored."""

    file: str  # relative, POSIX
    hash: str
    size: int  # bytes
    mtime_ns: int
    rows: pa.Table  # with the columns of a page; see `page_table`


def page_schema(dim: int, token_dim: int, pool: int) -> pa.Schema:
    """The columns of the table.

    Args:
        dim: Numbers per dense vector.
        token_dim: Numbers per vector of a multi-vector.
        pool: The pooling factor, kept in the metadata so that a lost manifest can be written anew.
    """
    return pa.schema(
        [
            pa.field("file", pa.string(), nullable=False, metadata=_KEY),
            pa.field("page", pa.int32(), nullable=False, metadata=_KEY),
            ("kind", pa.string()),
            ("text", pa.string()),
            ("dense", pa.list_(pa.float32(), dim)),
            ("multivector", pa.list_(pa.list_(pa.float16(), token_dim))),
            ("hash", pa.string()),
            ("size", pa.int64()),
            ("mtime_ns", pa.int64()),
            ("model_id", pa.string()),
            ("language", pa.string()),  # last, where an index of an earlier version gets it
            pa.field("words", pa.binary(), metadata=_ALWAYS),  # see `ranking.word_boxes`
        ],
        metadata={POOL_KEY: str(pool)},
    )


def is_keyed(table: Any) -> bool:
    """Whether a table knows that file and page name a row, so that several writers may commit to it at once.

    Without that, two merges that add the same new file at the same time both succeed, and it has its pages twice. A
    table of an earlier version does not know, and has one writer at a time until it is made anew.

    Args:
        table: LanceDB's table of pages.
    """
    return all(not table.schema.field(name).nullable for name in ("file", "page"))


def asks_all_pages(table: Any) -> bool:
    """Whether every page of a table was asked where its words stand.

    A table of an earlier version has pages that were not, null in the column. Only reading the whole column would tell
    (Lance looks for nulls by decoding it: 4 MB of 8,000 pages with 500 bytes each), so the others say so.

    Args:
        table: LanceDB's table of pages.
    """
    metadata = (table.schema.field("words").metadata or {}) if "words" in table.schema.names else {}
    return all(metadata.get(key.encode()) == value.encode() for key, value in _ALWAYS.items())


def page_table(rows: Sequence[PageRow], dim: int, token_dim: int = TOKEN_DIM) -> pa.Table:
    """Pages of one file as the columns in which they are stored.

    Args:
        rows: The pages.
        dim: Numbers per dense vector.
        token_dim: Numbers per vector of a multi-vector.
    """
    for row in rows:
        assert row.dense.shape == (dim,), f"dense vector of {row.dense.shape}, the index takes ({dim},)"
        assert row.multivector.shape == (len(row.multivector), token_dim), row.multivector.shape
        assert np.isfinite(row.dense).all() and np.isfinite(row.multivector).all(), "a vector is not finite"
    none = np.zeros((0, token_dim), np.float16)
    tokens = np.concatenate([none, *(row.multivector.astype(np.float16, copy=False) for row in rows)])
    ends = np.cumsum([0, *(len(row.multivector) for row in rows)], dtype=np.int32)
    dense = np.concatenate([np.zeros(0, np.float32), *(row.dense.astype(np.float32, copy=False) for row in rows)])
    texts = [full_text.normalised(row.text) for row in rows]
    columns = {
        "page": pa.array([row.page for row in rows], pa.int32()),
        "kind": pa.array([row.kind for row in rows], pa.string()),
        "text": pa.array(texts, pa.string()),
        "language": pa.array([row.language for row in rows], pa.string()),
        "words": pa.array(list(map(_packed, texts, rows)), pa.binary()),
        "dense": pa.FixedSizeListArray.from_arrays(pa.array(dense), dim),
        "multivector": pa.ListArray.from_arrays(
            pa.array(ends), pa.FixedSizeListArray.from_arrays(pa.array(tokens.reshape(-1)), token_dim)
        ),
    }
    table = pa.table(columns)
    return table.cast(table.schema.set(0, pa.field("page", pa.int32(), nullable=False)))


def _packed(text: str, row: PageRow) -> bytes:
    return pack(text, row.words, row.size)


def whole_rows(file: FilePages, manifest: Manifest) -> pa.Table:
    """The columns of a file's pages together with those of the file itself, as the table has them."""
    num = file.rows.num_rows
    constants = (file.file, file.hash, file.size, file.mtime_ns, manifest.model_id)
    columns: dict[str, Any] = dict(zip(FILE_COLUMNS, constants, strict=True))
    schema = page_schema(manifest.dim, manifest.token_dim, manifest.pool)
    arrays = [
        pa.repeat(pa.scalar(columns[field.name], field.type), num)
        if field.name in columns
        else file.rows.column(field.name).cast(field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def streamed_rows(files: Sequence[FilePages], manifest: Manifest) -> pa.RecordBatchReader:
    """The rows of files as a stream, some pages at a time, so that they are not in memory twice."""
    batches = (batch for file in files for batch in whole_rows(file, manifest).to_batches(max_chunksize=STREAM_PAGES))
    schema = page_schema(manifest.dim, manifest.token_dim, manifest.pool)
    return pa.RecordBatchReader.from_batches(schema, batches)


def multivectors(column: Any, token_dim: int) -> Iterator[HalfArray]:
    """The rows of a `list<fixed_size_list<half>[token_dim]>` column as arrays `[T, token_dim]`, without copying.

    Args:
        column: The column of one record batch.
        token_dim: Numbers per vector.
    """
    starts = column.offsets.to_numpy()
    vectors = column.values.flatten().to_numpy(zero_copy_only=False).reshape(-1, token_dim)
    for start, end in itertools.pairwise(starts):
        yield vectors[start:end]


def multivectors_of(table: Any, rows: Sequence[int]) -> dict[int, HalfArray]:
    """The multi-vectors of some rows of a table, `[T, token_dim]` each, by the rows; those that have gone are left out.

    They come in the order of `rows`, whatever the storage's is: the last bits of a product depend on its neighbours.

    Args:
        table: LanceDB's table of pages.
        rows: At least one.
    """
    found: dict[int, HalfArray] = {}
    width = table.schema.field("multivector").type.value_type.list_size
    query = table.take_row_ids(list(rows)).select(["multivector"]).with_row_id()
    for batch in query.to_arrow().to_batches():
        found.update(
            zip(batch.column("_rowid").to_pylist(), multivectors(batch.column("multivector"), width), strict=True)
        )
    return {row: found[row] for row in rows if row in found}
