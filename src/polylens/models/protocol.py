"""What the runtime may ask of any model: items in, vectors or scores out.

A family's `processing.py` turns an input into an `Item`; its `model.py` turns a batch of items into `Outputs`. The two
meet only in `runtime/embedder.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import PIL.Image
    from tokenizers import Tokenizer

Modality = Literal["text", "image"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One input, ready for the model."""

    token_ids: npt.NDArray[np.int64]
    """`[tokens]`; an image's placeholder is already repeated once per visual token."""
    pool: tuple[int, int]
    """First row and one past the last row that the dense vector is the mean of."""
    task: str | None
    """Whose adapter; None is the model without any, as its first training stage knows it."""
    patches: Tensor | None = None
    """`[patches, numbers per patch]` float32, None for a text."""
    grid: tuple[int, int] | None = None
    """Rows and columns of patches, None for a text."""
    chunks: tuple[tuple[int, int], ...] = ()
    """Spans of rows that get a dense vector each instead of one for `pool`: late chunking."""
    truncated: bool = False
    """Whether a text had more tokens than these."""

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """The spans whose means are the dense vectors."""
        return self.chunks or (self.pool,)

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs for a packed batch of N items with T tokens and S spans together."""

    dense: Tensor
    """`[S, dim]` float32, unit rows: one for each span of each item, which mostly has one."""
    norms: Tensor
    """`[S]` float32: how long they were before."""
    multivector: Tensor | None
    """`[T, 128]` float32, unit rows; None from a family without late interaction."""
    lengths: tuple[int, ...]
    """Tokens of each item."""


def packed_spans(items: Sequence[Item]) -> tuple[Tensor, Tensor]:
    """First rows, and one past the last rows, of every span of every item in the packed batch, `[S]` each.

    Example:
        >>> item = Item(token_ids=np.zeros(5, dtype=np.int64), pool=(1, 5), task=None)
        >>> [rows.tolist() for rows in packed_spans([item, item])]
        [[1, 6], [5, 10]]
    """
    starts = np.cumsum([0, *(item.num_tokens for item in items)])
    spans = [
        (start + first, start + stop) for start, item in zip(starts, items, strict=False) for first, stop in item.spans
    ]
    packed = torch.from_numpy(np.asarray(spans, dtype=np.int64).reshape(-1, 2))
    return packed[:, 0], packed[:, 1]


@runtime_checkable
class Model(Protocol):
    """The maths of a family."""

    def embed(self, items: Sequence[Item]) -> Outputs:
        """Both outputs for a batch; an item's vectors do not depend on what shares its batch."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters by name, as of any `nn.Module`."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """The maths of a family whose output is `score`: a reranker."""

    def score(self, pairs: Sequence[tuple[Item, Item]]) -> Tensor:
        """`[N]` float32: how well the second of each pair answers the first; more is better.

        Args:
            pairs: A query and a document each, texts or images on either side. A pair's score does not depend on what
                shares its batch.
        """
        ...


@runtime_checkable
class Processor(Protocol):
    """Tokens and pixels of a family."""

    tokenizer: Tokenizer
    """Of its `tokenizer.json`; neither cuts nor pads."""
    max_pixels: int
    """Largest area to which an image is resized, unless a call says otherwise."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names that `role` understands, the short ones."""
        ...

    def role(self, task: str | None, prompt_name: str | None) -> tuple[str | None, str]:
        """What a caller asks for -> (adapter, prompt) as `text` and `image` take them; None stands for the default.

        Raises:
            InputError: The checkpoint has no such task or prompt; the message lists those it has.
        """
        ...

    def text(self, text: str, *, task: str | None, prompt_name: str, max_length: int | None) -> Item: ...

    def chunks(self, texts: Sequence[str], *, task: str | None, prompt_name: str, max_length: int | None) -> Item:
        """The texts in one sequence, each seeing all others, a span for each. Günther et al. 2024, "Late Chunking".

        Raises:
            InputError: A text has no token, or together they have more than `max_length`.
        """
        ...

    def num_image_tokens(self, width: int, height: int) -> int:
        """Tokens that the model sees of an image of so many pixels, at the checkpoint's own `max_pixels`.

        Raises:
            ImageError: No image may have such a shape.
        """
        ...

    def image(self, image: PIL.Image.Image, *, task: str | None, max_pixels: int | None) -> Item: ...
