"""An index as files that other programs read: Parquet, or JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from polylens.atomic import write_beside
from polylens.errors import InputError
from polylens.index.ranking.word_boxes import unpack
from polylens.index.storage.base import Storage
from polylens.index.table.store import Store

SUFFIXES = (".parquet", ".jsonl")

_BOX = [(side, pa.float32()) for side in ("left", "top", "width", "height")]
_WORDS = pa.list_(pa.struct([("text", pa.string()), *_BOX]))


def export(index: Path | Storage, out: Path) -> int:
    """Write every page with its text, its vectors and the model that made them.

    Columns: `file`, `page`, `kind`, `text`, `language` (ISO 639), `mtime_ns` (when the file was modified, nanoseconds
    since 1970), `model_id`, `dense` (float32), `multivector` (lists of float16; in JSON lines numbers), `words` (each
    word of the text with its box in shares of the page's picture; null where that is not known). The file is written
    beside and renamed, so that it is either whole or not there.

    Args:
        index: The folder of the index, or its storage.
        out: `.parquet` or `.jsonl`; replaced if it exists.

    Returns:
        Number of pages.

    Raises:
        InputError: The name of `out` ends otherwise, or the index is empty.
        LibraryNotFoundError: There is no index.
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"--out must end in {' or '.join(SUFFIXES)}, got {out.name!r}")
    store = Store.open(index)
    batches = map(_with_words, store.snapshot().batches())
    write = _parquet if out.suffix == ".parquet" else _json_lines
    with write_beside(out) as beside:
        return write(batches, beside)


def _with_words(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch whose words are readable: packed bytes become lists of words with their boxes."""
    packed = batch.column("words").to_pylist() if "words" in batch.schema.names else [None] * batch.num_rows
    found = []
    for text, stored in zip(batch.column("text").to_pylist(), packed, strict=True):
        boxes = unpack(stored)
        words = None if boxes is None else boxes.words(text)
        found.append(None if words is None else [{"text": word.text, **asdict(word.box)} for word in words])
    kept = {name: batch.column(name) for name in batch.schema.names if name != "words"}
    return pa.RecordBatch.from_pydict({**kept, "words": pa.array(found, _WORDS)})


def _parquet(batches: Iterator[pa.RecordBatch], out: Path) -> int:
    count = 0
    writer: pq.ParquetWriter | None = None
    try:
        for batch in batches:
            writer = writer or pq.ParquetWriter(out, batch.schema, compression="zstd")
            writer.write_batch(batch)
            count += batch.num_rows
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise InputError("the index is empty, there is nothing to export")
    return count


def _json_lines(batches: Iterator[pa.RecordBatch], out: Path) -> int:
    count = 0
    with out.open("wb") as file:
        for batch in batches:
            for row in batch.to_pylist():
                row = {**row, **{name: np.asarray(row[name], dtype=np.float32) for name in ("dense", "multivector")}}
                file.write(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))
                count += 1
    return count
