"""A folder that is kept searchable: its documents, their vectors, the search.

>>> library = Library("~/Documents")  # doctest: +SKIP
>>> library.update()  # doctest: +SKIP
>>> library.search("the invoice of the plumber")[0].file  # doctest: +SKIP

The index lies in `FOLDER/.polylens/`, or on object storage, for any number of machines to search:

>>> Library("~/Documents", index="s3://shelf/documents").update()  # doctest: +SKIP
>>> Library("s3://shelf/documents").search("the invoice of the plumber")[0].file  # doctest: +SKIP

Nothing but `.polylens/` in the folder is ever written to.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from polylens import types
from polylens.documents import open_document
from polylens.errors import (
    DocumentError,
    InputError,
    LibraryNotFoundError,
    ModelMismatchError,
    ModelNotFoundError,
    NotFoundError,
)
from polylens.index.storage.places import ELSEWHERE, Place, elsewhere, is_remote, place_of, remember
from polylens.library.update import Change as Change
from polylens.library.update import PageEmbedder as PageEmbedder
from polylens.library.update import Progress as Progress
from polylens.library.update import Ready as Ready
from polylens.library.update import Report as Report
from polylens.library.update import Update, join
from polylens.types import Embedding, Kind, Page

if TYPE_CHECKING:
    from polylens.index.facets import Facets
    from polylens.index.ranking.filters import Filters
    from polylens.index.search import By, Hit
    from polylens.index.table.store import FileRecord, Snapshot, Store, StoredPage

INDEX_FOLDER = ".polylens"
DEFAULT_MODEL = "nano"

LIKE_TOKENS = 64  # vectors by which a page is compared with all others


class Library:
    """A folder and its index.

    Args:
        folder: The folder to search in; or `s3://BUCKET/PREFIX`, an index alone, whose files are not on this machine.
        embedder: The model; None to load the one that the index was made with (nano for a new index) once it is
            needed.
        index: `s3://BUCKET/PREFIX`, to keep the index there and not in the folder, which is told of it by `update`.

    Raises:
        LibraryNotFoundError: There is no such folder.
        InputError: `index` is not such an address, or what object storage needs is not installed.
    """

    def __init__(self, folder: str | Path, embedder: PageEmbedder | None = None, *, index: str | None = None) -> None:
        if index is not None and (is_remote(folder) or not is_remote(index)):
            raise InputError(f"index must be s3://BUCKET/PREFIX, for a folder of this machine, got {index!r}")
        self._folder = None if is_remote(folder) else Path(folder).expanduser().absolute()
        if self._folder is not None and not self._folder.is_dir():
            raise LibraryNotFoundError(f"{self._folder} is not a folder; name one that is there")
        own = folder if self._folder is None else self._folder / INDEX_FOLDER
        self.place: Place = place_of(index or elsewhere(own) or own)
        self._embedder = embedder
        self._is_own = embedder is None  # then the one that the index names, whichever that is
        self._store: Store | None = None
        self._facets: tuple[tuple[str, int], Facets] | None = None  # and the state of the index that they are of
        self._useless: dict[str, tuple[os.stat_result, str]] = {}  # what cannot be read, as it was when it was tried

    @classmethod
    def open(cls, folder: str | Path, embedder: PageEmbedder | None = None) -> Library:
        """A library that has an index already.

        Raises:
            LibraryNotFoundError: It has none.
            ModelMismatchError: It was made with another model than the embedder's.
        """
        from polylens.index.table.store import read_manifest

        library = cls(folder, embedder)
        read_manifest(library.place, model_id=embedder.model_id if embedder else None)
        return library

    @property
    def has_files(self) -> bool:
        """Whether its files are on this machine, not only its index on object storage."""
        return self._folder is not None

    @property
    def folder(self) -> Path:
        """Where its files are.

        Raises:
            NotFoundError: They are not on this machine.
        """
        if self._folder is None:
            raise NotFoundError(f"the files of {self.place} are not on this machine, only their index can be searched")
        return self._folder

    @property
    def name(self) -> str:
        """What a person calls it by: its folder, or where its index lies if its files are not on this machine."""
        return str(self.place if self._folder is None else self._folder)

    @property
    def index_path(self) -> Path:
        """The folder of its index, which may say that it is elsewhere; see `place`."""
        return self.folder / INDEX_FOLDER

    def search(
        self,
        query: str | types.Image | PIL.Image.Image | Sequence[str | types.Image | PIL.Image.Image],
        top: int = 10,
        *,
        by: By = "fused",
        folder: str | None = None,
        kinds: Sequence[Kind] | None = None,
        languages: Sequence[str] | None = None,
        since: date | str | None = None,
        until: date | str | None = None,
    ) -> list[Hit]:
        """The pages that best fit a text, or that look most like an image.

        Args:
            query: A text (never opened as a path), an image, or several of them that are looked for together.
            top: How many pages are wanted.
            by: What ranks them: "dense" (one vector a page), "late" (one vector a token), "text" (BM25 of the words
                in the text layer), or "fused", all of them together, which is the best where it was measured.
            folder: Look below this folder only, named as in `Hit.file`.
            kinds: Look among these kinds only: "pdf", "image", "text", "document", "slides", "sheet". A picture inside
                a document is an "image".
            languages: Look among texts in these languages only, named by their ISO 639 codes: "de", "zh".
            since: Look among files modified on this day or later only: a date, or one such as "2026-11-01", in this
                machine's time zone.
            until: The same for this day or before.

        Returns:
            At most `top` pages, best first; `why_nothing` says why there are none.

        Raises:
            InputError: The query is empty, it is to be ranked by its words and has none, or a filter cannot be
                understood.
            LibraryNotFoundError: There is no index.
            ModelMismatchError: It was made with another model than the embedder's.
        """
        _require_top(top)
        filters = _filters(folder, kinds, languages, since, until)
        parts = [query] if isinstance(query, (str, types.Image, PIL.Image.Image)) else list(query)
        if not parts:
            raise InputError("the query is empty; say what to look for")
        words = " ".join(part for part in parts if isinstance(part, str))
        _require_ranking(by, has_words=bool(words.strip()))
        from polylens.index.search import search

        store = self._reader()
        embedding = join(self._loaded().embed(parts, task="retrieval", prompt_name="query"))
        return search(store, embedding, top, by=by, query_words=words, filters=filters)

    def like(
        self,
        file: str,
        page: int,
        top: int = 10,
        *,
        by: By = "fused",
        folder: str | None = None,
        kinds: Sequence[Kind] | None = None,
        languages: Sequence[str] | None = None,
        since: date | str | None = None,
        until: date | str | None = None,
    ) -> list[Hit]:
        """The pages most like one that is in the index, that one left out.

        Of its vectors as many as a long query has are taken, evenly spread, so that it costs what a search costs. Its
        words are not looked for: a whole page of them finds every page of its language.

        Args: as for `search`.

        Raises:
            InputError: The index has no such page, pages are to be ranked by words, or a filter cannot be understood.
        """
        _require_top(top)
        filters = _filters(folder, kinds, languages, since, until)
        _require_ranking(by, has_words=False)
        from polylens.index.ranking.pooling import evenly
        from polylens.index.search import search, snippet

        store = self._reader()
        snapshot = store.snapshot()
        row = _row_of(snapshot, file, page)
        [stored], [tokens] = snapshot.fetch([row]), snapshot.multivectors([row])
        spread = evenly(tokens, LIKE_TOKENS).astype(np.float32)
        found = search(store, Embedding(snapshot.dense_of(row), spread), top + 1, by=by, filters=filters)
        others = [hit for hit in found if (hit.file, hit.page) != (file, page)][:top]
        return [replace(hit, snippet=snippet(hit.text, stored.text)) for hit in others]

    def why_nothing(
        self,
        *,
        by: By = "fused",
        folder: str | None = None,
        kinds: Sequence[Kind] | None = None,
        languages: Sequence[str] | None = None,
        since: date | str | None = None,
        until: date | str | None = None,
    ) -> str:
        """Why such a search found no page: a sentence without its full stop. It names the filters that leave none."""
        filters = _filters(folder, kinds, languages, since, until)
        snapshot = self._reader().snapshot()
        where = snapshot.where(filters)
        if not snapshot.count():
            return f"the index is empty: {self.name} has no PDF, picture, text or office document that can be read"
        if not snapshot.count(where):
            if filters.languages and not snapshot.has_languages:
                return "no page of this index has a language yet; `polylens index` tells them, or take a filter away"
            strict = [each for each in filters.alone() if not snapshot.count(snapshot.where(each))]
            named = " nor ".join(each.in_words() for each in strict) or filters.in_words()
            return f"no page is {named}; take a filter away"
        page = "no page that the filters leave" if where else "no page"
        if by == "text":
            return f"{page} has any of these words in its text; rank by late, dense or fused to go by meaning and looks"
        return f"{page} is there but this one"

    def stored(self, file: str, number: int) -> StoredPage:
        """A page as the index has it, hence without its picture.

        Raises:
            InputError: The index has no such page.
        """
        snapshot = self._reader().snapshot()
        return snapshot.fetch([_row_of(snapshot, file, number)])[0]

    def page(self, file: str, number: int) -> Page:
        """A page of the index as it lies in its file now.

        Raises:
            InputError: The index has no such page.
            DocumentError: The file has gone or cannot be read any more.
            NotFoundError: The files are not on this machine.
        """
        _row_of(self._reader().snapshot(), file, number)
        with open_document(self.folder / file, max_pixels=self._loaded().max_pixels) as document:
            if number > document.num_pages:
                raise DocumentError(f"{file} has changed since it was indexed: it has {document.num_pages} pages now")
            return document.page(number)

    def count(self) -> int:
        """Number of pages in the index."""
        return self._reader().count()

    def files(self) -> dict[str, FileRecord]:
        """The files in the index."""
        return self._reader().files()

    def facets(self) -> Facets:
        """What its pages can be narrowed by, with numbers of pages; counted anew only once the index has changed."""
        from polylens.index.facets import count_facets

        store = self._reader()
        if self._facets is None or self._facets[0] != store.version():
            snapshot = store.snapshot()
            self._facets = (snapshot.version, count_facets(snapshot))
        return self._facets[1]

    def num_pages(self, files: Sequence[str]) -> dict[str, int]:
        """Pages of each of these files that the index has."""
        return self._reader().snapshot().num_pages(files)

    def update(
        self,
        progress: Callable[[Progress], None] | None = None,
        *,
        rebuild: bool = False,
        pool: int | None = None,
        is_ready: Ready | None = None,
    ) -> Report:
        """Bring the index up to date with the folder.

        Files whose size and time are those of the index are not opened. A file appears with all of its pages or not
        at all, and is saved a few seconds after it is through; what is saved survives Ctrl-C and kill -9.

        Args:
            progress: Called for each file and each batch of pages, from this thread.
            rebuild: Make the index anew. The one that is there answers until the new one is complete and takes its
                place; one that was interrupted goes on when called again with the same model.
            pool: Keep one vector in so many of each page's multi-vector (token pooling): a smaller, quicker index that
                finds a little less. None goes on as the index was made; one that is made anew keeps all.
            is_ready: Asked for each file that is new or has changed; what is not ready is left for another time.
                None takes all.

        Raises:
            LibraryBusyError: Another process is at it.
            ModelMismatchError: The index was made with another model, and `rebuild` is False.
            StorageError: The disk is full or failing. What was saved stays.
            StorageUnavailableError: Object storage does not answer, or refuses. What was saved stays.
            NotFoundError: The files are not on this machine.
            InputError: The folder cannot be written to, its `.polylensignore` cannot be used, `pool` is not that of
                the index that is there, or the index is to be elsewhere while the folder has one of its own.
        """
        started = time.monotonic()
        folder = self.folder
        self._require_one_index()
        embedder = self._loaded()
        store = self._writer(embedder, rebuild, pool)
        with store, self.place.reading():
            if self.place.is_remote:
                remember(self.index_path, self.place)
            update = Update(
                folder, store, embedder, progress or (lambda _: None), is_ready or (lambda *_: True), self._useless
            )
            update.run()
            store.publish()
        update.report.seconds = time.monotonic() - started
        return update.report

    def _require_one_index(self) -> None:
        from polylens.index.table.store import Store

        if self.place.is_remote and Store.exists(self.index_path):
            raise InputError(
                f"{self.folder} has an index of its own, so {self.place} would be a second one; remove "
                f"{self.index_path} first"
            )

    def _writer(self, embedder: PageEmbedder, rebuild: bool, pool: int | None) -> Store:
        from polylens.index.ranking.pooling import pool_tokens
        from polylens.index.table.store import Store, read_manifest

        exists = Store.exists(self.place)
        if exists and not rebuild:
            known = read_manifest(self.place).pool
            if pool not in (None, known):
                raise InputError(
                    f"the index keeps one vector in {known}, got pool {pool}; make it anew with `polylens index "
                    f"--rebuild --pool {pool}`"
                )
            return Store.open(self.place, model_id=embedder.model_id, write=True)
        [one] = embedder.embed(["?"], task="retrieval", prompt_name="passage")  # shows how wide its vectors are
        pool = 1 if pool is None else pool
        pool_tokens(one.multivector, pool)  # refused now if it cannot be done, and not when an index was begun
        make = Store.stage if exists else Store.create
        return make(self.place, embedder.model_id, len(one.dense), one.multivector.shape[1], pool=pool)

    def _reader(self) -> Store:
        from polylens.index.table.store import Store, read_manifest

        manifest = read_manifest(self.place)
        if self._is_own and self._embedder is not None and self._embedder.model_id != manifest.model_id:
            self._embedder = None  # it was made anew with another model since
        model_id = self._embedder.model_id if self._embedder else None
        store = self._store
        if store is None or store.manifest != manifest:
            self._store = store = Store.open(self.place, model_id=model_id)
        return store

    @property
    def embedder(self) -> PageEmbedder:
        """The model, loaded now if it was not yet.

        Raises:
            ModelMismatchError: The one that the index was made with is not found by its name.
        """
        return self._loaded()

    def _loaded(self) -> PageEmbedder:
        """The embedder that was given, or else the one that the index was made with, found by its name."""
        if self._embedder is not None:
            return self._embedder
        from polylens.index.table.store import Store, read_manifest
        from polylens.runtime.embedder import load

        if self.has_files and not Store.exists(self.place):
            self._embedder = load(DEFAULT_MODEL)
            return self._embedder
        manifest = read_manifest(self.place)
        try:
            embedder: PageEmbedder = load(manifest.model_name)
        except ModelNotFoundError as error:
            raise ModelMismatchError(
                f"the index in {self.place} was made with the model {manifest.model_id!r}, which is not found by "
                "that name; say where it is with --model, or make the index anew with `polylens index --rebuild`"
            ) from error
        read_manifest(self.place, model_id=embedder.model_id)
        self._embedder = embedder
        return embedder


def _row_of(snapshot: Snapshot, file: str, page: int) -> int:
    """Where a page lies in the index.

    Raises:
        InputError: The index has no such page.
    """
    row = snapshot.row_of(file, page)
    if row is None:
        raise InputError(f"the index has no page {page} of {file!r}")
    return row


def _filters(
    folder: str | None,
    kinds: Sequence[Kind] | None,
    languages: Sequence[str] | None,
    since: date | str | None,
    until: date | str | None,
) -> Filters:
    from polylens.index.ranking.filters import Filters

    return Filters.of(folder, kinds, languages, since, until)


def _require_top(top: int) -> None:
    if top < 1:
        raise InputError(f"top must be at least 1, got {top}")


def _require_ranking(by: str, *, has_words: bool) -> None:
    from polylens.index.search import RANKINGS

    if by not in RANKINGS:
        raise InputError(f"by must be one of {', '.join(RANKINGS)}, got {by!r}")
    if by == "text" and not has_words:
        raise InputError("full text needs words, and this query has none; rank by late, dense or fused")


def find_library(start: str | Path = ".") -> Path:
    """The nearest folder, from here upwards, that holds an index, or is told of one, as git finds its repository.

    Raises:
        LibraryNotFoundError: None does.
    """
    start = Path(start).expanduser().resolve()
    for folder in (start, *start.parents):
        if any((folder / INDEX_FOLDER / name).is_file() for name in ("index.json", ELSEWHERE)):
            return folder
    raise LibraryNotFoundError(f"no index in {start} or above it; make one with `polylens index FOLDER`")
