"""From the inputs of a request to their vectors: read, tokenise, ask the cache, ask the scheduler, count the tokens."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

from tokenizers import Tokenizer

from polylens.errors import DeadlineError, FieldError, ImageError, InputError, TokenLimitError, TooLargeError
from polylens.media.image import read_image
from polylens.models.protocol import Fusing, Item
from polylens.runtime.priority import yield_to_others
from polylens.server.concurrency import in_thread, together
from polylens.server.engine.cache import Cache, Entry, cache_key
from polylens.server.engine.published import role
from polylens.server.engine.queues import QueueName
from polylens.server.engine.registry import Served
from polylens.server.intake.fetching import Fetcher
from polylens.server.intake.options import EmbedOptions
from polylens.server.intake.reading import LoadedFused, LoadedImage, LoadedInput, Reader
from polylens.server.intake.sources import Source
from polylens.server.settings import Limits
from polylens.types import Embedding

P = ParamSpec("P")
T = TypeVar("T")

CHARS_PER_TOKEN = 64
"""A text with more characters than this per allowed token is too long; its tokens need not be counted."""

TEXTS_AT_ONCE = 64
"""Texts that a thread tokenises before it is another request's turn."""

IMAGES_AT_ONCE = 8
"""Images per model that are in memory as patches; the others wait as compressed files."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The result for one input, or for one page of a PDF."""

    embedding: Embedding
    tokens: int
    """The tokens that `usage` counts for it."""
    is_image: bool
    token_ids: tuple[int, ...] = ()
    """The token ids of a text, where the request shows them."""
    pixels: int = 0
    """Of its images, at the size they came in."""


