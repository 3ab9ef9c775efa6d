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
    """First row, and one past the last row, of those whose mean is the dense vector."""
    task: str | None
    """Task whose adapter is used; None uses no adapter, as in the first stage of training."""
    patches: Tensor | None = None
    """`[patches, numbers per patch]` float32, None for a text."""
    grid: tuple[int, int] | None = None
    """Rows and columns of patches, None for a text."""
    chunks: tuple[tuple[int, int], ...] = ()
    """For late chunking: spans of rows that get one dense vector each, instead of one vector for `pool`."""
    truncated: bool = False
    """Whether a text had more tokens and was cut."""
    kept: npt.NDArray[np.bool_] | None = None
    """`[tokens]`: the tokens that have a row in the multi-vector; None for all. ColBERT leaves out punctuation."""

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """The spans of rows whose means are the dense vectors."""
        return self.chunks or (self.pool,)

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def vector_token_ids(self) -> npt.NDArray[np.int64]:
        """The tokens whose vectors are the multi-vector."""
        return self.token_ids if self.kept is None else self.token_ids[self.kept]


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs for a packed batch of N items, with T tokens and S spans in all."""

    dense: Tensor
    """`[S, dim]` float32, unit rows: one per span of each item; most items have one span."""
    norms: Tensor
    """`[S]` float32: the lengths of the dense vectors before they were normalised."""
    multivector: Tensor | None
    """`[T, 128]` float32, unit rows; None from a family without late interaction. Of an item with `kept`, only those
    rows."""
    lengths: tuple[int, ...]
    """Rows of each item in `multivector`: its tokens, unless it has `kept`."""


def packed_spans(items: Sequence[Item]) -> tuple[Tensor, Tensor]:
    """Returns the first rows, and one past the last rows, of all spans in the packed batch, `[S]` each.

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
        """Computes all outputs for a batch. An item's vectors do not depend on the others in its batch."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters by name, as for any `nn.Module`."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """The maths of a family whose output is `score`: a reranker."""

    def score(self, pairs: Sequence[tuple[Item, Item]]) -> Tensor:
        """Computes how well the second of each pair answers the first: `[N]` float32, higher is better.

        Args:
            pairs: Each a query and a document, with texts or images on either side. A pair's score does not depend on
                the others in its batch.
        """
        ...


@runtime_checkable
class Processor(Protocol):
    """Tokens and pixels of a family."""

    tokenizer: Tokenizer
    """From the checkpoint's `tokenizer.json`, without truncation and padding."""
    max_pixels: int
    """Largest area of a resized image, unless a call names another."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The short names that `role` understands."""
        ...

    def role(self, task: str | None, prompt_name: str | None) -> tuple[str | None, str]:
        """Translates a caller's names to (adapter, prompt), as `text` and `image` take them; None means the default.

        Raises:
            InputError: The checkpoint has no such task or prompt; the message lists those it has.
        """
        ...

    def text(self, text: str, *, task: str | None, prompt_name: str, max_length: int | None) -> Item: ...

    def chunks(self, texts: Sequence[str], *, task: str | None, prompt_name: str, max_length: int | None) -> Item:
        """Puts the texts into one sequence, in which each attends to all others, with one span per text.

        Günther et al. 2024, "Late Chunking", https://arxiv.org/abs/2409.04701.

        Raises:
            InputError: A text has no token, or all of them together have more than `max_length`.
        """
        ...

    def num_image_tokens(self, width: int, height: int) -> int:
        """Returns how many tokens an image of this size has for the model, at the checkpoint's own `max_pixels`.

        Raises:
            ImageError: No image may have such a shape.
        """
        ...

    def image(self, image: PIL.Image.Image, *, task: str | None, max_pixels: int | None) -> Item: ...
