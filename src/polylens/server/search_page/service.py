"""A library beside the models of a server: kept up to date in the background, searched from requests."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import PIL.Image

from polylens.errors import InputError, ModelMismatchError, NotFoundError, PolylensError
from polylens.index.facets import Facets
from polylens.index.table.manifest import Manifest, read_manifest
from polylens.index.table.store import Store
from polylens.library.library import Library
from polylens.library.progress import Report, UpdateProgress
from polylens.library.results import hit_dict
from polylens.library.watch import Follower
from polylens.server.concurrency import in_thread
from polylens.server.engine.bridge import ServedEmbedder
from polylens.server.engine.registry import Registry, Served
from polylens.server.search_page.explaining import explain

if TYPE_CHECKING:
    from polylens.index.ranking.filters import Filters
    from polylens.index.search import By, Hit
    from polylens.library.view import View

log = logging.getLogger("polylens.server")

Found = TypeVar("Found")

SHOWN_FAILURES = 200

SPANS = {"week": 7, "month": 30, "year": 365}  # days before today; the page reckons with the same

THREADS = 4  # searches and pages at once

PICTURED = ("pdf", "image")  # kinds of pages that are looked at; any other is read
ONLY_TEXT = "the files are not on this machine: this is the text that the index has of the page"


class LibraryService:
    """One folder; or an index on object storage, which is searched as it is.

    Where its index is made anew with another model, that one is taken: one of those served, or one found by its name,
    which is served from then on.

    Args:
        where: What is searched: a folder, or `s3://BUCKET/PREFIX`.
        models: Its pages are embedded with the one that its index was made with, those of a new one with the first.

    Raises:
        LibraryNotFoundError: There is no such folder, or no index on object storage.
        ModelMismatchError: Its index was made with none of the models.
        StorageUnavailableError: Object storage does not answer, or refuses.
    """

    def __init__(self, where: str | Path, models: Registry) -> None:
        self._where = where
        library = Library(where)  # refuses a folder that is not there
        self.name = library.name
        self._storage = library.storage
        self._models = models
        self._served = next(iter(models))
        if not library.has_files or Store.exists(library.storage):
            self._served = models.made(read_manifest(library.storage).model_id) or self._served
            read_manifest(library.storage, model_id=self._served.model_id)
        self._library: Library | None = None
        self._changing = asyncio.Lock()
        self._progress: UpdateProgress | None = None
        self._began = 0.0  # when the pages of this update began
        self._failed: list[tuple[str, str]] = []
        self._problem = ""
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="polylens-library")
        self._updates = ThreadPoolExecutor(max_workers=1, thread_name_prefix="polylens-update")
        self._follower: Follower | None = None
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to keep the library up to date. From the event loop's thread."""
        self._loop = asyncio.get_running_loop()
        self._embedder = ServedEmbedder(self._served, self._loop)
        self._library = Library(self._where, self._embedder)
        if not self._library.has_files:
            return
        if self._follower is not None:  # of the model before; its thread takes the new one up when it is done
            self._follower.stop()
        self._follower = Follower([self._library], self)
        self._following = asyncio.create_task(in_thread(self._updates, self._follower.run))
        self._following.add_done_callback(_log_death)

    async def stop(self) -> None:
        """Ends the update under way after what it is at; what is finished is kept."""
        if self._follower is not None and self._following is not None:
            self._follower.stop()
            await asyncio.gather(self._following, return_exceptions=True)
        await asyncio.to_thread(self._updates.shutdown, wait=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def state(self) -> dict[str, Any]:
        """What the page shows of the library."""
        facets = await self._facets()
        today = date.today()
        return {
            "folder": self.name,
            "name": Path(self.name).name,
            "model": self._served.name,
            "files": len(facets.files),
            "pages": facets.num_pages,
            "facets": {
                "kinds": facets.kinds,
                "folders": facets.folders,
                "languages": facets.languages,
                "modified": {name: facets.num_since(today - timedelta(days=days)) for name, days in SPANS.items()},
            },
            "updating": self._updating(),
            "problem": self._problem,
            "failed": [{"file": file, "reason": reason} for file, reason in self._failed[:SHOWN_FAILURES]],
        }

    async def search(self, parts: Sequence[Any], *, top: int, by: By, filters: Filters) -> dict[str, Any]:
        """The pages that fit texts and images best."""
        require_query(parts)
        started = time.perf_counter()
        return await self._results(lambda view: view.search(parts, top, by=by, filters=filters), started, by, filters)

    async def like(self, file: str, page: int, *, top: int, by: By, filters: Filters) -> dict[str, Any]:
        """The pages most like one of the index."""
        started = time.perf_counter()
        return await self._results(
            lambda view: view.like(file, page, top, by=by, filters=filters), started, by, filters
        )

    async def picture(self, file: str, page: int, width: int) -> bytes:
        """A page as PNG, at most so many pixels wide.

        Raises:
            NotFoundError: It is a text without a picture.
        """
        return await self._call(lambda: self._picture(file, page, width))

    async def text(self, file: str, page: int) -> dict[str, Any]:
        """The text of a page, and how many pages its file has; a note where its picture is not on this machine."""
        library = self._open()
        pages = (await self._call(lambda: self._open().num_pages([file]))).get(file)
        if not library.has_files:
            stored = await self._call(lambda: self._open().stored(file, page))
            return {"text": stored.text, "picture": False, "pages": pages, "note": ONLY_TEXT}
        found = await self._call(lambda: library.page(file, page))
        return {"text": found.text, "picture": found.image is not None, "pages": pages, "note": ""}

    async def file(self, name: str) -> Path:
        """Where a file of the index lies.

        Raises:
            NotFoundError: The index has no such file, or the files are not on this machine.
        """
        if name not in (await self._facets()).files:
            raise NotFoundError(f"the index has no file {name!r}")
        return self._open().folder / name

    async def why(self, query: str, file: str, page: int) -> dict[str, Any]:
        """Where on a page the words of a query are."""
        return await self._call(lambda: self._why(query, file, page))

    def progress(self, _library: Library, progress: UpdateProgress) -> None:
        """As the follower tells it, from its thread."""
        if self._progress is None or self._progress.phase != progress.phase:
            self._began = time.monotonic()
        self._progress = progress

    def updated(self, _library: Library, report: Report) -> None:
        """As above: an update is through."""
        self._failed, self._problem, self._progress = report.failed, "", None

    def problem(self, _library: Library, error: Exception) -> None:
        """As above: one was not possible."""
        self._progress = None
        if isinstance(error, ModelMismatchError):
            asyncio.run_coroutine_threadsafe(self._change_model(), self._loop)
            return
        self._problem = str(error)
        log.error("the library could not be brought up to date: %s", self._problem)

    async def _change_model(self) -> None:
        """Takes the model that the index was made with since.

        Raises:
            ModelMismatchError: It is not served, and not found by its name.
        """
        async with self._changing:
            manifest = await asyncio.to_thread(read_manifest, self._storage)
            if manifest.model_id == self._served.model_id:
                return  # another request has seen to it
            served = self._models.made(manifest.model_id)
            if served is None:
                served = await self._open_model(manifest)
                self._models.add(served)
            log.info(
                "the index of %s was made anew with %s, which it is searched with from here on",
                self.name,
                served.model_id,
            )
            self._served, self._problem = served, ""
            self.start()

    async def _open_model(self, manifest: Manifest) -> Served:
        try:
            served = await asyncio.to_thread(self._models.open, manifest.model_name)
            if served.model_id == manifest.model_id:
                return served
            reason = f"what is called so here is {served.model_id}"
        except PolylensError as error:
            reason = str(error)
        self._problem = (
            f"the index of {self.name} was made anew with another model since this server began, {manifest.model_id}, "
            f"which it does not have: {reason}. End it and start it again with --model"
        )
        log.error("%s", self._problem)
        raise ModelMismatchError(self._problem)

    def _updating(self) -> dict[str, Any] | None:
        progress = self._progress
        if progress is None or (progress.phase != "indexing" and not progress.file):
            return None
        left = progress.total_pages - progress.done_pages
        rate = progress.done_pages / max(1e-3, time.monotonic() - self._began)
        eta = round(left / rate, 1) if progress.done_pages and left else None
        fields = {name: value for name, value in asdict(progress).items() if name in _SHOWN}
        return {**fields, "eta_seconds": eta}

    async def _results(
        self, find: Callable[[View], list[Hit]], started: float, by: By, filters: Filters
    ) -> dict[str, Any]:
        rows, reason = await self._call(lambda: self._rows(find, by, filters))
        if not rows and self._updating() and not (await self._facets()).files:
            reason = "nothing is indexed yet; it is being done right now"
        return {"results": rows, "seconds": round(time.perf_counter() - started, 4), "reason": reason}

    def _rows(
        self, find: Callable[[View], list[Hit]], by: By, filters: Filters
    ) -> tuple[list[dict[str, Any]], str | None]:
        """What was found, or why nothing: one view of the index answers both, and how many pages each file has."""
        library = self._open()
        view = library.view()
        hits = find(view)
        counts = view.num_pages([hit.file for hit in hits])
        rows = [
            {
                **hit_dict(hit),
                "pages": counts.get(hit.file, hit.page),
                "picture": hit.kind in PICTURED and library.has_files,
            }
            for hit in hits
        ]
        return rows, None if rows else view.why_nothing(by=by, filters=filters)

    def _open(self) -> Library:
        assert self._library is not None, "start comes first"
        return self._library

    async def _facets(self) -> Facets:
        """Of no page while there is no index yet, or one that cannot be searched any more."""
        with contextlib.suppress(LookupError, ModelMismatchError):
            return await self._call(lambda: self._open().facets())
        return Facets({}, {}, {}, {}, np.zeros(0, np.int64))

    def _picture(self, name: str, number: int, width: int) -> bytes:
        page = self._open().page(name, number)
        if page.image is None:
            raise NotFoundError(f"page {number} of {name!r} is a text without a picture")
        image = page.image
        if image.width > width:
            height = max(1, round(image.height * width / image.width))
            image = image.resize((width, height), PIL.Image.Resampling.LANCZOS, reducing_gap=2.0)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()

    def _why(self, query: str, name: str, number: int) -> dict[str, Any]:
        page = self._open().page(name, number)
        if page.image is None or not query.strip():
            return {"rows": 0, "columns": 0, "words": [], "whole": []}
        return asdict(explain(self._embedder, query, page.image))

    async def _call(self, function: Callable[[], Found]) -> Found:
        """What a function returns that may read the disk; asked twice where the index has another model since."""
        try:
            return await in_thread(self._threads, function)
        except ModelMismatchError:
            await self._change_model()
            return await in_thread(self._threads, function)


def _log_death(task: asyncio.Task[None]) -> None:
    """A defect of ours must be seen, and leave the search running."""
    if not task.cancelled() and (error := task.exception()):
        log.error("the library is no longer kept up to date", exc_info=error)


_SHOWN = frozenset({"phase", "file", "done_pages", "total_pages"})


def require_query(parts: Sequence[Any]) -> None:
    """Refuses a search for nothing."""
    if not any(part.strip() if isinstance(part, str) else True for part in parts):
        raise InputError("the query is empty; say what to look for, or send an image")
