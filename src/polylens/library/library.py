"""A folder that is kept searchable: its documents, their vectors, and the search over them.

>>> library = Library("~/Documents")  # doctest: +SKIP
>>> library.update()  # doctest: +SKIP
>>> library.search("the invoice of the plumber")[0].file  # doctest: +SKIP

The index lies in `FOLDER/.polylens/`, or on object storage, for any number of machines to search:

>>> Library("~/Documents", index="s3://shelf/documents").update()  # doctest: +SKIP
>>> Library("s3://shelf/documents").search("the invoice of the plumber")[0].file  # doctest: +SKIP

Only `.polylens/` in the folder is ever written to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polylens.errors import (
    InputError,
    LibraryNotFoundError,
    ModelMismatchError,
    ModelNotFoundError,
    NotFoundError,
)
from polylens.index.storage.opening import is_remote, open_storage
from polylens.index.storage.redirect import read_redirect, write_redirect
from polylens.library.beginning import open_to_write
from polylens.library.location import INDEX_FOLDER
from polylens.library.page_embedding import PageEmbedder
from polylens.library.picture_pages import forget, require_readable_here
from polylens.library.plan import Unreadable
from polylens.library.progress import IsReady, Report, UpdateProgress
from polylens.library.reading import Executor, read_page
from polylens.library.reranking import Found, PageReranker, Reranking
from polylens.library.sources import BucketSource, FolderSource, Source
from polylens.library.unsearchable import Listing, read_listing
from polylens.library.update import Update
from polylens.library.view import Group, Query, View
from polylens.types import Page

if TYPE_CHECKING:
    from polylens.index.facets import Facets
    from polylens.index.ranking.filters import Filters
    from polylens.index.search import By
    from polylens.index.storage.base import Storage
    from polylens.index.storage.mirror import Mirror
    from polylens.index.table.manifest import Manifest
    from polylens.index.table.snapshot import FileRecord, Snapshot, StoredPage
    from polylens.index.table.store import Store

DEFAULT_MODEL = "nano"


class Library:
    """A folder and its index.

    Args:
        folder: The folder to search in; or `s3://BUCKET/PREFIX`, an index alone, whose files are not on this machine.
        embedder: The model; None loads the one that the index was made with (nano for a new index) once it is needed.
        index: `s3://BUCKET/PREFIX`, to keep the index there and not in the folder. `update` lets the folder redirect
            to it. The files may be objects, too: `folder` is their `s3://BUCKET/PREFIX` then.

    Raises:
        LibraryNotFoundError: There is no such folder.
        InputError: `index` is no such address, or what object storage needs is not installed.
    """

    def __init__(self, folder: str | Path, embedder: PageEmbedder | None = None, *, index: str | None = None) -> None:
        if index is not None and not is_remote(index):
            raise InputError(f"index must be s3://BUCKET/PREFIX, got {index!r}")
        self._folder = None if is_remote(folder) else Path(folder).expanduser().absolute()
        if self._folder is not None and not self._folder.is_dir():
            raise LibraryNotFoundError(f"{self._folder} is not a folder; name one that is there")
        own = folder if self._folder is None else self._folder / INDEX_FOLDER
        self.storage: Storage = open_storage(index or read_redirect(own) or own)
        self._source: Source | None = None if self._folder is None else FolderSource(self._folder)
        if self._folder is None and index is not None:
            from polylens.index.storage.bucket import BucketStorage

            self._source = BucketSource(BucketStorage(str(folder)))
        self._embedder = embedder
        self._follows_index = embedder is None  # then the model is the one that the index names, whichever that is
        self._mirror: Mirror | None = None
        if self.storage.is_remote:
            from polylens.index.storage.mirror import mirror_of

            self._mirror = mirror_of(self.storage)
        self._database: Any = None  # LanceDB's connection, kept for the next search
        self._facets: tuple[tuple[str, int], Facets] | None = None  # with the state of the index that they are of
        self._unreadable: dict[str, Unreadable] = {}

    @classmethod
    def open(cls, folder: str | Path, embedder: PageEmbedder | None = None) -> Library:
        """A library that has an index already.

        Raises:
            LibraryNotFoundError: It has none.
            ModelMismatchError: It was made with another model than the embedder's.
        """
        library = cls(folder, embedder)
        library._manifest()
        return library

    @property
    def has_files(self) -> bool:
        """Whether its files are on this machine, not only its index on object storage."""
        return self._folder is not None

    @property
    def folder(self) -> Path:
        """The folder of its files.

        Raises:
            NotFoundError: They are not on this machine.
        """
        if self._folder is None:
            raise NotFoundError(
                f"the files of {self.storage} are not on this machine, only their index can be searched; to update it, "
                f"run `polylens index FOLDER --index {self.storage}` where the files are"
            )
        return self._folder

    @property
    def name(self) -> str:
        """What a user calls it: its folder, or where its index lies if its files are not on this machine."""
        return str(self.storage if self._folder is None else self._folder)

    @property
    def index_path(self) -> Path:
        """The folder of its index, which may redirect to object storage; see `storage`."""
        return self.folder / INDEX_FOLDER

    def view(self) -> View:
        """The index as it is at the first question, for several questions in a row: it is read once for all of them.

        The questions are the methods below, and raise what those raise.
        """
        return View(self.name, self._manifest, self._open_snapshot, self._loaded, self._folder)

    def search(
        self,
        query: Query,
        top: int = 10,
        *,
        by: By = "fused",
        filters: Filters | None = None,
        rerank: Reranking | PageReranker | None = None,
        min_score: float | None = None,
        offset: int = 0,
        group: Group | None = None,
        places: bool = True,
    ) -> Found:
        """The pages that best fit a text, or that look most like an image.

        Args:
            query: A text (never opened as a path), an image, or several of them that are looked for together: words and
                a picture count alike.
            top: Most pages returned.
            by: What ranks: "dense" (one vector per page), "late" (one vector per token), "text" (BM25 of the words in
                the text layer), or "fused", all of them together, which is the best where it was measured.
            filters: Which pages to look among, such as `Filters.of(kinds=["pdf"], since="2026-11-01")`; None is every
                page.
            rerank: What orders the first pages of that ranking anew, from `load_reranker`: the first 20, or as many and
                for as long as a `Reranking` says. The pages that it did not score follow in their old order.
            min_score: Leaves out pages whose `Hit.match` is lower: 0.5 leaves the pages that more likely than not are
                wanted. None leaves out none.
            offset: Places of the list that come before this piece of it, to continue it: `found.next(offset)` is that
                of the next piece. The order does not change while the index does not. The list ends with the pages that
                the first stages find, some hundreds in a library of more than 1,024 pages.
            group: "file" gives each file one place, that of its best page, and `Hit.others` has its further pages: at
                most 10, with a match of at least `min_score`, or else half of that of the best page.
            places: Whether to find the places on each page that fit: where the query's words stand, else, with a model
                that has late interaction, the peaks of its heat map. Those are computed from the index's own vectors.

        Returns:
            At most `top` pages, best first, as a list; `why_nothing` says why there are none. Its `total` counts the
            places of the whole list, and `best` is the best match of any page; `reranked` says how many pages were
            reranked, and in which time.

        Raises:
            InputError: The query is empty, or it is to be ranked by its words and has none, or the reranker does not
                take such a query.
            LibraryNotFoundError: There is no index.
            ModelMismatchError: It was made with another model than the embedder's.
        """
        return self.view().search(
            query,
            top,
            by=by,
            filters=filters,
            rerank=rerank,
            min_score=min_score,
            offset=offset,
            group=group,
            places=places,
        )

    def like(
        self,
        file: str,
        page: int,
        top: int = 10,
        *,
        by: By = "fused",
        filters: Filters | None = None,
        min_score: float | None = None,
        offset: int = 0,
        group: Group | None = None,
        places: bool = True,
    ) -> Found:
        """The pages most like one of the index, that one left out.

        As many of its vectors are taken as a long query has, evenly spread, so that it costs what a search costs. Its
        words are not looked for: a whole page of them finds every page of its language.

        Args:
            file: The file of the page, as in `Hit.file`.
            page: Its number, from 1.
            top: As for `search`, and so are the others. The match says how far a page stands out from the others of the
                library: nobody's wishes are known here.
            places: Whether to find the places where the words stand that both pages share.

        Raises:
            InputError: The index has no such page, or pages are to be ranked by words.
        """
        return self.view().like(
            file, page, top, by=by, filters=filters, min_score=min_score, offset=offset, group=group, places=places
        )

    def why_nothing(self, *, by: By = "fused", filters: Filters | None = None, found: Found | None = None) -> str:
        """Why such a search found no page, as a sentence without its full stop that names the filters at fault.

        Args:
            by: What was to rank.
            filters: The filters of the search.
            found: What it found, where `min_score` or an offset may be the reason: "nothing fits well: the best of 120
                pages has a match of 0.12".
        """
        return self.view().why_nothing(by=by, filters=filters, found=found)

    def unsearchable(self) -> Listing:
        """Everything of the folder that is not searchable, with the reasons, as far as the last update knows.

        Raises:
            DocumentError: The folder cannot be entered.
        """
        return read_listing(self.storage, self._folder)

    def stored(self, file: str, number: int) -> StoredPage:
        """A page as the index has it, hence without its picture.

        Raises:
            InputError: The index has no such page.
        """
        return self.view().stored(file, number)

    def page(self, file: str, number: int, *, view: View | None = None) -> Page:
        """A page of the index as its file has it now.

        Args:
            file: A file of the index.
            number: The number of the page, from 1.
            view: The state of the index that must have the page; None is the present one.

        Raises:
            InputError: The index has no such page.
            DocumentError: The file has gone or cannot be read any more.
            NotFoundError: The files are not on this machine.
        """
        view = view or self.view()
        view.require_page(file, number)
        return read_page(self.folder, file, number, max_pixels=view.embedder.max_pixels)

    def count(self) -> int:
        """Number of pages in the index."""
        return self.view().count()

    def files(self) -> dict[str, FileRecord]:
        """The files in the index."""
        return self.view().files()

    def num_pages(self, files: Sequence[str]) -> dict[str, int]:
        """Number of pages that the index has of each of these files."""
        return self.view().num_pages(files)

    def facets(self) -> Facets:
        """What a search can be narrowed by, with numbers of pages; counted again only once the index has changed."""
        view = self.view()
        if self._facets is None or self._facets[0] != view.version():
            self._facets = (view.version(), view.facets())
        return self._facets[1]

    def update(
        self,
        progress: Callable[[UpdateProgress], None] | None = None,
        *,
        rebuild: bool = False,
        pool: int | None = None,
        is_ready: IsReady | None = None,
        ocr: str | None = None,
        executor: Executor | None = None,
    ) -> Report:
        """Bring the index up to date with the folder.

        Files whose size and time have not changed are not opened. A file appears with all of its pages or not at all,
        and is saved a few seconds after it is embedded; what is saved survives Ctrl-C and kill -9.

        Several processes may do this at once, on several machines that share the folder, too: a file that another one
        saved first counts as unchanged and is not embedded again.

        Args:
            progress: Called for each file and each batch of pages, from this thread.
            rebuild: Make the index anew. The existing one answers until the new one is complete and replaces it; an
                interrupted rebuild continues when called again with the same model.
            pool: Keep one of every `pool` vectors per page (token pooling): a smaller, faster index that finds a little
                less. None keeps to the index's own setting, and all vectors where the index is made anew.
            is_ready: Called for each new or changed file; one that is not ready is left for another time. None takes
                all.
            ocr: Whether the words of pages that are pictures are read: "auto" with what is installed, "off", or in the
                languages of ISO 639 codes such as "de,ru". None keeps to the index's setting, else POLYLENS_OCR, else
                "auto". With another setting, or more installed, the pages concerned are made anew, and no others.
            executor: Reads, embeds and saves the files elsewhere; see `integrations.ray`. None does so here.

        Raises:
            LibraryBusyError: Another process makes the index anew, or so many write to it that commits fail.
            ModelMismatchError: The index was made with another model, and `rebuild` is False.
            StorageError: The disk is full or failing. What was saved stays.
            StorageUnavailableError: Object storage does not answer, or refuses. What was saved stays.
            NotFoundError: The files are not on this machine.
            InputError: The folder cannot be written to, its `.polylensignore` cannot be used, `pool` is not that of
                the existing index, nothing here reads a language that `ocr` names, or the folder has an index of its
                own besides the one on object storage.
        """
        started = time.monotonic()
        source = self._source or FolderSource(self.folder)
        if executor is None and not isinstance(source, FolderSource):
            raise InputError(f"the files of {source} are read by Ray: add --ray local, or the address of a cluster")
        self._require_one_index()
        require_readable_here(ocr)  # before a model is loaded, and an index begun
        embedder = self._loaded()
        store = open_to_write(self.storage, embedder, rebuild=rebuild, pool=pool)
        with store, self.storage.reading():
            if self.storage.is_remote and self.has_files:
                write_redirect(self.index_path, self.storage)
            tell, ready = progress or (lambda _: None), is_ready or (lambda *_: True)
            arguments = (source, store, embedder, tell, ready, self._unreadable, ocr, executor)
            report = Update(*arguments).run()
            self._publish(store)
            if store.has_missed:  # others saved to the index that was replaced: what they saved is in the folder
                report.add(Update(*arguments).run())
        report.seconds = time.monotonic() - started
        return report

    def _publish(self, store: Store) -> None:
        """Let an index that was made anew replace the one before, of which nothing stays."""
        from polylens.index.table.manifest import MANIFEST, manifest_or_none

        replaced = manifest_or_none(self.storage, MANIFEST)
        store.publish()
        if replaced is not None and replaced.table != store.manifest.table:
            forget(self.storage, replaced.table)

    def _require_one_index(self) -> None:
        from polylens.index.table.store import Store

        if self.storage.is_remote and self.has_files and Store.exists(self.index_path):
            raise InputError(
                f"{self.folder} has an index of its own, so {self.storage} would be a second one; remove "
                f"{self.index_path} first"
            )

    def _manifest(self) -> Manifest:
        """The manifest of the index, once it is sure that the embedder is its model or can become it."""
        from polylens.index.table.manifest import read_manifest

        manifest = read_manifest(self.storage)
        if self._embedder is not None and self._embedder.model_id != manifest.model_id:
            if not self._follows_index:
                manifest.require_model(self._embedder.model_id, self.storage)
            self._embedder = None  # the index was made anew with another model, which is loaded once it is needed
        return manifest

    def _open_snapshot(self, manifest: Manifest) -> Snapshot:
        from polylens.index.table.snapshot import Snapshot, open_snapshot

        if self._mirror is not None and (copy := self._mirror.table(manifest.table)) is not None:
            return Snapshot(copy, manifest, self.storage)
        if self._database is None:
            with self.storage.reading():
                self._database = self.storage.connect()
        return open_snapshot(self.storage, manifest, self._database)

    @property
    def embedder(self) -> PageEmbedder:
        """The model, loaded now if it was not yet.

        Raises:
            ModelMismatchError: The one that the index was made with is not found by its name.
        """
        return self._loaded()

    def _loaded(self, manifest: Manifest | None = None) -> PageEmbedder:
        """The embedder that was given, or else the one that the index was made with, found by its name.

        Args:
            manifest: That of the index, where it was read already.
        """
        if self._embedder is not None:
            return self._embedder
        from polylens.index.table.manifest import read_manifest
        from polylens.index.table.store import Store
        from polylens.runtime.embedder import load
        from polylens.runtime.engines.choice import quantization_of

        if manifest is None:
            if self.has_files and not Store.exists(self.storage):
                self._embedder = load(DEFAULT_MODEL)
                return self._embedder
            manifest = read_manifest(self.storage)
        try:
            quantization = quantization_of(manifest.model_id)
            embedder: PageEmbedder = load(manifest.model_name, quantization=quantization)
        except ModelNotFoundError as error:
            raise ModelMismatchError(
                f"the index in {self.storage} was made with the model {manifest.model_id!r}, which is not found by "
                "that name; say where it is with --model, or make the index anew with `polylens index --rebuild`"
            ) from error
        manifest.require_model(embedder.model_id, self.storage)
        self._embedder = embedder
        return embedder
