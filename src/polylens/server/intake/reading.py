"""From sources to inputs in memory: URLs fetched, base64 decoded, PDFs rendered, the pixels of images counted."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import PIL.Image

from polylens.documents.document import MAX_PIXELS
from polylens.errors import FieldError, ImageError, InputError, TooLargeError
from polylens.media.image import image_size, inline_image
from polylens.runtime.prepare import require_unicode
from polylens.server.concurrency import in_thread, together
from polylens.server.engine.registry import Served
from polylens.server.http.context import RequestContext
from polylens.server.intake.fetching import Fetcher
from polylens.server.intake.options import EmbedOptions
from polylens.server.intake.pdf import render_pdf
from polylens.server.intake.sources import ImageInput, PdfInput, Source, TextInput, TokenIds
from polylens.server.settings import Limits


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image that is in memory as the file it came as, or as a rendered page."""

    file: bytes | PIL.Image.Image
    size: tuple[int, int]


LoadedInput = str | LoadedImage
"""A text, or an image."""


class Reader:
    """Reads the inputs of requests.

    Args:
        fetcher: Fetches URLs.
        limits: What one request may ask for.
        threads: Where decoding and measuring run.
    """

    def __init__(self, fetcher: Fetcher, limits: Limits, threads: Executor) -> None:
        self.fetcher = fetcher
        self.limits = limits
        self._threads = threads

    async def read(self, served: Served, sources: Sequence[Source], options: EmbedOptions) -> list[LoadedInput]:
        """Everything that the inputs need, in memory.

        Args:
            served: The model that will embed them.
            sources: At least one; a PDF is the only one and gives an image a page.
            options: How they will be embedded.

        Raises:
            InputError: One cannot be used; the message says which.
            OverloadedError: There is no memory for them now.
        """
        if len(sources) == 1 and isinstance(sources[0], PdfInput):
            return await self._pages(sources[0], options.context)
        return list(
            await together([self._ready(served, source, index, options) for index, source in enumerate(sources)])
        )

    async def _ready(self, served: Served, source: Source, index: int, options: EmbedOptions) -> LoadedInput:
        if isinstance(source, TextInput):
            require_unicode(source.text, index)
            return source.text
        if isinstance(source, TokenIds):
            return self._decode_ids(served, source, options.place(index))
        assert isinstance(source, ImageInput)
        if "image" not in served.header.modalities:
            raise FieldError(f"{served.name} takes texts only, this is an image", options.place(index))
        try:
            data = await self._bytes(source.place, self.limits.image_bytes, ("image/",), options.context)
            return LoadedImage(data, await in_thread(self._threads, self._measured, data))
        except ImageError as error:
            raise ImageError(error.message, index if options.listed else None) from error
        except TooLargeError as error:
            raise TooLargeError(f"image {index}: {error}") from error
        except InputError as error:
            raise ImageError(str(error), index if options.listed else None) from error

    def _decode_ids(self, served: Served, source: TokenIds, field: str) -> str:
        tokenizer = served.header.processor.tokenizer
        size = tokenizer.get_vocab_size()
        wrong = next((each for each in source.ids if not 0 <= each < size), None)
        if wrong is not None:
            raise FieldError(
                f"token ids are of the model's own tokenizer, from 0 to {size - 1}, got {wrong}; send the text instead",
                field,
                wrong,
            )
        return str(tokenizer.decode(list(source.ids), skip_special_tokens=True))

    async def _pages(self, source: PdfInput, context: RequestContext) -> list[LoadedInput]:
        data = await self._bytes(source.place, self.limits.image_bytes, ("application/pdf",), context)
        pages = await render_pdf(
            data,
            max_pages=self.limits.pdf_pages,
            max_pixels=MAX_PIXELS,
            timeout=self.limits.pdf_seconds,
        )
        context.hold(sum(3 * page.width * page.height for page in pages))
        return [LoadedImage(page, page.size) for page in pages]

    async def _bytes(self, place: str, limit: int, kinds: tuple[str, ...], context: RequestContext) -> bytes:
        if place[:8].lower().startswith(("http://", "https://")):
            data = await self.fetcher.fetch(place, kinds=kinds)
        elif len(place) > limit * 4 // 3 + 1024:
            raise TooLargeError(f"is larger than {limit:,} bytes, the limit for one file")
        else:
            data = await in_thread(self._threads, inline_image, place)
        context.hold(len(data))
        return data

    def _measured(self, data: bytes) -> tuple[int, int]:
        width, height = image_size(data)
        if width * height > self.limits.image_pixels:
            raise ImageError(
                f"is too large ({width} x {height} pixels), the limit is {self.limits.image_pixels:,} pixels; "
                "scale it down before sending it"
            )
        return width, height