class EmbeddingService:
    """Computes the vectors of a request's inputs.

    Args:
        fetcher: The fetcher of URLs.
        cache: The cache of finished vectors.
        limits: Upper bounds of one request.
    """

    def __init__(self, fetcher: Fetcher, cache: Cache, limits: Limits) -> None:
        self.cache = cache
        self.limits = limits
        self._threads = ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1), thread_name_prefix="polylens-input")
        self._image_threads = ThreadPoolExecutor(
            max_workers=max(2, os.cpu_count() or 1),
            thread_name_prefix="polylens-image",
            initializer=yield_to_others,  # a text is through before a page is decoded
        )
        self.reader = Reader(fetcher, limits, self._threads)
        self._image_slots: dict[str, asyncio.Semaphore] = {}

    async def close(self) -> None:
        """Ends the threads and closes the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._image_threads.shutdown(wait=False, cancel_futures=True)
        await self.reader.fetcher.close()

    async def in_thread(self, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Calls a function in the threads of the service.

        Whatever grows with a request goes through here: on the event loop it would hold up every other request,
        `/health` among them.
        """
        return await in_thread(self._threads, function, *args, **options)

    async def embed(self, served: Served, sources: Sequence[Source], options: EmbedOptions) -> list[Embedded]:
        """Embeds all inputs of a request.

        Args:
            served: The model.
            sources: The inputs, at least one; a PDF is the only one and gives one result per page.
            options: The options by which the model embeds them.

        Returns:
            One result per input, in input order.

        Raises:
            InputError: An input cannot be used; the message says which.
            OverloadedError: The queue of the model is full.
            DeadlineError: The request took too long.
            WorkerError: The model failed on an input.
        """
        async with self.deadline():
            loaded = await self.reader.read(served, sources, options)
            if options.late_chunking:
                return await self._embed_chunks(served, loaded, options)
            return await self._embed_all(served, loaded, options)

    @asynccontextmanager
    async def deadline(self) -> AsyncIterator[None]:
        """Ends the block when a request has taken too long.

        Raises:
            DeadlineError: It has.
        """
        try:
            async with asyncio.timeout(self.limits.request_seconds):
                yield
        except TimeoutError as late:
            raise DeadlineError(
                f"Request timed out after {self.limits.request_seconds:.0f} seconds. "
                "Try with smaller inputs or retry later."
            ) from late

    def image_slot(self, served: Served) -> asyncio.Semaphore:
        """The semaphore to hold while an image is in memory as patches."""
        return self._image_slots.setdefault(served.name, asyncio.Semaphore(IMAGES_AT_ONCE))

    def max_tokens(self, served: Served) -> int:
        """The most tokens of one text."""
        return min(self.limits.input_tokens, served.header.context)

    def refuse_too_many(self, tokens: int) -> None:
        """Refuses a request of more tokens than the server allows.

        Raises:
            TooLargeError: The message says how many it has.
        """
        if tokens > self.limits.request_tokens:
            raise TooLargeError(
                f"the request has {tokens} tokens for the model, images included, and the limit is "
                f"{self.limits.request_tokens}; split it into several requests"
            )

    async def _embed_all(self, served: Served, loaded: Sequence[LoadedInput], options: EmbedOptions) -> list[Embedded]:
        """Embeds the inputs that the cache lacks: all texts at once, a few images at a time."""
        adapter, prompt = role(served.header, options.task)
        loaded = [self._bounded(served, each, index, options) for index, each in enumerate(loaded)]
        key_of = partial(self._cache_key, served, (adapter, prompt), options)
        keys = await self.in_thread(list, map(key_of, loaded))  # hashes files of megabytes
        cached = [self.cache.get(key) if key is not None else None for key in keys]
        missing = [index for index, entry in enumerate(cached) if entry is None]
        items = await self._tokenise(
            served, loaded, [index for index in missing if isinstance(loaded[index], str)], options
        )
        images = [loaded[index] for index in missing if index not in items]
        of_images = await self.in_thread(lambda: sum(_num_tokens(served, image) for image in images))
        tokens = of_images + sum(item.num_tokens for item in items.values())
        self.refuse_too_many(tokens)
        with served.scheduler.admitted(tokens, image_tokens=of_images) as queue:
            computed = await together(
                [
                    self._embed_text(served, items[i], queue, options)
                    if i in items
                    else self._embed_image(served, loaded[i], i, queue, options)
                    for i in missing
                ]
            )
        new = dict(zip(missing, computed, strict=True))
        for index, each in new.items():
            key = keys[index]
            if key is not None:
                self.cache.put(key, Entry(each.embedding, each.tokens))
        return [
            Embedded(entry.embedding, entry.tokens, not isinstance(value, str), pixels=num_pixels(value))
            if entry is not None
            else new[index]
            for index, (entry, value) in enumerate(zip(cached, loaded, strict=True))
        ]

    def _bounded(self, served: Served, loaded: LoadedInput, index: int, options: EmbedOptions) -> LoadedInput:
        """An input whose texts beside images cost what their first tokens cost, however long they are."""
        if not isinstance(loaded, LoadedFused):
            return loaded
        limit = self._limit(served, options)
        parts = tuple(part[: CHARS_PER_TOKEN * limit] if isinstance(part, str) else part for part in loaded.parts)
        if not options.truncate and parts != loaded.parts:
            raise too_long(limit, options, index)
        return LoadedFused(parts)

    def _limit(self, served: Served, options: EmbedOptions) -> int:
        """The most tokens of one input with a text."""
        return min(self.max_tokens(served), options.max_length or self.limits.input_tokens)

    async def _tokenise(
        self, served: Served, loaded: Sequence[LoadedInput], indices: Sequence[int], options: EmbedOptions
    ) -> dict[int, Item]:
        """The items of the texts among the inputs, by their index."""
        items: dict[int, Item] = {}
        for start in range(0, len(indices), TEXTS_AT_ONCE):
            batch = indices[start : start + TEXTS_AT_ONCE]
            texts = [str(loaded[index]) for index in batch]
            found = await self.in_thread(self._tokenise_batch, served, texts, batch, options)
            items.update(zip(batch, found, strict=True))
        return items

    def _tokenise_batch(
        self, served: Served, texts: Sequence[str], indices: Sequence[int], options: EmbedOptions
    ) -> list[Item]:
        adapter, prompt = role(served.header, options.task)
        limit = self._limit(served, options)
        items = []
        for text, index in zip(texts, indices, strict=True):
            item_of = partial(served.header.processor.text, task=adapter, prompt_name=prompt, max_length=limit)
            kept = text[: CHARS_PER_TOKEN * limit]  # so that a text of megabytes costs what its first tokens cost
            item = item_of(kept)
            if item.truncated or len(kept) < len(text):
                if not options.truncate:
                    at = item.num_tokens if item.truncated else limit  # a query may have a limit of its own
                    raise too_long(at, options, index)
                if options.keeps_end:
                    item = _item_of_end(item_of, served.header.processor.tokenizer, text[-CHARS_PER_TOKEN * limit :])
            items.append(item)
        return items

    async def _embed_chunks(
        self, served: Served, loaded: Sequence[LoadedInput], options: EmbedOptions
    ) -> list[Embedded]:
        """Late chunking: embeds all texts as one sequence, with one vector per text."""
        if not all(isinstance(each, str) for each in loaded):
            raise FieldError("late_chunking applies to texts only; remove the images", options.field)
        adapter, prompt = role(served.header, options.task)
        limit = self.max_tokens(served)
        chunks = [str(each) for each in loaded]
        if sum(map(len, chunks)) > CHARS_PER_TOKEN * limit:
            raise TokenLimitError(
                f"late_chunking embeds all texts as one, which may have {limit} tokens; send fewer or shorter texts",
                options.field,
            )
        item = await self.in_thread(
            served.header.processor.chunks, chunks, task=adapter, prompt_name=prompt, max_length=limit
        )
        with served.scheduler.admitted(item.num_tokens) as queue:
            embeddings = await self._compute(served, item, queue, options)
        sizes = [stop - start for start, stop in item.chunks]
        sizes[0] += item.num_tokens - sum(sizes)  # the prompt's tokens stand before the first
        return [Embedded(*pair, is_image=False) for pair in zip(embeddings, sizes, strict=True)]

    async def _embed_text(self, served: Served, item: Item, queue: QueueName, options: EmbedOptions) -> Embedded:
        (embedding,) = await self._compute(served, item, queue, options)
        token_ids = tuple(item.vector_token_ids.tolist()) if options.shows_tokens else ()
        return Embedded(embedding, item.num_tokens, is_image=False, token_ids=token_ids)

    async def _embed_image(
        self,
        served: Served,
        image: LoadedInput,
        index: int,
        queue: QueueName,
        options: EmbedOptions,
    ) -> Embedded:
        """Embeds an image, or the parts of one input, when there is a place for it."""
        limit = self._limit(served, options)
        async with self.image_slot(served):
            try:
                item = await in_thread(self._image_threads, _image_item, served, image, options, limit)
            except ImageError as error:
                raise options.image_error(error.message, index) from error
            except FieldError:
                raise
            except InputError as error:
                raise FieldError(str(error), options.field_of(index)) from error
            if item.truncated and not options.truncate:
                raise too_long(limit, options, index)
            (embedding,) = await self._compute(served, item, queue, options)
        if isinstance(image, LoadedImage):
            tokens = served.header.image_tokens(*image.size)
            return Embedded(embedding, tokens, is_image=True, pixels=num_pixels(image))
        extra = sum(
            served.header.image_tokens(*each.size) - num_image_tokens(served, each)
            for each in (image.images if isinstance(image, LoadedFused) else ())
        )
        return Embedded(embedding, item.num_tokens + extra, is_image=True, pixels=num_pixels(image))

    async def _compute(self, served: Served, item: Item, queue: QueueName, options: EmbedOptions) -> list[Embedding]:
        return await served.scheduler.submit(
            item, queue, owner=options.context.owner, wants_tokens=options.wants_tokens
        )

    def _cache_key(
        self, served: Served, adapter_and_prompt: tuple[str | None, str], options: EmbedOptions, loaded: LoadedInput
    ) -> bytes | None:
        """The key of an input in the cache; None where its result is not cached."""
        if not self.cache.max_bytes or options.shows_tokens:
            return None
        conditions = (served.model_id, options.context.owner, options.wants_tokens, *adapter_and_prompt)
        if isinstance(loaded, LoadedFused):
            return None
        if isinstance(loaded, str):
            return cache_key(loaded.encode(), *conditions, options.truncate, options.max_length, options.keeps_end)
        if isinstance(loaded.file, bytes):
            return cache_key(loaded.file, *conditions, "image")
        return cache_key(loaded.file.tobytes(), *conditions, "page", *loaded.size)


