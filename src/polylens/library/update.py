"""One run that brings an index up to date with its folder: it carries out a plan, and saves files as they finish.

`Library.update` is its caller.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from polylens.documents import open_document
from polylens.documents.scan import scan
from polylens.errors import ImageError, InputError
from polylens.library.page_embedding import PageEmbedder, embed_pages, page_row
from polylens.library.plan import Duplicate, NewContent, Unreadable, plan
from polylens.library.progress import Change, IsReady, Report, UpdateProgress
from polylens.library.reading import Step, pages_ahead
from polylens.library.saving import Saver, uninterrupted
from polylens.types import Kind

if TYPE_CHECKING:
    from polylens.index.table.schema import PageRow
    from polylens.index.table.store import Store

BATCH_PAGES = 8  # pages handed to the embedder at a time, or fewer where they have as many pixels as this:
BATCH_PIXELS = 50_000_000

LEAST_PDF_PAGES = 32  # from as many on, processes of their own read the PDFs of an update
MOST_PDF_PROCESSES = 8


@dataclass(slots=True)
class _Job:
    """A file whose pages are being embedded."""

    content: NewContent
    num_pages: int = field(init=False)  # as counted while scanning, then as they came
    rows: list[PageRow] = field(default_factory=list)
    is_read: bool = False
    has_failed: bool = False

    def __post_init__(self) -> None:
        self.num_pages = self.content.num_pages

    @property
    def file(self) -> str:
        return self.content.file

    @property
    def is_whole(self) -> bool:
        return self.is_read and not self.has_failed and len(self.rows) == self.num_pages


class Update:
    """One run of `Library.update`: scan, then embed batch by batch across files.

    Args:
        folder: The files.
        store: The index, open for writing.
        embedder: The model that the index is made with.
        progress: Called for each file and each batch of pages.
        is_ready: Whether a new or changed file is ready to be read.
        unreadable: Files that gave no pages in earlier runs; this run brings it up to date.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        embedder: PageEmbedder,
        progress: Callable[[UpdateProgress], None],
        is_ready: IsReady,
        unreadable: dict[str, Unreadable],
    ) -> None:
        self.report = Report()
        self._folder = folder
        self._store = store
        self._embedder = embedder
        self._progress = progress
        self._is_ready = is_ready
        self._unreadable = unreadable
        self._before = store.snapshot()
        self._known = self._before.files()
        self._saver = Saver(store, lambda saved, changes: self._tell("indexing", saved=saved, changes=changes))
        self._done_pages = self._total_pages = self._done_files = self._total_files = 0

    def run(self) -> None:
        """Bring the index up to date. What is finished is saved even where this ends early."""
        try:
            started = time.monotonic()
            jobs = self._scan()
            self.report.scan_seconds = time.monotonic() - started
            self._total_files, self._total_pages = len(jobs), sum(job.num_pages for job in jobs)
            self._embed(jobs)
        finally:  # after Ctrl-C or an error too: what is finished was paid for
            self._saver.commit()
        self._tell("finishing")
        with uninterrupted():
            self._store.compact()

    # Scanning: what has changed?

    def _scan(self) -> list[_Job]:
        """Compare the folder with the index, commit what was moved or has vanished, and return what to embed."""
        contents = scan(self._folder)
        self._require_same_folder(contents.files)
        for file in self._unreadable.keys() - contents.files.keys():
            del self._unreadable[file]
        planned = plan(
            self._known,
            contents.files,
            digest=lambda file: _hash(self._folder / file),
            inspect=self._inspect,
            unreadable=self._unreadable,
            closed_folders=contents.unreadable,
            is_ready=self._is_ready,
            report=lambda file: self._tell("scanning", file),
        )
        self.report.skipped, self.report.failed = contents.skipped, [*contents.failed, *planned.unopened]
        self.report.unchanged, self.report.waiting = len(planned.unchanged), planned.waiting
        self.report.removed = len(planned.vanished)
        for file, unreadable in planned.unreadable:
            self._remember_unreadable(file, unreadable.status, unreadable.reason)
        for duplicate in planned.duplicates:
            self._take_over(duplicate)
        vanished = set(planned.vanished)
        for file in planned.gone:
            self._saver.remove(file, Change("removed", file, 0) if file in vanished else None)
        self._saver.commit()
        return [_Job(new) for new in planned.new]

    def _require_same_folder(self, files: Iterable[str]) -> None:
        """Refuse to empty an index that does not lie in its folder because of another folder, or of an absent disk."""
        if self._store.storage.is_remote and self._known and self._known.keys().isdisjoint(files):
            raise InputError(
                f"{self._folder} has none of the {len(self._known)} files of the index in {self._store.storage}; is it "
                "the right folder, and is its disk there? To replace that index all the same, use --rebuild"
            )

    def _inspect(self, file: str) -> tuple[int, Kind]:
        with open_document(self._folder / file) as document:
            return document.num_pages, document.kind

    def _take_over(self, duplicate: Duplicate) -> None:
        """Store known pages under this name and time. They are read as they were before this run began."""
        from polylens.index.table.schema import FilePages

        file, status = duplicate.file, duplicate.status
        rows = self._before.pages_of(duplicate.of)
        if duplicate.is_touched:
            self.report.unchanged += 1
            change = None
        else:
            self.report.moved += 1
            change = Change("moved" if duplicate.is_moved else "copied", file, rows.num_rows, before=duplicate.of)
        self._saver.put(FilePages(file, duplicate.hash, status.st_size, status.st_mtime_ns, rows), change)

    # Embedding

    def _embed(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        batch: list[Step[_Job]] = []
        current = jobs[0]
        self._tell("indexing", current.file)
        with pages_ahead(self._to_read(jobs), self._embedder, pdf_processes=_pdf_processes(jobs)) as steps:
            for step in steps:
                if step.file is not current:
                    current = step.file
                    self._tell("indexing", current.file)
                if current.has_failed:
                    continue
                if step.reason:
                    self._fail(current, step.reason)
                elif step.page is None:
                    self._total_pages += step.num_read - current.num_pages
                    current.num_pages, current.is_read = step.num_read, True
                    self._finish_if_whole(current)
                else:
                    batch.append(step)
                    if len(batch) >= BATCH_PAGES or sum(map(_num_pixels, batch)) > BATCH_PIXELS:
                        self._embed_batch(batch)
                        batch = []
            self._embed_batch(batch)

    def _to_read(self, jobs: Iterable[_Job]) -> Iterator[tuple[_Job, Path]]:
        return ((job, self._folder / job.file) for job in jobs)

    def _embed_batch(self, batch: list[Step[_Job]]) -> None:
        batch = [step for step in batch if not step.file.has_failed]
        if not batch:
            return
        try:
            embeddings = embed_pages(self._embedder, [step.inputs for step in batch])
        except InputError as error:
            if len(batch) == 1:
                [step] = batch
                reason = error.message if isinstance(error, ImageError) else str(error)
                self._fail(step.file, f"page {step.page.number if step.page else 0}: {reason}")
            else:  # the error is about one of them: find out which
                for one in batch:
                    self._embed_batch([one])
            return
        for step, embedding in zip(batch, embeddings, strict=True):
            assert step.page is not None
            step.file.rows.append(page_row(step.file.content.kind, step.page, embedding, self._store.pool))
            self._done_pages += 1
        self.report.pages += len(batch)
        self._tell("indexing", batch[-1].file.file)
        for job in {id(step.file): step.file for step in batch}.values():
            self._finish_if_whole(job)

    def _finish_if_whole(self, job: _Job) -> None:
        if not job.is_whole:
            return
        from polylens.index.table.schema import FilePages, page_table

        self._done_files += 1
        if job.num_pages:
            rows = page_table(job.rows, self._store.dim, self._store.token_dim)
            change = Change("changed" if job.file in self._known else "added", job.file, job.num_pages)
            status = job.content.status
            self.report.indexed += 1
            self._saver.put(FilePages(job.file, job.content.hash, status.st_size, status.st_mtime_ns, rows), change)
        else:  # emptied since it was counted
            self._give_up(job.file, "")
        job.rows, job.num_pages = [], -1

    def _fail(self, job: _Job, reason: str) -> None:
        job.has_failed = True
        self._total_pages -= job.num_pages - len(job.rows)
        self._done_files += 1
        job.rows = []
        self._remember_unreadable(job.file, job.content.status, reason)

    # Files that give no pages

    def _remember_unreadable(self, file: str, status: os.stat_result, reason: str) -> None:
        self._unreadable[file] = Unreadable(status, reason)
        self._give_up(file, reason)

    def _give_up(self, file: str, reason: str) -> None:
        """Report a file that gives no pages. What the index had of it was of another content, and goes."""
        if reason:
            bare = reason.removeprefix(Path(file).name).removeprefix(":").strip()  # the name is said beside it
            self.report.failed.append((file, bare))
        else:
            self.report.skipped += 1
        if file in self._known:
            self._saver.remove(file)

    def _tell(
        self,
        phase: Literal["scanning", "indexing", "finishing"],
        file: str = "",
        saved: tuple[str, ...] = (),
        changes: tuple[Change, ...] = (),
    ) -> None:
        done = (self._done_pages, self._total_pages, self._done_files, self._total_files)
        self._progress(UpdateProgress(phase, file, *done, saved, changes))


def _pdf_processes(jobs: Iterable[_Job]) -> int:
    """The number of processes that read PDFs: none for a few pages, which would not be worth their start."""
    pages = sum(job.num_pages for job in jobs if job.content.kind == "pdf")
    if pages < LEAST_PDF_PAGES:
        return 0
    return min(MOST_PDF_PROCESSES, max(1, (os.cpu_count() or 1) // 4))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _num_pixels(step: Step[_Job]) -> int:
    image = step.page.image if step.page is not None else None
    return image.width * image.height if image is not None else 0
