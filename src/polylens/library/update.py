"""One run that brings an index up to date with its folder: it carries out a plan, and saves files as they finish.

`Library.update` is its caller.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from polylens.documents.reader_processes import readers
from polylens.errors import DocumentError, InputError
from polylens.library.page_embedding import PageEmbedder, embed_apart, page_row
from polylens.library.picture_pages import PicturePages, merged
from polylens.library.placing import placed_files
from polylens.library.plan import Duplicate, NewContent, Plan, Unreadable, plan
from polylens.library.progress import Change, IsReady, Report, UpdateProgress
from polylens.library.reading import Executor, PageRows, Step, pages_ahead
from polylens.library.saving import Rows, Saver, uninterrupted
from polylens.library.sharing import Sharing
from polylens.library.sources import FolderSource, Source
from polylens.library.unsearchable import EMPTY, Unsearchable, bare, read_unsearchable, write_unsearchable

if TYPE_CHECKING:
    from polylens.index.table.snapshot import FileRecord
    from polylens.index.table.store import Store

BATCH_PAGES = 8  # pages handed to the embedder at a time, or fewer where they have as many pixels as this:
BATCH_PIXELS = 50_000_000


@dataclass(slots=True)
class _Job:
    """A file whose pages are being embedded."""

    content: NewContent
    rows: PageRows
    num_pages: int = field(init=False)  # as counted while scanning, then as they came
    num_refused: int = 0  # pages that the model does not take
    unread: dict[str, str] = field(default_factory=dict)  # reasons, by the names of parts
    is_read: bool = False
    has_failed: bool = False
    is_left: bool = False
    """Whether another writer saved it first."""
    only: frozenset[int] = frozenset()
    """The pages to be made anew of a file that has not changed; none means all."""
    read_by: dict[int, str] = field(default_factory=dict)
    """What read the words of a page that is a picture, "" where nothing did."""

    def __post_init__(self) -> None:
        self.num_pages = len(self.only) or self.content.num_pages

    @property
    def file(self) -> str:
        return self.content.file

    def note_words(self, step: Step[_Job]) -> None:
        """Note what read the words on a page's picture, or why nothing could."""
        assert step.page is not None
        if step.read_by is not None:
            self.read_by[step.page.number] = step.read_by
        if step.unread_words:
            self.unread[f"the words of page {step.page.number}"] = step.unread_words

    @property
    def is_whole(self) -> bool:
        return self.is_read and not self.has_failed and len(self.rows) + self.num_refused == self.num_pages


