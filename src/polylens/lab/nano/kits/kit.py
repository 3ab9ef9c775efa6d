"""A training kit: what training from random weights needs of a model family.

A family's own description (`polylens.models.description.Family`) says how a published model is loaded and used. Nothing
in it says how a tokenizer is trained, where letters are read, or what a query is grounded in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tokenizers import Tokenizer
from torch import Tensor

from polylens.lab.nano.data.grounding import PlacedQuery
from polylens.lab.nano.schedule import Recipe
from polylens.lab.nano.trainee import Trainee
from polylens.lab.synthetic.rendered import Rendered
from polylens.models.description import Family
from polylens.models.protocol import Item, Processor


@runtime_checkable
class PixelProcessor(Processor, Protocol):
    """A processor that takes drawn pictures as they are, without resizing them."""

    def pixels(self, pixels: Tensor, *, task: str | None) -> Item:
        """The item of a picture that already has a size the model takes.

        Args:
            pixels: `[3, height, width]` uint8.
            task: The task whose adapter is used; None for no adapter.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Cells:
    """The squares that a model cuts a picture into."""

    patch: int  # pixels per side of a patch
    merge: int  # patches per side of a cell, the square of one visual token

    @property
    def side(self) -> int:
        """Pixels per side of a cell.

        Example:
            >>> Cells(patch=14, merge=2).side
            28
        """
        return self.patch * self.merge


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingKit:
    """What the training asks a family for, besides what the family says about itself."""

    family: Family
    takes_any_size: bool
    """Whether the pictures of a batch may differ in size."""
    make_tokenizer: Callable[[Recipe, Sequence[str]], Tokenizer]
    """Trains the tokenizer of a recipe, with more texts to learn from and the special tokens of the family."""
    make_processor: Callable[[Recipe, Tokenizer], PixelProcessor]
    make_trainee: Callable[[Recipe], Trainee]
    """Makes the model of a recipe and its reading head, with uninitialised weights."""
    cells: Callable[[PixelProcessor], Cells]
    ground: Callable[
        [Sequence[PlacedQuery], Sequence[Rendered], Sequence[int], PixelProcessor, str], tuple[Tensor, Tensor]
    ]
    """Texts, pictures, the picture of each of the first texts (the others are drawn nowhere), the processor and the
    prompt's name -> `ImageBatch.here` and `ImageBatch.same`."""
