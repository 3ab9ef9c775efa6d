"""From inputs in memory to vectors: tokenise, look into the cache, ask the engine, count."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from polylens.errors import DeadlineError, FieldError, ImageError, TooLargeError
from polylens.media.image import read_image
from polylens.models.protocol import Item
from polylens.server.concurrency import in_thread, together
from polylens.server.engine.cache import Cache, Entry, cache_key
from polylens.server.engine.published import image_tokens, role
from polylens.server.engine.queues import QueueName
from polylens.server.engine.registry import Served
from polylens.server.intake.fetching import Fetcher
from polylens.server.intake.options import EmbedOptions
from polylens.server.intake.reading import LoadedImage, LoadedInput, Reader
from polylens.server.intake.sources import Source
from polylens.server.settings import Limits
from polylens.types import Embedding

CHARS_PER_TOKEN = 64
"""A text of more characters than this for each token it may have is too long without counting its tokens."""

TEXTS_AT_ONCE = 64
"""Texts that a thread tokenises before another request's turn comes."""

PICTURES_AT_ONCE = 8
"""Pictures of one model that lie in memory as patches; the others wait as the files they came as."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What came of one input, or of one page of a PDF."""

    embedding: Embedding
    tokens: int
    """That `usage` counts for it."""
    is_image: bool
    token_ids: tuple[int, ...] = ()
    """Of a text, where the request shows them."""