class Update:
    """One run of `Library.update`: scan, then embed batch by batch across files.

    Args:
        source: The files.
        store: The index, open for writing.
        embedder: The model that the index is made with.
        progress: Called for each file and each batch of pages.
        is_ready: Whether a new or changed file is ready to be read.
        unreadable: Files that gave no pages in earlier runs; this run brings it up to date.
        ocr: The setting of OCR; None keeps to the index's own.
        executor: Reads, embeds and saves the files elsewhere; None does so here.

    Raises:
        InputError: That is no setting, or nothing here reads one of its languages.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        embedder: PageEmbedder,
        progress: Callable[[UpdateProgress], None],
        is_ready: IsReady,
        unreadable: dict[str, Unreadable],
        ocr: str | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.report = Report()
        self._source = source
        self._executor = executor
        self._store = store
        self._embedder = embedder
        self._progress = progress
        self._is_ready = is_ready
        self._unreadable = unreadable
        self._before = store.snapshot()
        self._known = self._before.files()
        self._told = read_unsearchable(store.storage)  # as it was last read or written
        self._partly = {name: each for name, each in self._told.items() if each.parts}
        self._picture_pages = PicturePages(store.storage, self._before, ocr)
        self._saver = Saver(store, self._on_saved)
        self._done_pages = self._total_pages = self._done_files = self._total_files = 0
        self._sharing: Sharing[_Job] = Sharing(_is_made, is_shared=store.may_have_others)

    def run(self) -> Report:
        """Bring the index up to date. What is finished is saved even where this ends early."""
        try:
            started = time.monotonic()
            jobs = self._scan()
            self.report.scan_seconds = time.monotonic() - started
            self._total_files, self._total_pages = len(jobs), sum(job.num_pages for job in jobs)
            if jobs:
                self._picture_pages.begin(job.content.hash for job in jobs)
            try:
                self._embed(jobs)
            finally:
                for job in jobs:
                    job.rows.clear()
        finally:  # after Ctrl-C or an error too: what is finished was paid for
            self._saver.commit()
        self._look_at_others()
        contents = {record.hash for record in self._store.files().values()}
        self._picture_pages.end(contents, has_company=self._store.has_company)
        self._keep_reasons()
        self.report.partly = [
            (file, part, reason) for file, each in sorted(self._partly.items()) for part, reason in each.parts.items()
        ]
        self._tell("finishing")
        with uninterrupted():
            self._store.compact(told=self._tell_finishing)
        return self.report

    # Scanning: what has changed?

    def _scan(self) -> list[_Job]:
        """Compare the folder with the index, commit what was moved or has vanished, and return what to embed."""
        contents = self._source.contents()
        self._require_same_folder(contents.files)
        for file in self._unreadable.keys() - contents.files.keys():
            del self._unreadable[file]
        planned = plan(
            self._known,
            contents.files,
            digest=self._source.digest,
            inspect=self._source.inspect,
            unreadable=self._unreadable,
            closed_folders=contents.unreadable,
            is_ready=self._is_ready,
            report=lambda file: self._tell("scanning", file),
        )
        self.report.passed_over = list(contents.passed_over)
        self.report.failed = [*contents.failed, *planned.unopened]
        self.report.unchanged, self.report.waiting = len(planned.unchanged), planned.waiting
        self.report.removed = len(planned.vanished)
        for file, unreadable in planned.unreadable:
            self._remember_unreadable(file, unreadable.status, unreadable.reason)
        for duplicate in planned.duplicates:
            self._take_over(duplicate)
        anew = [*(new.file for new in planned.new), *(file for file, _ in planned.unreadable)]
        for file in [*anew, *planned.gone]:  # what was said of them was of another content
            self._partly.pop(file, None)
        vanished = set(planned.vanished)
        for file in planned.gone:
            self._saver.remove(file, Change("removed", file, 0) if file in vanished else None)
        self._place(planned.unchanged)
        self._saver.commit()
        again = list(self._to_read_again(planned, contents.files))
        self.report.unchanged -= len(again)
        return [*(_Job(new, self._rows()) for new in planned.new), *again]

    def _rows(self, *, only_some: bool = False) -> PageRows:
        if self._executor is not None:
            return self._executor.rows(only_some=only_some)
        return Rows(self._store.dim, self._store.token_dim)

    def _to_read_again(self, planned: Plan, files: Mapping[str, os.stat_result]) -> Iterator[_Job]:
        """The unchanged files with pages whose words are to be read now, or no longer."""
        for file in planned.unchanged:
            record = self._known[file]
            if only := self._picture_pages.to_read(record.hash):
                try:
                    _, kind = self._source.inspect(file)
                except DocumentError:  # it could be read once: what the index has of it stays
                    continue
                content = NewContent(file, record.hash, files[file], record.num_pages, kind)
                yield _Job(content, self._rows(only_some=True), only=only)

    def _place(self, unchanged: Iterable[str]) -> None:
        """Ask the files of an index of an earlier version where their words stand."""
        from polylens.index.table.schema import FilePages

        missing = set(self._before.unplaced())
        files = [file for file in unchanged if file in missing]
        if not files or not isinstance(self._source, FolderSource):
            return
        folder = self._source.folder
        found = placed_files(folder, files, self._before, max_pixels=self._embedder.max_pixels, within=readers())
        for file, rows in found:
            self._tell("scanning", file)
            known = self._known[file]
            self._saver.put(FilePages(file, known.hash, known.size, known.mtime_ns, rows), None)
            self.report.placed += rows.num_rows

    def _require_same_folder(self, files: Iterable[str]) -> None:
        """Refuse to empty an index that does not lie in its folder because of another folder, or of an absent disk."""
        if self._store.storage.is_remote and self._known and self._known.keys().isdisjoint(files):
            raise InputError(
                f"{self._source} has none of the {len(self._known)} files of the index in {self._store.storage}; is it "
                "the right folder, and is its disk there? To replace that index all the same, use --rebuild"
            )

    def _take_over(self, duplicate: Duplicate) -> None:
        """Store known pages under this name and time. They are read as they were before this run began."""
        from polylens.index.table.schema import FilePages

        file, status = duplicate.file, duplicate.status
        rows = self._before.pages_of(duplicate.of)
        if before := self._partly.get(duplicate.of):
            self._partly[file] = Unsearchable.of(status, parts=before.parts)
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
        with self._steps(jobs) as steps, self._saver.through(self._executor):
            for step in steps:
                if step.file is not current:
                    current = step.file
                    self._tell("indexing", current.file)
                if current.has_failed or self._is_left(current):
                    continue
                if step.refused:
                    self._refuse(step, step.refused)
                elif step.reason:
                    self._fail(current, step.reason)
                elif step.page is None:
                    current.unread |= step.unread
                    self._total_pages += step.num_read - current.num_pages
                    current.num_pages, current.is_read = step.num_read, True
                    self._finish_if_whole(current)
                elif step.row is not None:
                    self._keep(step, step.row)
                    self._tell("indexing", current.file)
                    self._finish_if_whole(current)
                else:
                    batch.append(step)
                    if len(batch) >= BATCH_PAGES or sum(map(_num_pixels, batch)) > BATCH_PIXELS:
                        self._embed_batch(batch)
                        batch = []
            self._embed_batch(batch)

    def _steps(self, jobs: list[_Job]) -> AbstractContextManager[Iterator[Step[_Job]]]:
        """The pages of the files to read; an executor embeds them as well."""
        waiting = ((job, self._source.locate(job.file)) for job in self._sharing.remaining(jobs))
        if self._executor is not None:
            return self._executor.steps(
                waiting, only=lambda job: job.only, mandate=self._store.mandate(), ocr=self._picture_pages.setting
            )
        return self._steps_here(waiting)

    @contextmanager
    def _steps_here(self, jobs: Iterator[tuple[_Job, Path | str]]) -> Iterator[Iterator[Step[_Job]]]:
        files = ((job, Path(path)) for job, path in jobs)
        with (
            self._picture_pages.reader() as reader,
            pages_ahead(files, self._embedder, only=lambda job: job.only, page_reader=reader) as steps,
        ):
            yield steps

    def _look_at_others(self) -> None:
        """Learn which files other writers saved, and count those of this run's that they took over."""
        if self._store.has_met:
            self._sharing.note(self._store.files())
        for job in self._sharing.left():
            self._leave(job)

    def _is_left(self, job: _Job) -> bool:
        """Whether a file is left to another writer, who saved it before any page of it was embedded here."""
        if not job.is_left and not job.rows and self._sharing.is_saved(job):
            self._leave(job)
        return job.is_left

    def _leave(self, job: _Job) -> None:
        job.is_left = True
        self._total_pages -= job.num_pages
        self._done_files += 1
        self.report.unchanged += 1

    def _embed_batch(self, batch: list[Step[_Job]]) -> None:
        batch = [step for step in batch if not (step.file.has_failed or self._is_left(step.file))]
        embeddings = embed_apart(self._embedder, [step.inputs for step in batch])
        for step, embedding in zip(batch, embeddings, strict=True):
            if isinstance(embedding, str):
                self._refuse(step, embedding)
            else:
                assert step.page is not None
                self._keep(step, page_row(step.file.content.kind, step.page, embedding, self._store.pool))
        if batch:
            self._tell("indexing", batch[-1].file.file)
        for job in {id(step.file): step.file for step in batch}.values():
            self._finish_if_whole(job)

    def _keep(self, step: Step[_Job], row: Any) -> None:
        """Keep a page that was embedded until its file is whole."""
        step.file.rows.append(row)
        step.file.note_words(step)
        self._done_pages += 1
        self.report.pages += 1

    def _refuse(self, step: Step[_Job], reason: str) -> None:
        """Note a page that the model does not take; it costs the others of its file nothing."""
        assert step.page is not None
        job = step.file
        job.num_refused += 1
        self._total_pages -= 1
        job.unread[f"page {step.page.number}"] = reason
        self._finish_if_whole(job)

    def _finish_if_whole(self, job: _Job) -> None:
        if not job.is_whole:
            return
        from polylens.index.table.schema import FilePages

        if job.num_refused and not job.rows:
            self._fail(job, ": ".join(next(iter(job.unread.items()))))
            return
        self._done_files += 1
        if job.rows:
            rows = job.rows.table()
            change = Change("changed" if job.file in self._known else "added", job.file, rows.num_rows)
            if job.only and self._executor is None:
                rows = merged(self._before.pages_of(job.file), rows)
            status = job.content.status
            self._note_unread(job)
            self.report.indexed += 1
            self.report.wordless += self._picture_pages.done(job.content.hash, job.read_by)
            self._saver.put(FilePages(job.file, job.content.hash, status.st_size, status.st_mtime_ns, rows), change)
        elif not job.only:  # emptied since it was counted
            self._give_up(job.file, "")
        job.rows.clear()
        job.num_pages = -1

    def _note_unread(self, job: _Job) -> None:
        """Keep why parts of a file could not be read; of a file read in part, what was said of the rest stays."""
        before = self._partly.pop(job.file, None)
        parts = dict(before.parts) if before and job.only else {}
        for page in job.only:
            parts.pop(f"the words of page {page}", None)
        if parts := {**parts, **job.unread}:
            self._partly[job.file] = Unsearchable.of(job.content.status, parts=parts)

    def _fail(self, job: _Job, reason: str) -> None:
        job.has_failed = True
        self._total_pages -= job.num_pages - len(job.rows) - job.num_refused
        self._done_files += 1
        job.rows.clear()
        if job.only:  # what the index has of it is of this very content
            self.report.failed.append((job.file, bare(reason, job.file)))
        else:
            self._remember_unreadable(job.file, job.content.status, reason)

    # Files that give no pages

    def _remember_unreadable(self, file: str, status: os.stat_result, reason: str) -> None:
        self._unreadable[file] = Unreadable(status, reason)
        self._give_up(file, reason)

    def _give_up(self, file: str, reason: str) -> None:
        """Report a file that gives no pages. What the index had of it was of another content, and goes."""
        if reason:
            self.report.failed.append((file, bare(reason, file)))
        else:
            self.report.passed_over.append((file, EMPTY))
        if file in self._known:
            self._saver.remove(file)

    def _on_saved(self, saved: tuple[str, ...], changes: tuple[Change, ...]) -> None:
        self._look_at_others()
        self._picture_pages.save()
        if any(file in self._partly for file in saved):
            self._keep_reasons()
        self._tell("indexing", saved=saved, changes=changes)

    def _keep_reasons(self) -> None:
        """Write beside the index what of the folder is not searchable."""
        refused = {
            file: Unsearchable.of(each.status, reason=each.reason or EMPTY) for file, each in self._unreadable.items()
        }
        found = {**refused, **self._partly}
        if found != self._told:
            with self._store.storage.writing():
                write_unsearchable(self._store.storage, found, before=self._told)
            self._told = found

    def _tell(
        self,
        phase: Literal["scanning", "indexing", "finishing"],
        file: str = "",
        saved: tuple[str, ...] = (),
        changes: tuple[Change, ...] = (),
    ) -> None:
        done = (self._done_pages, self._total_pages, self._done_files, self._total_files)
        self._progress(UpdateProgress(phase, file, *done, saved, changes))

    def _tell_finishing(self, done: int, total: int) -> None:
        files = (self._done_files, self._total_files)
        self._progress(UpdateProgress("finishing", "", done, total, *files))


def _is_made(job: _Job, saved: Mapping[str, FileRecord]) -> bool:
    """Whether another writer saved the very state of a file that a job is about."""
    record = saved.get(job.file)
    return record is not None and not job.only and record.hash == job.content.hash and record.is_of(job.content.status)


def _num_pixels(step: Step[_Job]) -> int:
    image = step.page.image if step.page is not None else None
    return image.width * image.height if image is not None else 0
