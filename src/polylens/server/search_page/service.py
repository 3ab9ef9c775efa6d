"""A library that a server searches for its page, and keeps up to date in the background."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from polylens.errors import (
    FieldError,
    InputError,
    LibraryNotFoundError,
    ModelMismatchError,
    NotFoundError,
    PolylensError,
)
from polylens.index.facets import Facets
from polylens.index.ranking.match import GOOD
from polylens.index.ranking.word_boxes import unpack
from polylens.index.table.manifest import Manifest, read_manifest
from polylens.index.table.store import Store
from polylens.library.library import Library
from polylens.library.picture_pages import require_readable_here
from polylens.library.reranking import Found, Reranking
from polylens.library.results import hit_dict, list_dict, reranked_dict
from polylens.library.unsearchable import Listing
from polylens.library.view import Group, View
from polylens.library.watch import Follower
from polylens.server.concurrency import in_thread
from polylens.server.engine.bridge import ServedEmbedder
from polylens.server.engine.ranking_bridge import ServedReranker
from polylens.server.engine.registry import Registry, Served
from polylens.server.search_page.explaining import explain
from polylens.server.search_page.pictures import PagePicture, encoded, placed
from polylens.server.search_page.updates import UpdateStatus
from polylens.types import PICTURED, Box

if TYPE_CHECKING:
    from polylens.index.ranking.filters import Filters
    from polylens.index.search import By, Hit

log = logging.getLogger("polylens.server")

T = TypeVar("T")

SHOWN_FAILURES = 200  # files that the page lists

SPANS = {"week": 7, "month": 30, "year": 365}  # days before today; the page counts in the same spans

THREADS = 4  # searches and page images at once
RERANKING_THREADS = 2  # searches with a rerank stage at once, which may take long

ONLY_TEXT = "the files are not on this machine; this is the text of the page from the index"


@dataclass(frozen=True, kw_only=True, slots=True)
class RerankWish:
    """The rerank stage that a search asks for."""

    model: str | None
    """The name of a served model; None is the first one that is trained to rerank."""
    pages: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which pages a search shows; as for `Library.search`."""

    top: int
    by: By = "fused"
    filters: Filters | None = None
    min_score: float | None = None
    offset: int = 0
    group: Group | None = None
    places: bool = True


