"""The two steps between an input and its vectors: an input becomes an item, a batch of items becomes embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import PIL.Image
import torch

from polylens.errors import ImageError, InputError
from polylens.media.image import read_image
from polylens.models.protocol import Item, Modality, Model, Processor
from polylens.types import Embedding, Image

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
    """What the model takes for one input.

    Args:
        processor: Of the model.
        modalities: That the model takes.
        value: The input.
        index: Its position among the caller's inputs, for the error message.
        task: As `Processor.role` gives it.
        prompt_name: As `Processor.role` gives it.
        max_length: Tokens at which a text is cut; None is the model's own limit.
        max_pixels: Area to which an image is shrunk; None is the model's own.

    Raises:
        InputError: The model does not take such an input, or it cannot be read.
    """
    modality: Modality = "text" if isinstance(value, str) else "image"
    if modality not in modalities:
        raise InputError(f"input {index} is {modality}, this model takes {' and '.join(modalities)} only")
    if isinstance(value, str):
        require_unicode(value, index)
        return processor.text(value, task=task, prompt_name=prompt_name, max_length=max_length)
    if isinstance(value, (Image, PIL.Image.Image)):
        image = read_image(value, index=index)
        try:
            return processor.image(image, task=task, max_pixels=max_pixels)
        except ImageError as error:
            raise ImageError(error.message, index) from error
    raise InputError(
        f"input {index} must be a str, a polylens.Image or a PIL.Image, got {type(value).__name__}; "
        "wrap paths and bytes of images in polylens.Image(...)"
    )


def require_unicode(text: str, index: int) -> None:
    """Refuses half a surrogate pair, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"text {index} is not valid Unicode: half of a surrogate pair stands at position {error.start}"
        ) from error


def forward(model: Model, items: Sequence[Item]) -> Iterator[list[Embedding]]:
    """Runs a batch.

    Args:
        model: Any family's.
        items: That fit into memory together.

    Yields:
        For each item its embeddings: one, or one a chunk. Copies, so that keeping one does not keep its whole batch.
    """
    with torch.inference_mode():
        outputs = model.embed(items)
    dense, norms = outputs.dense.cpu().numpy(), outputs.norms.cpu().numpy()
    tokens = None if outputs.multivector is None else outputs.multivector.cpu().numpy()
    row = start = 0
    for item in items:
        found = []
        for first, stop in item.chunks or ((0, item.num_tokens),):  # a whole item shows every token, its prompt's too
            rows = dense[row : row + 1] if tokens is None else tokens[start + first : start + stop]
            found.append(Embedding(dense[row].copy(), rows.copy(), float(norms[row])))
            row += 1
        start += item.num_tokens
        yield found
