"""A served model as the reranker that a library needs: blocking calls from a thread, through the same queues as
requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError

from polylens.models.protocol import Item
from polylens.runtime.pairs import PairOptions, join, prepare_document, prepare_query
from polylens.runtime.prepare import Input
from polylens.runtime.reranker import relevance
from polylens.server.engine.bridge import OWNER, ServedEmbedder
from polylens.server.engine.registry import Served
from polylens.types import Embedding, RankedDocument

OWN_LIMITS = PairOptions()
"""The limits of the model itself."""


class ServedReranker:
    """Scores by the model itself where it is trained to score pairs, else by MaxSim or the cosine of its vectors.

    Args:
        served: The model.
        loop: The event loop of its scheduler. Never call from the thread of that loop.
    """

    def __init__(self, served: Served, loop: asyncio.AbstractEventLoop) -> None:
        self.model_id = served.model_id
        self.modalities = served.header.modalities
        self.max_pixels = served.header.processing.max_pixels
        self._served = served
        self._loop = loop
        self._embedder = None if served.scores_pairs else ServedEmbedder(served, loop)
        self._query: tuple[Input, Embedding] | None = None  # the last one, for the pages to come
        self._is_cancelled = threading.Event()

    def rerank(self, query: Input, documents: Sequence[Input]) -> list[RankedDocument]:
        """The score of each document, in the order of the input.

        Raises:
            InputError: The model does not take one of the inputs.
            WorkerError: The model failed on one of them.
            CancelledError: Nobody waits for the scores any longer.
        """
        if self._is_cancelled.is_set():
            raise CancelledError
        if self._embedder is None:
            scores = self._scores(query, documents)
        else:
            scores = self._similarities(self._embedder, query, documents)
        return [RankedDocument(index, score) for index, score in enumerate(scores)]

    def cancel(self) -> None:
        """Refuses any further call, such as for a client that went away."""
        self._is_cancelled.set()

    def _scores(self, query: Input, documents: Sequence[Input]) -> list[float]:
        processor = self._served.header.pairs
        asked = prepare_query(processor, query, OWN_LIMITS)
        sides = [prepare_document(processor, document, asked, OWN_LIMITS) for document in documents]
        pairs = [join(processor, asked, side, OWN_LIMITS) for side in sides]
        return asyncio.run_coroutine_threadsafe(self._submitted(pairs), self._loop).result()

    async def _submitted(self, pairs: Sequence[Item]) -> list[float]:
        scheduler = self._served.scheduler
        queue = scheduler.queue_of(sum(pair.num_tokens for pair in pairs))
        return await asyncio.gather(*(scheduler.submit_pair(pair, queue, owner=OWNER) for pair in pairs))

    def _similarities(self, embedder: ServedEmbedder, query: Input, documents: Sequence[Input]) -> list[float]:
        if self._query is None or self._query[0] is not query:
            self._query = query, embedder.embed([query], prompt_name="query")[0]
        asked = self._query[1].multivector
        return [relevance(asked, found.multivector) for found in embedder.embed(documents, prompt_name="passage")]