class LibraryService:
    """Searches a folder that it keeps up to date, or an index on object storage as it is.

    Where somebody rebuilds the index with another model, the service changes to that model. It takes it from those
    served, or finds it by its name and serves it from then on.

    Args:
        where: A folder, or `s3://BUCKET/PREFIX`.
        models: The served models. The library uses the one that its index was made with; a new index uses the first
            that produces vectors.
        ocr: The setting of OCR, as for `Library.update`.

    Raises:
        LibraryNotFoundError: There is no such folder, or no index on object storage.
        ModelMismatchError: The index was made with none of the models.
        InputError: All models are rerankers, or nothing here reads a language that `ocr` names.
        StorageUnavailableError: Object storage does not answer, or denies access.
    """

    def __init__(self, where: str | Path, models: Registry, *, ocr: str | None = None) -> None:
        self._where = where
        self._ocr = ocr
        require_readable_here(ocr)
        library = Library(where)  # raises where there is no such folder
        self.name = library.name
        self._storage = library.storage
        self._models = models
        self._served = _first_with_vectors(models)
        if not library.has_files or Store.exists(library.storage):
            self._served = models.made(read_manifest(library.storage).model_id) or self._served
            read_manifest(library.storage, model_id=self._served.model_id)
        self._library: Library | None = None
        self._changing = asyncio.Lock()
        self._status = UpdateStatus(self._request_model_change)
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="polylens-library")
        self._reranks = ThreadPoolExecutor(max_workers=RERANKING_THREADS, thread_name_prefix="polylens-rerank")
        self._updates = ThreadPoolExecutor(max_workers=1, thread_name_prefix="polylens-update")
        self._follower: Follower | None = None
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the background updates. It must be called in the thread of the event loop."""
        self._loop = asyncio.get_running_loop()
        self._embedder = ServedEmbedder(self._served, self._loop)
        self._library = Library(self._where, self._embedder)
        if not self._library.has_files:
            return
        if self._follower is not None:  # with the model before; the one thread runs the new follower after it
            self._follower.stop()
        self._follower = Follower([self._library], self._status, ocr=self._ocr)
        self._following = asyncio.create_task(in_thread(self._updates, self._follower.run))
        self._following.add_done_callback(_log_death)

    async def stop(self) -> None:
        """Ends the update under way after the pages at hand. Finished pages are kept."""
        if self._follower is not None and self._following is not None:
            self._follower.stop()
            await asyncio.gather(self._following, return_exceptions=True)
        await asyncio.to_thread(self._updates.shutdown, wait=True)
        for threads in (self._threads, self._reranks):
            threads.shutdown(wait=False, cancel_futures=True)

    async def state(self) -> dict[str, Any]:
        """The library as the page describes it: its model, its size, the values to filter by, the update under way."""
        facets, listing = await self._facets(), await self._listing()
        today = date.today()
        return {
            "folder": self.name,
            "name": Path(self.name).name,
            "model": self._served.name,
            "matches": "meaning" if self._served.entry is None else self._served.entry.matches,
            "rerankers": [served.name for served in self._models if served.scores_pairs],
            "files": len(facets.files),
            "pages": facets.num_pages,
            "facets": {
                "kinds": facets.kinds,
                "folders": facets.folders,
                "languages": facets.languages,
                "modified": {name: facets.num_since(today - timedelta(days=days)) for name, days in SPANS.items()},
            },
            "updating": self._updating(),
            "problem": self._status.message,
            "min_score": GOOD,
            "unsearchable": listing.counts(),
            "failed": [{"file": file, "reason": reason} for file, reason in self._status.failed[:SHOWN_FAILURES]],
        }

    async def search(self, parts: Sequence[Any], wanted: Wanted, rerank: RerankWish | None = None) -> dict[str, Any]:
        """Finds the pages that match texts and images best."""
        require_query(parts)
        started = time.perf_counter()
        if rerank is None:
            find = partial(View.search, query=parts, **_arguments(wanted))
            return await self._results(find, started, wanted)
        reranker = ServedReranker(self._reranker(rerank.model), self._loop)
        stage = Reranking(reranker, rerank.pages, rerank.seconds)
        find = partial(View.search, query=parts, rerank=stage, **_arguments(wanted))
        try:
            return await self._results(find, started, wanted, threads=self._reranks)
        finally:
            reranker.cancel()  # if the client went away, nobody waits for further scores

    async def like(self, file: str, page: int, wanted: Wanted) -> dict[str, Any]:
        """Finds the pages that are most similar to a page of the index."""
        started = time.perf_counter()
        return await self._results(partial(View.like, file=file, page=page, **_arguments(wanted)), started, wanted)

    async def unsearchable(self, offset: int, top: int) -> dict[str, Any]:
        """A piece of the list of the files and parts that are not searchable, and the kinds that are not read."""
        listing = await self._listing()
        files = listing.files[offset : offset + top]
        return {
            "files": [{"file": each.file, "reason": each.reason, "part": each.part} for each in files],
            "kinds": [asdict(each) for each in listing.kinds],
            "next": offset + top if offset + top < len(listing.files) else None,
        }

    async def _listing(self) -> Listing:
        """What is not searchable: as the last update reports it, or before the first has ended as the index knows."""
        if self._status.listing is None:
            with contextlib.suppress(PolylensError):  # no index yet, or no folder any more
                found = await self._call(lambda: self._open().unsearchable())
                self._status.listing = self._status.listing or found  # an update may have ended meanwhile
        return self._status.listing or Listing()

    async def image(self, file: str, page: int, width: int, marks: Sequence[Box] = ()) -> PagePicture:
        """Renders a page.

        Args:
            file: A file of the index.
            page: The number of the page, from 1.
            width: The most pixels per row.
            marks: The places to mark on it.

        Raises:
            NotFoundError: The page is a text without an image.
        """
        return await self._call(lambda: self._image(file, page, width, marks))

    async def text(self, file: str, page: int) -> dict[str, Any]:
        """The text of a page, where its words stand, and the number of pages of its file.

        A note says so where the file is not on this machine.
        """
        return await self._call(lambda: self._text(file, page))

    async def file(self, name: str) -> Path:
        """The path of a file of the index.

        Raises:
            NotFoundError: The index has no such file, or the files are not on this machine.
        """
        if name not in (await self._facets()).files:
            raise NotFoundError(f"the index has no file {name!r}")
        return self._open().folder / name

    async def pages(self, after: tuple[str, int] | None, most: int) -> list[tuple[str, int]]:
        """See `View.pages`; none while there is no index."""
        try:
            return await self._call(lambda: self._open().view().pages(after, most))
        except LibraryNotFoundError:
            return []

    async def why(self, query: str, file: str, page: int) -> dict[str, Any]:
        """The places on a page that the words of a query match."""
        return await self._call(lambda: self._why(query, file, page))

    def _request_model_change(self) -> None:
        """Changes the model from another thread than the event loop's."""
        asyncio.run_coroutine_threadsafe(self._change_model(), self._loop)

    async def _change_model(self) -> None:
        """Changes to the model that the index has been rebuilt with.

        Raises:
            ModelMismatchError: It is neither served nor found by its name.
        """
        async with self._changing:
            manifest = await asyncio.to_thread(read_manifest, self._storage)
            if manifest.model_id == self._served.model_id:
                return  # another request has done it
            served = self._models.made(manifest.model_id)
            if served is None:
                served = await self._open_model(manifest)
                self._models.add(served)
            log.info(
                "the index of %s was rebuilt with %s, which searches it from now on",
                self.name,
                served.model_id,
            )
            self._served, self._status.message = served, ""
            self.start()

    async def _open_model(self, manifest: Manifest) -> Served:
        try:
            served = await asyncio.to_thread(self._models.open, manifest.model_name)
            if served.model_id == manifest.model_id:
                return served
            reason = f"the model of that name here is {served.model_id}"
        except PolylensError as error:
            reason = str(error).removesuffix(".")
        self._status.message = (
            f"the index of {self.name} was rebuilt with another model, {manifest.model_id}, which this server cannot "
            f"load: {reason}. Restart the server with --model"
        )
        log.error("%s", self._status.message)
        raise ModelMismatchError(self._status.message)

    def _updating(self) -> dict[str, Any] | None:
        return self._status.summary()

    def _reranker(self, name: str | None) -> Served:
        if name is not None:
            return self._models.find(name)
        found = next((served for served in self._models if served.scores_pairs), None)
        if found is None:
            raise FieldError(
                "is missing, and no served model is trained to rerank; start the server with one more --model, or name "
                "a model whose vectors are to be compared",
                "rerank.model",
            )
        return found

    async def _results(
        self, find: Callable[[View], Found], started: float, wanted: Wanted, threads: ThreadPoolExecutor | None = None
    ) -> dict[str, Any]:
        found = await self._call(lambda: self._rows(find, wanted), threads)
        if not found["results"] and self._updating() and not (await self._facets()).files:
            found["reason"] = "nothing is indexed yet; it is being done right now"
        return {**found, "seconds": round(time.perf_counter() - started, 4)}

    def _rows(self, find: Callable[[View], Found], wanted: Wanted) -> dict[str, Any]:
        """The pages that were found, or the reason why there are none; one view of the index answers both."""
        library = self._open()
        view = library.view()
        found = find(view)
        counts = view.num_pages([hit.file for hit in found])

        def row(hit: Hit) -> dict[str, Any]:
            told = hit_dict(replace(hit, others=None))
            others = {} if hit.others is None else {"others": [row(each) for each in hit.others]}
            pictured = hit.kind in PICTURED and library.has_files
            return {**told, "pages": counts.get(hit.file, hit.page), "picture": pictured, **others}

        return {
            "results": [row(hit) for hit in found],
            **list_dict(found, wanted.offset),
            "reason": None if found else view.why_nothing(by=wanted.by, filters=wanted.filters, found=found),
            "reranked": None if found.reranked is None else reranked_dict(found.reranked),
        }

    def _open(self) -> Library:
        assert self._library is not None, "call start() first"
        return self._library

    async def _facets(self) -> Facets:
        """The values to filter by; none while there is no index, or an index of a model that is not here."""
        with contextlib.suppress(LookupError, ModelMismatchError):
            return await self._call(lambda: self._open().facets())
        return Facets({}, {}, {}, {}, np.zeros(0, np.int64))

    def _image(self, name: str, number: int, width: int, marks: Sequence[Box]) -> PagePicture:
        page = self._open().page(name, number)
        if page.image is None:
            raise NotFoundError(f"page {number} of {name!r} is a text without an image")
        return encoded(page.image, width, is_photo=not page.text, marks=marks)

    def _text(self, name: str, number: int) -> dict[str, Any]:
        """What one view of the index knows of a page, such as the words that were read off its picture."""
        library = self._open()
        view = library.view()
        stored = view.stored(name, number)
        boxes = unpack(stored.words)
        return {
            "text": stored.text,
            "picture": library.has_files and stored.kind in PICTURED,
            "pages": view.num_pages([name]).get(name),
            "words": [] if boxes is None else [placed(word) for word in boxes.words(stored.text)],
            "note": "" if library.has_files else ONLY_TEXT,
        }

    def _why(self, query: str, name: str, number: int) -> dict[str, Any]:
        page = self._open().page(name, number)
        if page.image is None or not query.strip():
            return {"rows": 0, "columns": 0, "words": [], "whole": []}
        return asdict(explain(self._embedder, query, page.image))

    async def _call(self, function: Callable[[], T], threads: ThreadPoolExecutor | None = None) -> T:
        """Calls a function in a thread, and once more where the index turns out to be of another model by now."""
        threads = threads or self._threads
        try:
            return await in_thread(threads, function)
        except ModelMismatchError:
            await self._change_model()
            return await in_thread(threads, function)


def _arguments(wanted: Wanted) -> dict[str, Any]:
    """The arguments of `View.search` and `View.like`."""
    return {each.name: getattr(wanted, each.name) for each in fields(wanted)}


def _first_with_vectors(models: Registry) -> Served:
    for served in models:
        if served.embeds:
            return served
    raise InputError(
        "a library needs a model that produces vectors, and all models of this server are rerankers; add --model nano"
    )


def _log_death(task: asyncio.Task[None]) -> None:
    """Logs a defect that ended the updates; searching goes on."""
    if not task.cancelled() and (error := task.exception()):
        log.error("the library is no longer updated", exc_info=error)


def require_query(parts: Sequence[Any]) -> None:
    """Refuses an empty query.

    Raises:
        FieldError: There is no text and no image.
    """
    if not any(part.strip() if isinstance(part, str) else True for part in parts):
        raise FieldError("is empty; say what to look for, or send an image", "query")