def _item_of_end(item_of: Callable[[str], Item], tokenizer: Tokenizer, text: str) -> Item:
    """The item of the last tokens of a text that is too long.

    Args:
        item_of: Makes the item of a text, which it cuts on the right.
        tokenizer: Of the model.
        text: The end of the text, with at least as many tokens as an item may have.
    """
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    room = item_of(text).num_tokens - item_of("").num_tokens  # besides the prompt
    room = min(max(room, 1), len(offsets))
    item = item_of(text[offsets[-room][0] :])
    while item.truncated and room > 1:  # the first word is split otherwise where nothing stands before it
        room -= 1
        item = item_of(text[offsets[-room][0] :])
    return item


def _image_item(served: Served, image: LoadedInput, options: EmbedOptions, limit: int) -> Item:
    adapter, prompt = role(served.header, options.task)
    if isinstance(image, LoadedImage):
        return served.header.processor.image(read_image(image.file), task=adapter, max_pixels=None)
    processor = served.header.processor
    assert isinstance(image, LoadedFused) and isinstance(processor, Fusing)
    parts = [part if isinstance(part, str) else read_image(part.file) for part in image.parts]
    return processor.fused(parts, task=adapter, prompt_name=prompt, max_length=limit)


def num_image_tokens(served: Served, image: LoadedInput) -> int:
    """The number of tokens that the model sees of an image."""
    assert isinstance(image, LoadedImage)
    return served.header.processing.num_image_tokens(*image.size)


def num_pixels(loaded: LoadedInput) -> int:
    """The pixels of an input's images, at the size they came in."""
    images = loaded.images if isinstance(loaded, LoadedFused) else [loaded]
    return sum(image.size[0] * image.size[1] for image in images if isinstance(image, LoadedImage))


def _num_tokens(served: Served, loaded: LoadedInput) -> int:
    """The number of tokens that the model sees of an image, or about as many as it sees of the parts of one input."""
    if not isinstance(loaded, LoadedFused):
        return num_image_tokens(served, loaded)
    tokenizer = served.header.processor.tokenizer
    texts = [part for part in loaded.parts if isinstance(part, str)]
    of_texts = sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)
    return of_texts + sum(num_image_tokens(served, image) for image in loaded.images)


def too_long(limit: int, options: EmbedOptions, index: int) -> TokenLimitError:
    """The error for a text of more tokens than may be, in a request that does not want it cut."""
    return TokenLimitError(
        f"has more than {limit} tokens, the limit for one text; shorten it, or send {options.cut_by}",
        options.field_of(index),
    )
