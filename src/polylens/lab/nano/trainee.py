"""The model under training together with its reading head, as the training sees any family."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor, nn

from polylens.models.protocol import Item, Model, Outputs, Processor


class Trainee(nn.Module, ABC):
    """A model, and a head for training alone that reads letters from the vision tower's patches."""

    model: Model
    reader: nn.Linear
    patch_size: int
    """Pixels per side of a patch."""

    @property
    @abstractmethod
    def tower(self) -> nn.Module:
        """The vision tower, which has a `patch_embed` and `blocks`."""

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks of the tower, in order."""
        return list(self.tower.get_submodule("blocks").children())

    @property
    @abstractmethod
    def reading_module(self) -> nn.Module:
        """The module of the tower whose input the letters are read from."""

    @property
    def grounding_module(self) -> nn.Module:
        """The module of the tower whose input queries are grounded in."""
        return self.reading_module

    @property
    @abstractmethod
    def reading_parts(self) -> Sequence[nn.Module | nn.Parameter]:
        """The parts of the tower that letters are read through; frozen in stages that do not train them."""

    def rate_share(self, name: str) -> float:
        """The factor of a parameter's learning rate."""
        return 1.0 if self.is_matrix(name) else 0.3

    def finalize_reading(self, images: Sequence[Item]) -> None:
        """Prepares the tower for the later stages, once the stage that teaches reading has ended.

        Args:
            images: A sample of what it reads.
        """

    @abstractmethod
    def forward_vision(self, images: Sequence[Item]) -> None:
        """Runs the vision tower alone."""

    def is_matrix(self, name: str) -> bool:
        """Whether a parameter is a matrix between hidden states, as embeddings, heads and adapters are not."""
        outside = any(part in name for part in ("embed", "reader", "lora"))
        return self.get_parameter(name).ndim == 2 and not outside

    def freeze(self, *, reading: bool, task: str | None) -> None:
        """Freezes what a stage does not train, and unfreezes everything else.

        Args:
            reading: Whether to freeze `reading_parts`; the parts behind them are trained all the same.
            task: The only task whose adapter is trained, and nothing besides; None trains the model itself.
        """
        self.requires_grad_(task is None)
        for part in (*self.reading_parts, self.reader):
            part.requires_grad_(task is None and not reading)
        if task is not None:
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(name.endswith((f"lora_a.{task}", f"lora_b.{task}")))

    @abstractmethod
    def align_letters(self, rows: Tensor, letters: Tensor, images: Sequence[Item]) -> tuple[Tensor, Tensor]:
        """The rows that are patches, and the letters of each in the same order.

        Args:
            rows: The input of `reading_module`.
            letters: `ImageBatch.letters`.
            images: The images of the batch.
        """

    @abstractmethod
    def grounding_vectors(
        self, queries: Outputs, documents: Outputs, rows: Tensor, images: Sequence[Item]
    ) -> tuple[Tensor, Tensor]:
        """The two sides that grounding compares, as unit rows: query tokens or whole queries, and cells of images.

        Args:
            queries: The model's outputs for the queries.
            documents: The model's outputs for the images, and the texts after them.
            rows: The input of `grounding_module`.
            images: The images of the batch.
        """

    @abstractmethod
    def save(self, folder: Path, processor: Processor) -> None:
        """Writes the model in its family's layout."""


@contextlib.contextmanager
def capture_inputs(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the first input of every call of a module while the context lasts."""
    seen: list[Tensor] = []
    with module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0])):
        yield seen


def patches_in(images: Sequence[Item]) -> list[Tensor]:
    """The normalised patches of each image, `[patches, numbers per patch]`."""
    return [
        item.pixel_scale.normalise(item.patches)
        for item in images
        if item.patches is not None and item.pixel_scale is not None
    ]


def grids_in(images: Sequence[Item]) -> list[tuple[int, int]]:
    """Rows and columns of patches of each image."""
    return [grid for item in images for grid in item.grids]
