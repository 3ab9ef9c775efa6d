"""Pages, read from the files of a library: one as it is now, or those of many files ahead of the model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from polylens.documents.document import Document
from polylens.documents.ocr.page_reader import PageReader, needs_reading
from polylens.documents.reader_processes import Readers, readers
from polylens.errors import DocumentError, ImageError, InputError
from polylens.library.page_embedding import PageEmbedder, PreparingEmbedder, prepare_page
from polylens.library.picture_words import PictureWords
from polylens.runtime.prefetch import Prefetcher, num_threads, read_ahead
from polylens.types import Page

if TYPE_CHECKING:
    from polylens.index.table.mandate import Committed, Mandate
    from polylens.index.table.schema import FilePages

READ_BYTES = 32 * 2**20  # of pages that are read but not prepared
PREPARED_BYTES = 64 * 2**20  # of pages that wait for the model

File = TypeVar("File")


def read_page(folder: Path, file: str, number: int, *, max_pixels: int) -> Page:
    """Reads one page.

    Args:
        folder: The library's folder.
        file: A file of the index, relative to the folder.
        number: The number of the page, from 1.
        max_pixels: Largest area of a rendered page.

    Raises:
        DocumentError: The file has gone, cannot be read any more, or has fewer pages now.
    """
    with readers().open(folder / file, max_pixels=max_pixels) as document:
        if number > document.num_pages:
            raise DocumentError(f"{file} has changed since it was indexed: it has {document.num_pages} pages now")
        return document.page(number)


@dataclass(frozen=True, slots=True)
class Step(Generic[File]):
    """One step in reading files: a page, or the end of a file."""

    file: File
    path: Path
    page: Page | None = None
    """None at the end of the file."""
    read_by: str | None = None
    """What read the words on its picture, "" where nothing did; None where its text says what it shows."""
    unread_words: str = ""
    """Why the words on its picture could not be read."""
    inputs: tuple[Any, ...] = ()
    """What the embedder is to embed for the page; from `prepare_page`."""
    refused: str = ""
    """Why the page cannot be embedded."""
    row: Any = None
    """Where the page's row is, if an executor has embedded it; only the executor's own `PageRows` take it."""
    num_read: int = 0
    """At the end, the number of pages that came."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """At the end, the reason why a part did not come, by the part's name."""
    reason: str = ""
    """At the end, why the file cannot be read."""

    @property
    def nbytes(self) -> int:
        """The memory that the page's picture takes; what is prepared takes about as much."""
        image = self.page.image if self.page is not None else None
        return 1_000 if image is None else 3 * image.width * image.height * (2 if self.inputs else 1)


class PageRows(Protocol):
    """The pages of one file until all of them have come."""

    def __len__(self) -> int:
        """Number of pages."""

    def append(self, row: Any) -> None:
        """Take a page."""

    def table(self) -> Any:
        """All of them, for `FilePages`: a table, or what stands for it elsewhere. Nothing can be appended any more."""

    def clear(self) -> None:
        """Drop them."""


class Executor(Protocol):
    """Reads, embeds and saves files elsewhere than in this process; `integrations.ray.RayExecutor` is one."""

    def steps(
        self,
        files: Iterable[tuple[File, Path | str]],
        *,
        only: Callable[[File], frozenset[int]],
        mandate: Mandate,
        ocr: str,
    ) -> AbstractContextManager[Iterator[Step[File]]]:
        """The steps in any order, each page with its row; the end of a file says how many pages it gave.

        Args:
            files: What stands for each file, and its path or address.
            only: Gives the numbers of the pages that are wanted of a file; none means all.
            mandate: That of the index, for which `commit` acts.
            ocr: The setting of OCR.
        """

    def rows(self, *, only_some: bool) -> PageRows:
        """Keeps the rows of one file.

        Args:
            only_some: Whether the other pages of the file stay as the index has them.
        """

    def commit(self, files: Sequence[FilePages], removed: Sequence[str]) -> Committed:
        """Commits files whose rows it kept, as `Store.commit` does; while the steps are being taken.

        Raises:
            PolylensError: As for `Store.commit`, or who commits cannot be reached.
        """


