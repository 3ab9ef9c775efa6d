"""Pairs of a query and a document: checked before anything is computed, then prepared and joined for a reranker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import PIL.Image

from polylens.errors import ImageError, InputError
from polylens.media.image import read_image
from polylens.models.protocol import Item, Modality, PairProcessor, Side
from polylens.runtime.prepare import Input, require_unicode
from polylens.types import Image

WINDOW_PAIRS = 512  # pairs that are prepared at once
WINDOW_IMAGES = 32  # images among them: 2 MB each at jina-reranker-m0's largest size

PROMPT_TOKENS = 32
"""Tokens that are kept free for a pair's prompt; that of jina-reranker-m0 has about ten."""

Pair = tuple[Input, Input]
"""A query and a document."""

SideName = Literal["query", "document"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairOptions:
    """How pairs are prepared and batched; None is the model's own limit.

    Raises:
        InputError: A limit is not a whole number above 0, or `max_query_length` leaves no room for a document.
    """

    max_length: int | None = None
    """Tokens of a pair."""
    max_query_length: int | None = None
    """Tokens that are kept for the query where a document is cut."""
    max_doc_length: int | None = None
    """Tokens at which a document is cut."""
    max_pixels: int | None = None
    """Area to which an image is shrunk."""
    batch_size: int | None = None
    """Pairs per batch; None leaves only the number of tokens per batch."""

    def __post_init__(self) -> None:
        for name in ("max_length", "max_query_length", "max_doc_length", "max_pixels", "batch_size"):
            require_count(getattr(self, name), name)
        if self.max_length is not None and (self.max_query_length or 0) >= self.max_length:
            raise InputError(
                f"max_length counts query and document together, so it must exceed max_query_length, "
                f"got {self.max_length} and {self.max_query_length}"
            )


@dataclass(frozen=True, slots=True)
class Query:
    """A query that is prepared once for all its documents."""

    side: Side
    tokens: int
    """Tokens that it has in each pair, without the prompt."""


def require_count(value: object, name: str) -> None:
    """Refuses what is neither None nor a whole number above 0.

    Raises:
        InputError: The message begins with `name`.
    """
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise InputError(f"{name} must be a whole number above 0, got {value!r}")


def require_pairs(pairs: Sequence[Pair], modalities: Sequence[Modality]) -> None:
    """Refuses pairs of which a side is of a wrong type, or of a kind that the model does not take. Opens nothing.

    Raises:
        InputError: The message names the query or the document.
    """
    for index, pair in enumerate(pairs):
        for side, value in zip(("query", "document"), pair, strict=True):
            _require_input(value, f"{side} {index}", modalities)


def _require_input(value: Input, name: str, modalities: Sequence[Modality]) -> None:
    if not isinstance(value, (str, Image, PIL.Image.Image)):
        raise InputError(
            f"{name} must be a str, a polylens.Image or a PIL.Image, got {type(value).__name__}; "
            "wrap image paths and bytes in polylens.Image(...)"
        )
    modality: Modality = "text" if isinstance(value, str) else "image"
    if modality not in modalities:
        raise InputError(f"{name} is {modality}, this model accepts {' and '.join(modalities)} only")
    if isinstance(value, str):
        require_unicode(value, name)


def windows(pairs: Sequence[Pair]) -> Iterator[range]:
    """Splits pairs into runs of at most `WINDOW_PAIRS` with at most `WINDOW_IMAGES` images; one pair may have more.

    Example:
        >>> [list(window) for window in windows([("a", "b")] * 3)]
        [[0, 1, 2]]
    """
    start = images = 0
    for index, pair in enumerate(pairs):
        more = sum(not isinstance(side, str) for side in pair)
        if index > start and (images + more > WINDOW_IMAGES or index - start == WINDOW_PAIRS):
            yield range(start, index)
            start, images = index, 0
        images += more
    if start < len(pairs):
        yield range(start, len(pairs))


def prepare_query(processor: PairProcessor, value: Input, options: PairOptions) -> Query:
    """Prepares a query for all its documents.

    Raises:
        ImageError: The image cannot be read, or has a shape that the model does not take.
    """
    read = value if isinstance(value, str) else read_image(value)
    side = processor.query(read, max_length=options.max_query_length, max_pixels=options.max_pixels)
    if side.text is not None:
        return Query(side, len(processor.tokenizer.encode(side.text, add_special_tokens=False).ids))
    assert not isinstance(read, str)
    return Query(side, processor.num_image_tokens(*read.size))


def document_limit(processor: PairProcessor, query: Query, options: PairOptions) -> int:
    """Returns the number of tokens at which a document's text is cut, so that the pair fits into the model.

    By default it is what a pair may have without what is kept for the query: 10,240 - 512 for jina-reranker-m0, as
    published. An image may not be cut, so a query that is one gets what it needs.
    """
    whole = min(options.max_length or processor.max_length, processor.max_length)
    reserved = options.max_query_length or min(processor.max_query_length, whole // 2)
    needed = query.tokens + PROMPT_TOKENS if query.side.grid is not None else 0
    free = max(1, whole - max(reserved, needed))
    return min(free, options.max_doc_length or free)


def prepare_document(processor: PairProcessor, value: Input, query: Query, options: PairOptions) -> Side:
    """Prepares a document; a text is cut at `document_limit`.

    Raises:
        ImageError: As for `prepare_query`.
    """
    read = value if isinstance(value, str) else read_image(value)
    limit = document_limit(processor, query, options)
    return processor.document(read, max_length=limit, max_pixels=options.max_pixels)


def join(processor: PairProcessor, query: Query, document: Side, options: PairOptions) -> Item:
    """Joins both sides to the one sequence that the model reads.

    Raises:
        InputError: The pair is too long.
    """
    return processor.pair(query.side, document, max_length=options.max_length)


@contextmanager
def naming(side: SideName, index: int | None) -> Iterator[None]:
    """Lets an ImageError say which side of which pair the image is.

    Args:
        side: The side.
        index: The number of the pair; None for a query that all pairs have in common.
    """
    try:
        yield
    except ImageError as error:
        raise ImageError(error.message, index, side) from error
