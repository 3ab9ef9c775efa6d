"""Retrieval tasks in a folder: one's own data as a task of mteb, with nothing from a hub.

The folder is a data set of three tables in the form that mteb's `RetrievalDatasetLoader` reads: `corpus` (`id`, and
`text` or `image`), `queries` (the same) and `qrels` (`query-id`, `corpus-id`, `score`), each one parquet file, and a
`README.md` that names them.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from polylens.atomic import write_beside
from polylens.errors import InputError

TABLES = ("corpus", "queries", "qrels")
MAIN_SCORE = "main score: "  # before its name, in README.md
ROWS = 64  # of a table that are in memory at once: images are encoded as they come

README = (
    """---
configs:
"""
    + "".join(
        f"- config_name: {table}\n  data_files:\n  - split: test\n    path: {table}.parquet\n" for table in TABLES
    )
    + "---\n"
)


def write_folder(
    folder: str | Path,
    corpus: Iterable[tuple[str, str | PIL.Image.Image]],
    queries: Iterable[tuple[str, str | PIL.Image.Image]],
    qrels: Mapping[str, Mapping[str, int]],
    *,
    main_score: str = "ndcg_at_10",
) -> None:
    """Writes a retrieval task; `README.md` last, so that a folder which has it is complete.

    Args:
        folder: Created if it is missing.
        corpus: Documents by id, all texts or all images; images are stored losslessly.
        queries: Queries by id, in the same way.
        qrels: Query -> document -> relevance, 1 and above.
        main_score: The metric that counts, by mteb's name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").unlink(missing_ok=True)
    _write_items(folder / "corpus.parquet", corpus)
    _write_items(folder / "queries.parquet", queries)
    pairs = [(query, document, score) for query, found in qrels.items() for document, score in found.items()]
    columns = dict(zip(("query-id", "corpus-id", "score"), zip(*pairs, strict=True), strict=True))
    with write_beside(folder / "qrels.parquet") as beside:
        pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), beside)
    with write_beside(folder / "README.md") as beside:
        beside.write_text(f"{README}\n{MAIN_SCORE}{main_score}\n", encoding="utf-8")


def folder_task(folder: str | Path) -> AbsTaskRetrieval:
    """A folder as a task of mteb, named like the folder.

    Args:
        folder: As `write_folder` makes it. A README.md that names no main score means ndcg_at_10.

    Raises:
        InputError: It is no such folder.
    """
    place = Path(folder).expanduser().absolute()
    missing = [
        name for name in ("README.md", *(f"{table}.parquet" for table in TABLES)) if not (place / name).is_file()
    ]
    if missing:
        raise InputError(
            f"{place} must hold corpus.parquet, queries.parquet, qrels.parquet and README.md; "
            f"missing: {', '.join(missing)}"
        )
    kinds = [_modality(place / f"{table}.parquet") for table in ("queries", "corpus")]
    letters = {"text": "t", "image": "i"}
    metadata = TaskMetadata(
        name=place.name,
        description=f"The retrieval task in {place}",
        dataset={"path": str(place), "revision": str((place / "README.md").stat().st_mtime_ns)},
        type="Retrieval" if kinds == ["text", "text"] else "Any2AnyRetrieval",
        category="2".join(letters[kind] for kind in kinds),
        modalities=sorted(set(kinds), reverse=True),
        eval_splits=["test"],
        eval_langs=["mul-Zzzz"],
        main_score=_main_score(place / "README.md"),
    )
    return type("FolderTask", (AbsTaskRetrieval,), {"metadata": metadata})()


def _main_score(readme: Path) -> str:
    lines = readme.read_text(encoding="utf-8", errors="replace").splitlines()
    named = [line.removeprefix(MAIN_SCORE).strip() for line in lines if line.startswith(MAIN_SCORE)]
    return named[0] if named else "ndcg_at_10"


def _modality(file: Path) -> str:
    return "image" if "image" in pq.read_schema(file).names else "text"


def _write_items(file: Path, items: Iterable[tuple[str, str | PIL.Image.Image]]) -> None:
    writer: pq.ParquetWriter | None = None
    with write_beside(file) as beside:
        run: list[tuple[str, Any]] = []
        for item in items:
            run.append(item)
            if len(run) == ROWS:
                writer = _append(beside, writer, run)
                run = []
        if run or writer is None:
            writer = _append(beside, writer, run)
        writer.close()


def _append(file: Path, writer: pq.ParquetWriter | None, run: Sequence[tuple[str, Any]]) -> pq.ParquetWriter:
    are_images = bool(run) and not isinstance(run[0][1], str)
    values = [{"bytes": _png(value), "path": None} if are_images else value for _, value in run]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()}) if are_images else pa.string()
    table = pa.table(
        {
            "id": pa.array([key for key, _ in run], pa.string()),
            "image" if are_images else "text": pa.array(values, kind),
        }
    )
    if are_images:  # what the package `datasets` reads as its `Image`
        features = '{"info": {"features": {"id": {"dtype": "string", "_type": "Value"}, "image": {"_type": "Image"}}}}'
        table = table.replace_schema_metadata({"huggingface": features})
    if writer is None:
        writer = pq.ParquetWriter(file, table.schema)
    writer.write_table(table)
    return writer


def _png(image: PIL.Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