class EmbeddingService:
    """Everything between a parsed request and the vectors of its inputs.

    Args:
        fetcher: Fetches URLs.
        cache: Keeps finished vectors.
        limits: What one request may ask for.
    """

    def __init__(self, fetcher: Fetcher, cache: Cache, limits: Limits) -> None:
        self.cache = cache
        self.limits = limits
        self._threads = ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1), thread_name_prefix="polylens-input")
        self.reader = Reader(fetcher, limits, self._threads)
        self._pictures: dict[str, asyncio.Semaphore] = {}

    async def close(self) -> None:
        """Ends the threads and the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self.reader.fetcher.close()

    async def embed(self, served: Served, sources: Sequence[Source], options: EmbedOptions) -> list[Embedded]:
        """Vectors of all inputs.

        Args:
            served: The model.
            sources: At least one; a PDF is the only one and gives a result a page.
            options: How.

        Returns:
            In input order.

        Raises:
            InputError: An input cannot be used; the message says which.
            OverloadedError: There is no room in the queue.
            DeadlineError: It took too long.
            WorkerError: The model failed on an input.
        """
        try:
            async with asyncio.timeout(self.limits.request_seconds):
                ready = await self.reader.read(served, sources, options)
                if options.late_chunking:
                    return await self._embed_chunks(served, ready, options)
                return await self._embed_all(served, ready, options)
        except TimeoutError as late:
            raise DeadlineError(
                f"Request timed out after {self.limits.request_seconds:.0f} seconds. "
                "Try with smaller inputs or retry later."
            ) from late

    async def _embed_all(self, served: Served, ready: Sequence[LoadedInput], options: EmbedOptions) -> list[Embedded]:
        """Those that the cache has not, through the engine: texts at once, pictures a few at a time."""
        adapter, prompt = role(served.header, options.task)
        hashing = partial(self._key, served, (adapter, prompt), options)  # of files that may be megabytes
        keys = await in_thread(self._threads, list, map(hashing, ready))
        kept = [self.cache.get(key) if key is not None else None for key in keys]
        missing = [index for index, entry in enumerate(kept) if entry is None]
        items = await self._tokenise(
            served, ready, [index for index in missing if isinstance(ready[index], str)], options
        )
        image_tokens = sum(_seen(served, ready[i]) for i in missing if i not in items)
        tokens = image_tokens + sum(item.num_tokens for item in items.values())
        self._refuse_too_many(tokens)
        with served.engine.admitted(tokens, image_tokens=image_tokens) as queue:
            computed = await together(
                [
                    self._text(served, items[i], queue, options)
                    if i in items
                    else self._picture(served, ready[i], i, adapter, queue, options)
                    for i in missing
                ]
            )
        new = dict(zip(missing, computed, strict=True))
        for index, each in new.items():
            key = keys[index]
            if key is not None:
                self.cache.put(key, Entry(each.embedding, each.tokens))
        return [
            Embedded(entry.embedding, entry.tokens, not isinstance(value, str)) if entry is not None else new[index]
            for index, (entry, value) in enumerate(zip(kept, ready, strict=True))
        ]

    async def _tokenise(
        self, served: Served, ready: Sequence[LoadedInput], indices: Sequence[int], options: EmbedOptions
    ) -> dict[int, Item]:
        """Items of the texts among the inputs."""
        adapter, prompt = role(served.header, options.task)
        limit = min(self.limits.input_tokens, served.header.context)

        def tokenise(index: int) -> Item:
            text = str(ready[index])
            kept = text[: CHARS_PER_TOKEN * limit]  # so that a text of megabytes costs what its first tokens cost
            item = served.header.processor.text(kept, task=adapter, prompt_name=prompt, max_length=limit)
            if not options.truncate and (item.truncated or len(kept) < len(text)):
                raise FieldError(
                    f"has more than {limit} tokens, the limit for one text; shorten it, or send truncate: true",
                    options.place(index),
                )
            return item

        items: dict[int, Item] = {}
        for start in range(0, len(indices), TEXTS_AT_ONCE):
            batch = indices[start : start + TEXTS_AT_ONCE]
            items.update(zip(batch, await in_thread(self._threads, list, map(tokenise, batch)), strict=True))
        return items

    async def _embed_chunks(
        self, served: Served, ready: Sequence[LoadedInput], options: EmbedOptions
    ) -> list[Embedded]:
        """Late chunking: all texts as one."""
        if not all(isinstance(each, str) for each in ready):
            raise FieldError("late_chunking joins texts; images cannot be among them", options.field)
        adapter, prompt = role(served.header, options.task)
        limit = min(self.limits.input_tokens, served.header.context)
        chunks = [str(each) for each in ready]
        if sum(map(len, chunks)) > CHARS_PER_TOKEN * limit:
            raise FieldError(f"late_chunking joins all texts, together they may have {limit} tokens", options.field)
        prepare = partial(served.header.processor.chunks, chunks, task=adapter, prompt_name=prompt, max_length=limit)
        item = await in_thread(self._threads, prepare)
        with served.engine.admitted(item.num_tokens) as queue:
            embeddings = await self._run(served, item, queue, options)
        sizes = [stop - start for start, stop in item.chunks]
        sizes[0] += item.num_tokens - sum(sizes)  # the prompt's tokens stand before the first
        return [Embedded(*pair, is_image=False) for pair in zip(embeddings, sizes, strict=True)]

    async def _text(self, served: Served, item: Item, queue: QueueName, options: EmbedOptions) -> Embedded:
        (embedding,) = await self._run(served, item, queue, options)
        shown = tuple(item.token_ids.tolist()) if options.shows_tokens else ()
        return Embedded(embedding, item.num_tokens, is_image=False, token_ids=shown)

    async def _picture(
        self,
        served: Served,
        photo: LoadedInput,
        index: int,
        adapter: str | None,
        queue: QueueName,
        options: EmbedOptions,
    ) -> Embedded:
        assert isinstance(photo, LoadedImage)
        file, size = photo.file, photo.size

        def prepare() -> Item:
            try:
                return served.header.processor.image(read_image(file), task=adapter, max_pixels=None)
            except ImageError as error:
                raise ImageError(error.message, index if options.listed else None) from error

        async with self._pictures.setdefault(served.name, asyncio.Semaphore(PICTURES_AT_ONCE)):
            item = await in_thread(self._threads, prepare)
            (embedding,) = await self._run(served, item, queue, options)
        return Embedded(embedding, image_tokens(served.kind, *size), is_image=True)

    async def _run(self, served: Served, item: Item, queue: QueueName, options: EmbedOptions) -> list[Embedding]:
        return await served.engine.submit(item, queue, owner=options.context.owner, wants_tokens=options.wants_tokens)

    def _key(
        self, served: Served, found: tuple[str | None, str], options: EmbedOptions, ready: LoadedInput
    ) -> bytes | None:
        if not self.cache.max_bytes or options.shows_tokens:
            return None
        shared = (served.model_id, options.context.owner, options.wants_tokens, *found)
        if isinstance(ready, str):
            return cache_key(ready.encode(), *shared, options.truncate)
        if isinstance(ready.file, bytes):
            return cache_key(ready.file, *shared, "image")
        return cache_key(ready.file.tobytes(), *shared, "page", *ready.size)

    def _refuse_too_many(self, tokens: int) -> None:
        if tokens > self.limits.request_tokens:
            raise TooLargeError(
                f"the request has {tokens} tokens for the model, images counted, the limit is "
                f"{self.limits.request_tokens}; send several"
            )


def _seen(served: Served, ready: LoadedInput) -> int:
    assert isinstance(ready, LoadedImage)
    return served.header.processor.num_image_tokens(*ready.size)
