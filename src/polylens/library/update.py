"""One run that brings an index up to date with its folder: what has changed, its pages, their vectors, and saving them.

`Library.update` is this one's caller.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

from polylens import types
from polylens.documents import open_document
from polylens.documents.scan import scan
from polylens.errors import DocumentError, ImageError, InputError
from polylens.types import Embedding, Kind, Page

if TYPE_CHECKING:
    from polylens.index.table.store import FilePages, PageRow, Store

MAX_EMBEDDED_CHARS = 6_000  # of a page's text layer; the rest is kept for display only

BATCH_PAGES = 8  # pages handed to the embedder at a time, or fewer where they have as many pixels as this:
BATCH_PIXELS = 50_000_000
COMMIT_PAGES = 64  # pages, or seconds, after which finished files are written
COMMIT_SECONDS = 5.0


@runtime_checkable
class PageEmbedder(Protocol):
    """What a library asks of an embedder; `polylens.load` gives one."""

    @property
    def model_id(self) -> str:
        """The name under which `polylens.load` finds it again."""

    @property
    def max_pixels(self) -> int:
        """Largest area of an image that the model looks at; pages are drawn at that size."""

    def embed(self, inputs: Sequence[Any], *, task: str = "retrieval", prompt_name: str = "query") -> list[Embedding]:
        """Both outputs for each text (a str) and each image (`types.Image` or a PIL image)."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one file of the index."""

    what: Literal["added", "changed", "moved", "copied", "removed"]
    file: str
    pages: int
    """That the index has of it now."""
    before: str = ""
    """The name of what was moved or copied."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far `Library.update` is; given to its callback."""

    phase: str
    """"scanning" (what is there, what has changed), "indexing", "finishing"."""
    file: str
    """The file at hand; "" where it is about none."""
    done_pages: int
    total_pages: int
    """0 while scanning: not known yet."""
    done_files: int
    total_files: int
    saved: tuple[str, ...] = ()
    """Files that were written just now, and are safe from here on, whatever happens."""
    changes: tuple[Change, ...] = ()
    """The same in words, with what was taken out; files that were merely touched left out."""


