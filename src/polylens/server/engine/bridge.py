"""A served model with the interface that a library needs: blocking calls from a thread, through the same queues as
requests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from polylens.checkpoints.calibration import read_calibration
from polylens.models.protocol import Item
from polylens.runtime.prefetch import num_threads
from polylens.runtime.prepare import prepare
from polylens.server.engine.registry import Served
from polylens.types import Embedding

OWNER = "library"  # owner of its inputs in the queues; an API key of the same name does no harm


class ServedEmbedder:
    """The embedder that `Library` needs.

    Args:
        served: The model.
        loop: The event loop of its scheduler. Never call from the thread of that loop.
    """

    def __init__(self, served: Served, loop: asyncio.AbstractEventLoop) -> None:
        self.served = served
        self.model_id = served.model_id
        self.max_pixels = served.header.processor.max_pixels
        self.calibration = read_calibration(served.header)
        self.sight = served.header.sight
        self.preparation_threads = num_threads(on_processor=True)  # even beside a GPU, requests need the cores
        self._loop = loop

    def prepare(self, value: Any, *, task: str = "retrieval", prompt_name: str = "query", index: int = 0) -> Item:
        """What `embed` takes in place of an input; `index` is its place among others, for an error."""
        header = self.served.header
        adapter, prompt = header.processor.role(task, prompt_name)
        return prepare(
            header.processor,
            header.modalities,
            value,
            index,
            task=adapter,
            prompt_name=prompt,
            max_length=None,
            max_pixels=None,
        )

    def embed(self, inputs: Sequence[Any], *, task: str = "retrieval", prompt_name: str = "query") -> list[Embedding]:
        """Both outputs of each input."""
        return self.run(
            [self.prepare(each, task=task, prompt_name=prompt_name, index=at) for at, each in enumerate(inputs)]
        )

    def run(self, items: Sequence[Item]) -> list[Embedding]:
        """Both outputs of items that are ready for the model."""
        return asyncio.run_coroutine_threadsafe(self._run(items), self._loop).result()

    async def _run(self, items: Sequence[Item]) -> list[Embedding]:
        scheduler = self.served.scheduler
        queue = scheduler.queue_of(sum(item.num_tokens for item in items))
        waiting = [scheduler.submit(item, queue, owner=OWNER, wants_tokens=True) for item in items]
        found = await asyncio.gather(*waiting)
        return [embedding for (embedding,) in found]
