"""The parts of a server: its models, classifiers, limits and library."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette

from polylens.server.batches.store import BatchStore
from polylens.server.classifiers.store import ClassifierStore
from polylens.server.endpoints.batches import BatchRunner
from polylens.server.endpoints.classify import ClassifyEndpoint
from polylens.server.endpoints.embedding_service import EmbeddingService
from polylens.server.endpoints.embeddings import EmbeddingsEndpoint
from polylens.server.endpoints.invocations import InvocationsEndpoint
from polylens.server.endpoints.read import ReadEndpoint
from polylens.server.endpoints.rerank import RerankEndpoint
from polylens.server.endpoints.scoring_service import ScoringService
from polylens.server.endpoints.segment import SegmentEndpoint
from polylens.server.endpoints.train import TrainEndpoint
from polylens.server.engine.cache import Cache
from polylens.server.engine.registry import Registry
from polylens.server.http.access import Keys, read_keys
from polylens.server.http.context import MemoryBudget
from polylens.server.http.metrics import Metrics
from polylens.server.http.rates import RateLimits
from polylens.server.http.responding import Responder
from polylens.server.intake.fetching import Fetcher
from polylens.server.search_page.service import LibraryService
from polylens.server.settings import MB, Settings, require_keys_for_others


class Server:
    """Everything behind the routes.

    Args:
        settings: The settings of the server.
        runs_batches: Whether it keeps the folder of batches, which one server does at a time.

    Raises:
        PolylensError: A model, the file of keys or the library cannot be used.
    """

    def __init__(self, settings: Settings, *, runs_batches: bool = True) -> None:
        self.settings, self._runs_batches = settings, runs_batches
        self.models = Registry(settings)
        self.cache = Cache(settings.cache_mb * MB)
        fetcher = Fetcher(settings.fetch_policy)
        self.embedding = EmbeddingService(fetcher, self.cache, settings.limits)
        self.classifiers = ClassifierStore(settings.classifiers)
        self.embeddings = EmbeddingsEndpoint(self.models, self.embedding, settings.limits.inputs)
        scoring = ScoringService(self.embedding)
        self.rerank = RerankEndpoint(self.models, self.embedding, scoring, settings.limits.inputs)
        self.invocations = InvocationsEndpoint(self.models, self.embedding, self.embeddings, self.rerank)
        self.classify = ClassifyEndpoint(self.models, self.embedding, self.classifiers)
        self.train = TrainEndpoint(self.models, self.embedding, self.classifiers)
        self.segment = SegmentEndpoint(self.models, self.embedding)
        self.read = ReadEndpoint(self.models, fetcher, settings.limits)
        self.metrics = Metrics(self.models, self.cache)
        self.responder = _responder(settings, self.metrics)
        self.batch_store = BatchStore(settings.batches, settings.max_batches_mb * MB, settings.batch_days)
        self.batches = BatchRunner(self.batch_store, self.embeddings.post, self.responder.memory, self.metrics)
        self.library = _library(settings, self.models)

    @contextlib.asynccontextmanager
    async def running(self, _app: Starlette | None = None) -> AsyncIterator[None]:
        """Starts the models, and stops them when the server ends."""
        for served in self.models:
            if not self.settings.lazy:
                served.scheduler.start()
        if self.library is not None:
            self.library.start()
        if self._runs_batches:
            await self.batches.start()
        try:
            yield
        finally:
            self.responder.stopping = True
            await self.batches.stop()
            if self.library is not None:
                await self.library.stop()
            for served in self.models:
                await served.scheduler.stop()
            await self.read.close()
            await self.embedding.close()

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether requests can be served, and the state of each model."""
        states = {served.name: served.scheduler.state for served in self.models}
        ready = not self.responder.stopping and all(state in ("ready", "idle") for state in states.values())
        reasons = {served.name: served.scheduler.reason for served in self.models if served.scheduler.reason}
        body: dict[str, Any] = {"status": "ready" if ready else "not ready", "models": states}
        return ready, {**body, "reasons": reasons} if reasons else body


def _responder(settings: Settings, metrics: Metrics) -> Responder:
    limits = settings.limits
    return Responder(
        Keys(read_keys(settings.keys) if settings.keys is not None else None),
        RateLimits(limits.requests_per_minute, limits.tokens_per_minute),
        MemoryBudget(limits.request_bytes, limits.held_bytes),
        metrics,
        limits.body_bytes,
    )


def _library(settings: Settings, models: Registry) -> LibraryService | None:
    if settings.library is None:
        return None
    require_keys_for_others(settings)
    return LibraryService(settings.library, models, ocr=settings.ocr)
