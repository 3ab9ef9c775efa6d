"""An input (a text or an image) is prepared: it becomes the item that a model takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import PIL.Image

from polylens.errors import ImageError, InputError
from polylens.media.image import read_image
from polylens.models.protocol import Item, Modality, Processor
from polylens.runtime.prefetch import Prefetcher
from polylens.types import Image

Input = str | Image | PIL.Image.Image

Prepared = Item
"""An input that is ready for the model: what `prepare` returns, and takes as it is."""

FEW_INPUTS = 4  # this many are prepared at once, without a thread
AHEAD_BYTES = 64 * 2**20  # of inputs that are prepared while others are in the model
OVERHEAD = 512  # bytes of an item besides its arrays


def prepare(
    processor: Processor,
    modalities: Sequence[Modality],
    value: Input | Prepared,
    index: int,
    *,
    task: str | None,
    prompt_name: str,
    max_length: int | None,
    max_pixels: int | None,
) -> Item:
    """Tokenises a text, or cuts an image into patches.

    Args:
        processor: The processor of the model.
        modalities: What the model accepts.
        value: The input; one that is prepared already is returned as it is.
        index: Its position among the caller's inputs, for error messages.
        task: As returned by `Processor.role`.
        prompt_name: As returned by `Processor.role`.
        max_length: Tokens after which a text is cut; None is the model's own limit.
        max_pixels: Area to which an image is shrunk; None is the model's own limit.

    Raises:
        InputError: The model does not accept such an input, or the input cannot be read.
    """
    if isinstance(value, Item):
        return value
    modality: Modality = "text" if isinstance(value, str) else "image"
    if modality not in modalities:
        raise InputError(f"input {index} is {modality}, this model accepts {' and '.join(modalities)} only")
    if isinstance(value, str):
        require_unicode(value, f"text {index}")
        return processor.text(value, task=task, prompt_name=prompt_name, max_length=max_length)
    if isinstance(value, (Image, PIL.Image.Image)):
        image = read_image(value, index=index)
        try:
            return processor.image(image, task=task, max_pixels=max_pixels)
        except ImageError as error:
            raise ImageError(error.message, index) from error
    raise InputError(
        f"input {index} must be a str, a polylens.Image or a PIL.Image, got {type(value).__name__}; "
        "wrap image paths and bytes in polylens.Image(...)"
    )


@contextmanager
def prepared_ahead(
    processor: Processor,
    modalities: Sequence[Modality],
    inputs: Sequence[Input | Prepared],
    roles: Sequence[tuple[str | None, str]],
    *,
    max_length: int | None,
    max_pixels: int | None,
    threads: int,
) -> Iterator[Iterator[Item]]:
    """Prepares inputs in threads, ahead of whoever takes them; the arguments are those of `prepare`.

    Args:
        inputs: The inputs.
        roles: Task and prompt of each, as returned by `Processor.role`.
        threads: The number of threads. A few inputs are prepared without any.

    Yields:
        The items in the order of the inputs. Taking one raises its error.
    """

    def prepared(index: int) -> Item:
        task, prompt_name = roles[index]
        return prepare(
            processor,
            modalities,
            inputs[index],
            index,
            task=task,
            prompt_name=prompt_name,
            max_length=max_length,
            max_pixels=max_pixels,
        )

    numbers = range(len(inputs))
    if len(inputs) <= FEW_INPUTS or all(isinstance(value, Item) for value in inputs):
        yield map(prepared, numbers)
        return
    with Prefetcher(prepared, numbers, nbytes=item_bytes, max_bytes=AHEAD_BYTES, threads=threads) as ready:
        yield ready


def item_bytes(item: Item) -> int:
    """Returns the memory that an item takes."""
    pixels = 0 if item.patches is None else item.patches.numel() * item.patches.element_size()
    return item.token_ids.nbytes + pixels + OVERHEAD


def windows(items: Iterable[Item], max_items: int, max_bytes: int) -> Iterator[list[Item]]:
    """Gathers items into runs, each of which is batched by itself.

    Args:
        items: In any number.
        max_items: Most items per run.
        max_bytes: Bytes at which a run ends; its last item may exceed them.

    Example:
        >>> import numpy as np
        >>> [len(run) for run in windows([Item(token_ids=np.zeros(4, dtype=np.int64))] * 5, 2, 10**6)]
        [2, 2, 1]
    """
    run: list[Item] = []
    held = 0
    for item in items:
        run.append(item)
        held += item_bytes(item)
        if len(run) >= max_items or held >= max_bytes:
            yield run
            run, held = [], 0
    if run:
        yield run


def require_unicode(text: str, name: str) -> None:
    """Refuses a text with an unpaired surrogate, which no tokenizer accepts.

    Args:
        text: The text.
        name: What to call it in the error message, such as "text 3".

    Raises:
        InputError: The message gives the position of the surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name} is not valid Unicode: there is an unpaired surrogate at position {error.start}"
        ) from error
