"""The way of sources into memory: URLs are fetched, base64 is decoded, PDFs are rendered, pixels are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import PIL.Image

from polylens.documents.document import MAX_PIXELS
from polylens.errors import FieldError, ImageError, InputError, TooLargeError
from polylens.media.image import image_size, inline_image
from polylens.models.protocol import Fusing
from polylens.runtime.prepare import require_unicode
from polylens.server.concurrency import in_thread, together
from polylens.server.engine.registry import Served
from polylens.server.http.context import RequestContext
from polylens.server.intake.fetching import Fetcher
from polylens.server.intake.options import EmbedOptions
from polylens.server.intake.pdf import render_pdf
from polylens.server.intake.sources import FusedInput, ImageInput, PdfInput, Source, TextInput, TokenIds
from polylens.server.settings import Limits


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image in memory: the bytes of its file, or a rendered page."""

    file: bytes | PIL.Image.Image
    size: tuple[int, int]


LoadedPart = str | LoadedImage
"""A text, or an image."""


@dataclass(frozen=True, slots=True)
class LoadedFused:
    """Texts and images that are one input."""

    parts: tuple[LoadedPart, ...]

    @property
    def images(self) -> list[LoadedImage]:
        return [part for part in self.parts if isinstance(part, LoadedImage)]


LoadedInput = LoadedPart | LoadedFused
"""One input."""


class Reader:
    """Reads the inputs of requests.

    Args:
        fetcher: The fetcher of URLs.
        limits: Upper bounds of one request.
        threads: The executor that decodes and measures files.
    """

    def __init__(self, fetcher: Fetcher, limits: Limits, threads: Executor) -> None:
        self.fetcher = fetcher
        self.limits = limits
        self._threads = threads

    async def read(self, served: Served, sources: Sequence[Source], options: EmbedOptions) -> list[LoadedInput]:
        """Loads the inputs of a request.

        Args:
            served: The model that will embed or score them.
            sources: The inputs, at least one; a PDF is the only one and gives one image per page.
            options: The options by which the model will do it.

        Raises:
            InputError: A source cannot be used; the message says which.
            OverloadedError: The server has no memory for them at the moment.
        """
        if len(sources) == 1 and isinstance(sources[0], PdfInput):
            return await self._load_pages(sources[0], options.context)
        texts = await in_thread(self._threads, texts_of, served, sources, options)
        others = {index: source for index, source in enumerate(sources) if index not in texts}
        loaded = await together([self._load(served, source, index, options) for index, source in others.items()])
        by_index: Mapping[int, LoadedInput] = {**texts, **dict(zip(others, loaded, strict=True))}
        return [by_index[index] for index in range(len(sources))]

    async def _load(self, served: Served, source: Source, index: int, options: EmbedOptions) -> LoadedInput:
        """Loads an image, or the parts of one input."""
        if isinstance(source, ImageInput):
            return await self._load_image(served, source, index, options)
        assert isinstance(source, FusedInput)
        processor = served.header.processing
        if not (isinstance(processor, Fusing) and processor.fuses):
            raise FieldError(
                f"has texts and images as parts of one input, which {served.name} cannot read together; send each as "
                "an input of its own",
                options.field_of(index),
            )
        for part in source.parts:
            if isinstance(part, TextInput):
                require_unicode(part.text, f"text {index}")
        images = {at: part for at, part in enumerate(source.parts) if isinstance(part, ImageInput)}
        loaded = await together([self._load_image(served, part, index, options) for part in images.values()])
        by_place: Mapping[int, LoadedPart] = {
            **{at: part.text for at, part in enumerate(source.parts) if isinstance(part, TextInput)},
            **dict(zip(images, loaded, strict=True)),
        }
        return LoadedFused(tuple(by_place[at] for at in range(len(source.parts))))

    async def _load_image(self, served: Served, source: ImageInput, index: int, options: EmbedOptions) -> LoadedImage:
        if "image" not in served.header.modalities:
            raise FieldError(f"{served.name} takes texts only, and this is an image", options.field_of(index))
        try:
            data = await self._load_bytes(source.content, self.limits.image_bytes, ("image/",), options.context)
            return LoadedImage(data, await in_thread(self._threads, self._checked_size, data))
        except ImageError as error:
            raise options.image_error(error.message, index) from error
        except TooLargeError as error:
            raise TooLargeError(f"{options.name} {index}: {error}") from error
        except InputError as error:
            raise options.image_error(str(error), index) from error

    async def _load_pages(self, source: PdfInput, context: RequestContext) -> list[LoadedInput]:
        data = await self._load_bytes(source.content, self.limits.image_bytes, ("application/pdf",), context)
        pages = await render_pdf(
            data,
            max_pages=self.limits.pdf_pages,
            max_pixels=MAX_PIXELS,
            timeout=self.limits.pdf_seconds,
        )
        context.hold(sum(3 * page.width * page.height for page in pages))
        return [LoadedImage(page, page.size) for page in pages]

    async def _load_bytes(self, content: str, limit: int, kinds: tuple[str, ...], context: RequestContext) -> bytes:
        """The bytes of a file that came as a URL, a `data:` URI or base64."""
        if content[:8].lower().startswith(("http://", "https://")):
            data = await self.fetcher.fetch(content, kinds=kinds)
        elif len(content) > limit * 4 // 3 + 1024:
            raise TooLargeError(f"the file is larger than {limit:,} bytes, the limit for one file")
        else:
            data = await in_thread(self._threads, inline_image, content)
        context.hold(len(data))
        return data

    def _checked_size(self, data: bytes) -> tuple[int, int]:
        """The width and height of an image, from its header alone."""
        width, height = image_size(data)
        if width * height > self.limits.image_pixels:
            raise ImageError(
                f"is too large ({width} x {height} pixels), the limit is {self.limits.image_pixels:,} pixels; "
                "scale it down before sending it"
            )
        return width, height


def texts_of(served: Served, sources: Sequence[Source], options: EmbedOptions) -> dict[int, LoadedInput]:
    """The texts among the sources, by their index."""
    texts: dict[int, LoadedInput] = {}
    for index, source in enumerate(sources):
        if isinstance(source, TextInput):
            require_unicode(source.text, f"text {index}")
            texts[index] = source.text
        elif isinstance(source, TokenIds):
            texts[index] = _decode_ids(served, source, options.field_of(index))
    return texts


def _decode_ids(served: Served, source: TokenIds, field: str) -> str:
    tokenizer = served.header.processing.tokenizer
    size = tokenizer.get_vocab_size()
    unknown = next((each for each in source.ids if not 0 <= each < size), None)
    if unknown is not None:
        raise FieldError(
            f"token ids must be of the model's own tokenizer, between 0 and {size - 1}, got {unknown}; "
            "send the text instead",
            field,
            unknown,
        )
    return str(tokenizer.decode(list(source.ids), skip_special_tokens=True))
