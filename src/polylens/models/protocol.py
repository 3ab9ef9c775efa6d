"""What the runtime may ask of any model: items in, vectors or scores out.

A family's `processing.py` turns an input into an `Item`; its `model.py` turns a batch of items into `Outputs`. The two
meet only in `runtime/embedder.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from polylens.models.pixels import PixelScale

if TYPE_CHECKING:
    import PIL.Image
    from tokenizers import Tokenizer

Modality = Literal["text", "image"]

Grid = tuple[int, int]
"""Rows and columns of patches of one image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One sequence, ready for the model: an input, or a query and a document that a reranker reads together."""

    token_ids: npt.NDArray[np.int64]
    """`[tokens]`; an image's placeholder is already repeated once per visual token."""
    pool: tuple[int, int] = (0, 0)
    """First row, and one past the last row, of those whose mean is the dense vector; unused for a pair."""
    task: str | None = None
    """Task whose adapter is used; None uses no adapter, as in the first stage of training."""
    patches: Tensor | None = None
    """`[patches, bytes per patch]` uint8: those of every image in the sequence, in order; None without images."""
    pixel_scale: PixelScale | None = None
    """How the model is to normalise the bytes of `patches`; None without images."""
    grids: tuple[Grid, ...] = ()
    """The grid of each image in the sequence, in order; empty for a text."""
    image_starts: tuple[int, ...] = ()
    """For images among text: the row of each one's first visual token. The text may hold the placeholder literally."""
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
class Tower(Protocol):
    """A network over packed sequences. An engine may compile its layers, and put the result in their place."""

    @property
    def layers(self) -> Callable[..., Tensor]:
        """Computes the last hidden states, `[T, W]`, from these arguments, in this order.

        * `[T, W]`, the embedded tokens of a packed batch;
        * a `Rotation` of each token, if the network does not derive it from the places in a sequence;
        * the `Packing`: the sequences, of which none attends to another;
        * for a network with adapters, which tokens use which one: a list of `AdapterRows`.
        """
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters, as for any `nn.Module`."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """The maths of a family whose output is `score`: a reranker."""

    def score(self, items: Sequence[Item]) -> Tensor:
        """Computes how well the document of each pair answers its query: `[N]` float32, higher is better.

        Args:
            items: Pairs, each joined by `PairProcessor.pair`. A pair's score does not depend on the others in its
                batch.
        """
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters by name, as for any `nn.Module`."""
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


@runtime_checkable
class Fusing(Protocol):
    """A processor that puts a text and an image into one sequence, which gets one vector."""

    @property
    def fuses(self) -> bool:
        """Whether the checkpoint has a prompt for that."""
        ...

    def fused(
        self, parts: Sequence[str | PIL.Image.Image], *, task: str | None, prompt_name: str, max_length: int | None
    ) -> Item:
        """Puts the parts of one input into its prompt; `max_length` is that of the whole sequence.

        Raises:
            InputError: The checkpoint cannot read these parts together; the message says which it can.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One side of a pair, ready to be joined with the other: a text that has been cut, or an image as patches."""

    text: str | None = None
    """None for an image."""
    patches: Tensor | None = None
    """`[patches, bytes per patch]` uint8, None for a text."""
    pixel_scale: PixelScale | None = None
    """As of an `Item`; None for a text."""
    grid: Grid | None = None
    """None for a text."""
    truncated: bool = False
    """Whether a text had more tokens and was cut."""


@runtime_checkable
class PairProcessor(Protocol):
    """Tokens and pixels of a family whose output is `score`: from a query and a document to one sequence."""

    tokenizer: Tokenizer
    """From the checkpoint's `tokenizer.json`, without truncation and padding."""
    max_pixels: int
    """Largest area of a resized image, unless a call names another."""
    max_length: int
    """Tokens of the longest pair."""
    max_query_length: int
    """Tokens that are kept free for the query where a document is cut by default."""

    def query(self, value: str | PIL.Image.Image, *, max_length: int | None, max_pixels: int | None) -> Side:
        """Prepares a query once for all its documents.

        Args:
            value: A text, or an RGB image.
            max_length: Tokens of the query; None is the model's own limit.
            max_pixels: Area to which an image is shrunk; None is the model's own limit.
        """
        ...

    def document(self, value: str | PIL.Image.Image, *, max_length: int | None, max_pixels: int | None) -> Side:
        """Prepares a document; the arguments are those of `query`."""
        ...

    def pair(self, query: Side, document: Side, *, max_length: int | None) -> Item:
        """Joins both sides to the one sequence that the model reads.

        Raises:
            InputError: The pair has more tokens than `max_length`, or than the model takes.
        """
        ...

    def num_image_tokens(self, width: int, height: int) -> int:
        """Returns how many tokens an image of this size has for the model, as `Processor.num_image_tokens`."""
        ...
