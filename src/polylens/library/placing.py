"""Gives the pages of an index of an earlier version the places of their words, without embedding anything again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from polylens.documents.pdf_processes import PdfProcesses
from polylens.library.reading import read_files
from polylens.types import Word

if TYPE_CHECKING:
    import pyarrow as pa

    from polylens.index.table.snapshot import Snapshot

Places = dict[int, tuple[tuple[Word, ...], tuple[int, int] | None]]
"""Words and size of the picture, by the page's number."""


def placed_files(
    folder: Path, files: Sequence[str], snapshot: Snapshot, *, max_pixels: int, pdf_processes: int = 0
) -> Iterator[tuple[str, pa.Table]]:
    """Reads files again and yields their stored pages, vectors and all, with the places of their words.

    A file that cannot be read keeps what it has. So does a page, which is taken for one without a picture.

    Args:
        folder: Where the files are.
        files: Files of the index that have not changed since it was made.
        snapshot: The index.
        max_pixels: Largest area of a drawn page, as when they were embedded.
        pdf_processes: The number of processes that read PDFs; 0 reads them in this one.
    """
    places: Places = {}
    to_read = [(file, folder / file) for file in files]
    with PdfProcesses(pdf_processes) as pdfs, closing(read_files(to_read, max_pixels, pdfs)) as steps:
        for step in steps:
            if step.page is not None:
                image = step.page.image
                places[step.page.number] = step.page.words, None if image is None else image.size
                continue
            if not step.reason:
                yield step.file, _with_places(snapshot.pages_of(step.file), places)
            places = {}


def _with_places(rows: pa.Table, places: Places) -> pa.Table:
    import pyarrow as pa

    from polylens.index.ranking.word_boxes import pack

    stored = zip(rows.column("page").to_pylist(), rows.column("text").to_pylist(), strict=True)
    packed = pa.array([pack(text, *places.get(page, ((), None))) for page, text in stored], pa.binary())
    return rows.set_column(rows.schema.get_field_index("words"), "words", packed)