@contextmanager
def pages_ahead(
    files: Iterable[tuple[File, Path]],
    embedder: PageEmbedder,
    *,
    within: Readers | None = None,
    only: Callable[[File], frozenset[int]] = lambda _file: frozenset(),
    page_reader: PageReader | None = None,
) -> Iterator[Iterator[Step[File]]]:
    """Reads the pages of files in other processes, and prepares them in threads, ahead of whoever takes them.

    Args:
        files: What stands for each file, and its path.
        embedder: Prepares the pages.
        within: The processes; None for those that this program shares.
        only: Gives the numbers of the pages that are wanted of a file; none means all.
        page_reader: Reads the words of pages that are pictures only; None leaves them without.

    Yields:
        The steps, file after file and page after page. One that cannot be read costs no other its pages.
    """

    def prepared(step: Step[File]) -> Step[File]:
        if step.page is None:
            return step
        try:
            return replace(step, inputs=prepare_page(embedder, step.page))
        except InputError as error:
            return replace(step, refused=error.message if isinstance(error, ImageError) else str(error))

    threads = embedder.preparation_threads if isinstance(embedder, PreparingEmbedder) else 1
    opener = Opener(within or readers(), embedder.max_pixels)
    with (
        closing(read_files(files, opener, only)) as steps,
        read_ahead(steps, nbytes=lambda step: step.nbytes, max_bytes=READ_BYTES) as read,
        with_words(read, embedder.max_pixels, page_reader, threads=num_threads(on_processor=False)) as worded,
        Prefetcher(
            prepared, worded, nbytes=lambda step: step.nbytes, max_bytes=PREPARED_BYTES, threads=threads
        ) as ready,
        closing(opener),  # first, so that nobody waits for a page that takes its time
    ):
        yield ready


@contextmanager
def with_words(
    steps: Iterator[Step[File]], max_pixels: int, reader: PageReader | None, *, threads: int
) -> Iterator[Iterator[Step[File]]]:
    """The same steps, with the words of pages that are pictures only.

    Args:
        steps: The pages, file after file.
        max_pixels: Largest area of a page.
        reader: Reads the words; None leaves the pages without.
        threads: Pages that are read at a time. A page takes a core for seconds, longer than most models need for it.
    """
    if reader is None or not reader.can_read:
        yield steps
        return

    def worded(step: Step[File]) -> Step[File]:
        if step.page is None or step.read_by is None:
            return step
        try:
            page, by = pictures.read(step.path, step.page)
        except DocumentError as error:
            return replace(step, unread_words=str(error))
        return replace(step, page=page, read_by=by)

    with ExitStack() as stack:
        larger = stack.enter_context(Readers(threads))  # of their own: they have the same files open in another size
        pictures = stack.enter_context(
            PictureWords(reader, lambda path, most: larger.open(path, max_pixels=most), max_pixels)
        )
        yield stack.enter_context(
            Prefetcher(worded, steps, nbytes=lambda step: step.nbytes, max_bytes=READ_BYTES, threads=threads)
        )


class Opener:
    """Opens files one after the other; closing it, from any thread, ends the reading."""

    def __init__(self, within: Readers, max_pixels: int) -> None:
        self.count = within.count
        self.is_closed = False
        self._within, self._max_pixels = within, max_pixels
        self._document: Document | None = None

    def open(self, path: Path) -> Document:
        self._document = self._within.open(path, max_pixels=self._max_pixels)
        return self._document

    def close(self) -> None:
        self.is_closed = True
        if self._document is not None:
            self._document.close()


def read_files(
    files: Iterable[tuple[File, Path]],
    opener: Opener,
    only: Callable[[File], frozenset[int]] = lambda _file: frozenset(),
) -> Generator[Step[File], None, None]:
    """Reads the pages of files; the steps are those of `pages_ahead`, with nothing prepared."""
    for file, path in files:
        num_read, reason = 0, ""
        unread: Mapping[str, str] = {}
        if opener.is_closed:
            return
        try:
            with opener.open(path) as document, _pages(document, opener.count, only(file)) as pages:
                for page in pages:
                    num_read += 1
                    yield Step(file, path, page, read_by="" if needs_reading(page, document.kind) else None)
                unread = document.unread
        except DocumentError as error:
            reason = str(error)
        yield Step(file, path, num_read=num_read, unread=unread, reason=reason)


@contextmanager
def _pages(document: Document, processes: int, only: frozenset[int]) -> Iterator[Iterator[Page]]:
    """The pages that can be read, in order; those of a PDF are drawn by as many processes at a time as there are."""
    if only:
        pages = (document.page_or_none(number) for number in sorted(only) if number <= document.num_pages)
        yield (page for page in pages if page is not None)
        return
    if document.kind != "pdf" or processes < 2 or document.num_pages < 2:
        yield iter(document)
        return
    numbers = range(1, document.num_pages + 1)
    ahead = Prefetcher(document.page_or_none, numbers, nbytes=_page_bytes, max_bytes=READ_BYTES, threads=processes)
    with ahead as drawn:
        yield document.readable(drawn)


def _page_bytes(page: Page | None) -> int:
    return 3 * page.image.width * page.image.height if page is not None and page.image is not None else 1_000
