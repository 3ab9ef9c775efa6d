"""The two pools of a bulk embedding: actors that read files into pages, and actors that embed pages.

A step (`library.reading.Step`) travels as one value of a column, with the number of its file in place of the file. Ray
restarts an actor that dies and repeats the batch that it was at.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from polylens.documents.ocr.languages import OFF
from polylens.documents.ocr.page_reader import Installed, PageReader
from polylens.documents.reader_processes import readers
from polylens.errors import DocumentError, ImageError, InputError, StorageUnavailableError
from polylens.library.page_embedding import PageEmbedder, embed_apart, page_row, prepare_page
from polylens.library.reading import Opener, Step, read_files, with_words
from polylens.types import Kind, Page

Batch = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that each embedding actor loads for itself, with the arguments of `polylens.load`."""

    name: str
    engine: str | None = None
    quantization: str | None = None

    def __call__(self) -> PageEmbedder:
        from polylens.runtime.embedder import load

        return load(self.name, engine=self.engine, quantization=self.quantization)


@dataclass(frozen=True, slots=True)
class ToRead:
    """A file that a reading actor is to read."""

    number: int
    place: str
    """Its path on every node, or `s3://BUCKET/KEY`."""
    only: tuple[int, ...]
    """The numbers of the pages that are wanted; none means all."""


@dataclass(frozen=True, slots=True)
class Done:
    """A step that comes back to the driver."""

    step: Step[int]
    kind: Kind | None = None
    """That of the document."""
    actor: int = 0
    """The process that embedded it."""
    seconds: float = 0.0
    """That its model took, the page's share of the batch."""
    row_bytes: int = 0
    """Of its row, which stays where it was made."""
    failure: str = ""
    """Why the storage of the files cannot be used, which is no fault of the file."""


def packed(values: list[Any]) -> Batch:
    """Values as a column of bytes, which Ray moves without looking at them."""
    column = np.empty(len(values), object)
    column[:] = [pickle.dumps(value, protocol=5) for value in values]
    return {"step": column}


def unpacked(batch: Mapping[str, Any]) -> list[Any]:
    """The values of such a column. They come from this program's own processes only."""
    return [pickle.loads(value) for value in batch["step"]]


class Reading:
    """Opens files and draws their pages; each is one of a pool of actors.

    Args:
        max_pixels: Largest area of a page.
        ocr: The setting of OCR.
    """

    def __init__(self, max_pixels: int, ocr: str) -> None:
        self._max_pixels = max_pixels
        self._stack = contextlib.ExitStack()
        self._reader: PageReader | None = None
        if ocr != OFF:
            reader = self._stack.enter_context(PageReader(ocr, Installed.here()))
            self._reader = reader if reader.can_read else None

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        for job in unpacked(batch):
            try:
                with _here(job.place) as path:
                    yield from self._pages(job, path)
            except DocumentError as error:
                yield packed([Done(Step(job.number, Path(job.place), reason=str(error)))])
            except StorageUnavailableError as error:
                yield packed([Done(Step(job.number, Path(job.place)), failure=str(error))])

    def _pages(self, job: ToRead, path: Path) -> Iterator[Batch]:
        opener = _Kinds(readers(), self._max_pixels)
        steps = read_files([(job.number, path)], opener, lambda _: frozenset(job.only))
        with (
            contextlib.closing(opener),
            contextlib.closing(steps),
            with_words(steps, self._max_pixels, self._reader, threads=1) as worded,
        ):
            for step in worded:
                yield packed([Done(replace(step, path=Path(job.place)), opener.kind)])


class _Kinds(Opener):
    """An opener that remembers the kind of the document that it opened last."""

    kind: Kind | None = None

    def open(self, path: Path) -> Any:
        document = super().open(path)
        self.kind = document.kind
        return document


@contextlib.contextmanager
def _here(place: str) -> Iterator[Path]:
    """A file on this machine; an object is there for the block only."""
    if "://" not in place:
        yield Path(place)
        return
    from polylens.index.storage.bucket import BucketStorage

    address, _, name = place.rpartition("/")
    with tempfile.TemporaryDirectory(prefix="polylens-") as folder:
        path = Path(folder, name)
        try:
            path.write_bytes(BucketStorage(address).read(name))
        except FileNotFoundError as error:
            raise DocumentError(f"{place} has gone since it was listed") from error
        yield path


class Embedding:
    """Embeds pages; each is one of a pool of actors, and has the model for itself.

    Its blocks have the rows of the index in a column of their own, which the driver does not look at; see `saving`.

    Args:
        model: Gives the model.
        pool: The pooling factor of the index's multi-vectors.
    """

    def __init__(self, model: Callable[[], PageEmbedder], pool: int) -> None:
        self._embedder = model()
        self._pool = pool

    def __call__(self, batch: Batch) -> Batch:
        done: list[Done] = unpacked(batch)
        rows = np.full(len(done), b"", object)
        ready: dict[int, tuple[Any, ...]] = {}
        for at, each in enumerate(done):
            if each.step.page is not None:
                try:
                    ready[at] = prepare_page(self._embedder, each.step.page)
                except InputError as error:
                    reason = error.message if isinstance(error, ImageError) else str(error)
                    done[at] = _refused(each, reason)
        started = time.perf_counter()
        embeddings = embed_apart(self._embedder, list(ready.values()))
        seconds = (time.perf_counter() - started) / max(1, len(ready))
        for at, embedding in zip(ready, embeddings, strict=True):
            each = done[at]
            assert each.step.page is not None and each.kind is not None
            if isinstance(embedding, str):
                done[at] = _refused(each, embedding)
                continue
            rows[at] = pickle.dumps(page_row(each.kind, each.step.page, embedding, self._pool), protocol=5)
            done[at] = replace(each, actor=os.getpid(), seconds=seconds, row_bytes=len(rows[at]))
        return {
            **packed([replace(each, step=_without_content(each.step)) for each in done]),
            "row": rows,
            "file": np.array([each.step.file for each in done], np.int64),
            "page": np.array([each.step.page.number if each.step.page else 0 for each in done], np.int64),
        }


def _without_content(step: Step[int]) -> Step[int]:
    """A step as the driver needs it: which page it is, and what befell it."""
    return step if step.page is None else replace(step, page=Page(step.page.number, None, ""))


def _refused(each: Done, reason: str) -> Done:
    return replace(each, step=replace(each.step, refused=reason))