@dataclass(slots=True)
class Report:
    """What `Library.update` did. The numbers count files, but for `pages`."""

    indexed: int = 0
    """Embedded: new ones, and changed ones."""
    unchanged: int = 0
    moved: int = 0
    """Known content under another name or time: taken over without embedding it again."""
    removed: int = 0
    """Taken out of the index, their files being gone, or ignored from now on."""
    skipped: int = 0
    """Of no kind that has pages, empty, or too large."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """File and reason, for each that could not be read."""
    waiting: list[str] = field(default_factory=list)
    """New and changed files that were not ready; the index has of them what it had."""
    pages: int = 0
    """Pages embedded."""
    seconds: float = 0.0
    scan_seconds: float = 0.0
    """Of these, spent finding out what has changed."""


Ready = Callable[[str, os.stat_result], bool]
"""Whether a file, with its size and time, is ready to be read."""


@dataclass(slots=True)
class _Job:
    """A file whose pages have to be embedded."""

    file: str
    hash: str
    status: os.stat_result  # as it was when it was hashed
    num_pages: int  # as counted while scanning, then as they came
    kind: Kind
    rows: list[PageRow] = field(default_factory=list)
    is_read: bool = False
    has_failed: bool = False

    @property
    def is_whole(self) -> bool:
        return self.is_read and not self.has_failed and len(self.rows) == self.num_pages


class Update:
    """One run of `Library.update`: scan, then embed batch by batch across files, saving finished files as it goes."""

    def __init__(
        self,
        folder: Path,
        store: Store,
        embedder: PageEmbedder,
        progress: Callable[[Progress], None],
        is_ready: Ready,
        useless: dict[str, tuple[os.stat_result, str]],
    ) -> None:
        self.folder = folder
        self.store = store
        self.embedder = embedder
        self.progress = progress
        self.is_ready = is_ready
        self.useless = useless
        self.report = Report()
        self.before = store.snapshot()
        self.known = self.before.files()
        self.removed: list[str] = []  # to be taken out at the next commit
        self.finished: list[FilePages] = []  # to be put in at the next commit
        self.changes: list[Change] = []  # of which to tell then
        self.last_commit = time.monotonic()
        self.done_pages = self.total_pages = self.done_files = self.total_files = 0

    def run(self) -> None:
        try:
            started = time.monotonic()
            jobs = self._scan()
            self.report.scan_seconds = time.monotonic() - started
            self.total_files, self.total_pages = len(jobs), sum(job.num_pages for job in jobs)
            self._embed(jobs)
        finally:  # after Ctrl-C or an error too: what is finished was paid for
            self._commit()
        self._tell("finishing")
        with _uninterrupted():
            self.store.compact()

    # What is there, what has changed?

    def _scan(self) -> list[_Job]:
        """Compare the folder with the index; commits what moved or vanished, returns what must be embedded."""
        contents = scan(self.folder)
        self._require_same_folder(contents.files)
        self.report.skipped, self.report.failed = contents.skipped, contents.failed
        by_content = {(record.hash, _suffix(file)): file for file, record in self.known.items()}
        hidden = tuple(f"{folder}/" for folder in contents.unreadable)
        for file in self.useless.keys() - contents.files.keys():
            del self.useless[file]
        gone = {file for file in self.known if file not in contents.files and not file.startswith(hidden)}
        jobs: list[_Job] = []
        moved_from: set[str] = set()
        for file, status in contents.files.items():
            record = self.known.get(file)
            if record and record.is_of(status):
                self.report.unchanged += 1
                continue
            self._tell("scanning", file)
            if self._is_known_as_useless(file, status):
                continue
            if not self.is_ready(file, status):
                self.report.waiting.append(file)
                continue
            try:
                digest = _hash(self.folder / file)
            except OSError as error:  # its pages, where there are some, may well be right: they stay
                self.report.failed.append((file, f"cannot be read ({error.strerror})"))
                continue
            twin = file if record and record.hash == digest else by_content.get((digest, _suffix(file)))
            if twin is None:
                jobs.extend(self._job(file, digest, status))
                continue
            self._take_over(twin, file, digest, status, is_gone=twin in gone)
            moved_from.add(twin)
        vanished = sorted(gone - moved_from)
        self.report.removed = len(vanished)
        self.removed += sorted(gone)
        self.changes += [Change("removed", file, 0) for file in vanished]
        self._commit()
        return jobs

    def _require_same_folder(self, files: Iterable[str]) -> None:
        """An index that does not lie in its folder must not be emptied by another one, nor by a disk that is away."""
        if self.store.place.is_remote and self.known and self.known.keys().isdisjoint(files):
            raise InputError(
                f"{self.folder} has none of the {len(self.known)} files of the index in {self.store.place}; is it the "
                "right folder, and is its disk there? To replace that index all the same, use --rebuild"
            )

    def _is_known_as_useless(self, file: str, status: os.stat_result) -> bool:
        """Says again what was found when this file was read last, if it has not changed since."""
        before, reason = self.useless.get(file, (None, ""))
        if before is None or _identity(before) != _identity(status):
            return False
        if reason:
            self._fail(file, reason)
        else:
            self._pass_over(file)
        return True

    def _job(self, file: str, digest: str, status: os.stat_result) -> Iterator[_Job]:
        try:
            with open_document(self.folder / file) as document:
                num_pages, kind = document.num_pages, document.kind
        except DocumentError as error:
            self.useless[file] = (status, str(error))
            self._fail(file, str(error))
            return
        if num_pages:
            yield _Job(file, digest, status, num_pages, kind)
        else:
            self.useless[file] = (status, "")
            self._pass_over(file)

    def _take_over(self, twin: str, file: str, digest: str, status: os.stat_result, *, is_gone: bool) -> None:
        """Store known pages under this name and time. They are read as they were before this run began."""
        from polylens.index.table.store import FilePages

        rows = self.before.pages_of(twin)
        self.finished.append(FilePages(file, digest, status.st_size, status.st_mtime_ns, rows))
        if twin == file:
            self.report.unchanged += 1
        else:
            self.report.moved += 1
            self.changes.append(Change("moved" if is_gone else "copied", file, rows.num_rows, before=twin))
        self._commit_when_due()

    # Embedding

    def _embed(self, jobs: list[_Job]) -> None:
        batch: list[tuple[_Job, Page]] = []
        for job in jobs:
            self._tell("indexing", job.file)
            num_read = 0
            try:
                with open_document(self.folder / job.file, max_pixels=self.embedder.max_pixels) as document:
                    for page in document:
                        num_read += 1
                        batch.append((job, page))
                        if len(batch) >= BATCH_PAGES or sum(_num_pixels(page) for _, page in batch) > BATCH_PIXELS:
                            self._embed_batch(batch)
                            batch = []
                        if job.has_failed:
                            break
            except DocumentError as error:
                self._fail_job(job, str(error))
            if not job.has_failed:
                self.total_pages += num_read - job.num_pages
                job.num_pages, job.is_read = num_read, True
                self._finish_if_whole(job)
        self._embed_batch(batch)

    def _embed_batch(self, batch: list[tuple[_Job, Page]]) -> None:
        batch = [(job, page) for job, page in batch if not job.has_failed]
        if not batch:
            return
        try:
            embeddings = _embed_pages(self.embedder, [page for _, page in batch])
        except InputError as error:
            if len(batch) == 1:
                job, page = batch[0]
                reason = error.message if isinstance(error, ImageError) else str(error)
                self._fail_job(job, f"page {page.number}: {reason}")
            else:  # one of them it is: find out which
                for one in batch:
                    self._embed_batch([one])
            return
        for (job, page), embedding in zip(batch, embeddings, strict=True):
            job.rows.append(_row(job.kind, page, embedding, self.store.pool))
            self.done_pages += 1
        self.report.pages += len(batch)
        self._tell("indexing", batch[-1][0].file)
        for job in {id(job): job for job, _ in batch}.values():
            self._finish_if_whole(job)

    def _finish_if_whole(self, job: _Job) -> None:
        if not job.is_whole:
            return
        from polylens.index.table.store import FilePages, page_table

        self.done_files += 1
        if job.num_pages:
            rows = page_table(job.rows, self.store.dim, self.store.token_dim)
            status = job.status
            self.finished.append(FilePages(job.file, job.hash, status.st_size, status.st_mtime_ns, rows))
            self.changes.append(Change("changed" if job.file in self.known else "added", job.file, job.num_pages))
            self.report.indexed += 1
        else:  # emptied since it was counted
            self._pass_over(job.file)
        job.rows, job.num_pages = [], -1
        self._commit_when_due()

    # What cannot be used

    def _fail_job(self, job: _Job, reason: str) -> None:
        job.has_failed = True
        self.total_pages -= job.num_pages - len(job.rows)
        self.done_files += 1
        job.rows = []
        self.useless[job.file] = (job.status, reason)
        self._fail(job.file, reason)

    def _fail(self, file: str, reason: str) -> None:
        """Report a file. What the index held of it was of another content, and goes."""
        bare = reason.removeprefix(Path(file).name).removeprefix(":").strip()  # the name is said beside it
        self.report.failed.append((file, bare))
        self._forget(file)

    def _pass_over(self, file: str) -> None:
        self.report.skipped += 1
        self._forget(file)

    def _forget(self, file: str) -> None:
        if file in self.known:
            self.removed.append(file)

    # Saving

    def _commit_when_due(self) -> None:
        num_pages = sum(file.rows.num_rows for file in self.finished)
        if num_pages >= COMMIT_PAGES or time.monotonic() - self.last_commit > COMMIT_SECONDS:
            self._commit()

    def _commit(self) -> None:
        finished, self.finished = self.finished, []
        removed, self.removed = self.removed, []
        changes, self.changes = self.changes, []
        if finished or removed:
            with _uninterrupted():
                self.store.commit(finished, removed=removed)
                self._tell("indexing", saved=tuple(file.file for file in finished), changes=tuple(changes))
        self.last_commit = time.monotonic()

    def _tell(self, phase: str, file: str = "", saved: tuple[str, ...] = (), changes: tuple[Change, ...] = ()) -> None:
        done = (self.done_pages, self.total_pages, self.done_files, self.total_files)
        self.progress(Progress(phase, file, *done, saved, changes))


def _embed_pages(embedder: PageEmbedder, pages: Sequence[Page]) -> list[Embedding]:
    """One embedding a page. One that has both a picture and a text is embedded as both, and the two are joined."""
    inputs: list[str | types.Image] = []
    for page in pages:
        if page.image is not None:
            inputs.append(types.Image(page.image))
        if page.text:
            inputs.append(page.text[:MAX_EMBEDDED_CHARS])
    parts = iter(embedder.embed(inputs, task="retrieval", prompt_name="passage"))
    return [join([next(parts) for _ in range((page.image is not None) + bool(page.text))]) for page in pages]


def join(parts: Sequence[Embedding]) -> Embedding:
    """The embedding of something that is several inputs: dense vectors added and renormalised, multi-vectors in a row.

    As the evaluation wrapper of the published model joins the text and the picture of an item.
    """
    if len(parts) == 1:
        return parts[0]
    dense = np.stack([part.dense for part in parts]).sum(axis=0)
    norm = max(float(np.linalg.norm(dense)), 1e-12)  # opposite vectors cancel: keep the zero vector, not NaN
    return Embedding((dense / norm).astype(np.float32), np.concatenate([part.multivector for part in parts]))


def _row(kind: Kind, page: Page, embedding: Embedding, pool: int) -> PageRow:
    from polylens.index.ranking.language import language_of
    from polylens.index.ranking.pooling import pool_tokens
    from polylens.index.table.store import PageRow

    if page.image is not None and kind != "pdf":  # a picture inside a document, too
        kind = "image"
    tokens = pool_tokens(embedding.multivector, pool)
    return PageRow(page.number, kind, page.text, embedding.dense, tokens.astype(np.float16), language_of(page.text))


def _num_pixels(page: Page) -> int:
    return page.image.width * page.image.height if page.image else 0


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """What a file is told from its other states by; the time of its last renaming or change of permissions included."""
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _suffix(file: str) -> str:
    return Path(file).suffix.lower()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the block is through: a commit goes on in another thread, and must be seen to end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT)
    if not callable(previous):  # ignored, left to the system, or set outside Python: nothing to hold back
        yield
        return
    waiting: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda number, frame: waiting.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if waiting:
            previous(*waiting[-1])
