"""An input (a text or an image) is prepared: it becomes the item that a model takes."""

from __future__ import annotations

from collections.abc import Sequence

import PIL.Image

from polylens.errors import ImageError, InputError
from polylens.media.image import read_image
from polylens.models.protocol import Item, Modality, Processor
from polylens.types import Image

Input = str | Image | PIL.Image.Image


def prepare(
    processor: Processor,
    modalities: Sequence[Modality],
    value: Input,
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
        value: The input.
        index: Its position among the caller's inputs, for error messages.
        task: As returned by `Processor.role`.
        prompt_name: As returned by `Processor.role`.
        max_length: Tokens after which a text is cut; None is the model's own limit.
        max_pixels: Area to which an image is shrunk; None is the model's own limit.

    Raises:
        InputError: The model does not accept such an input, or the input cannot be read.
    """
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
