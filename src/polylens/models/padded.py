"""Towers as functions of a padded batch: what other programs expect of a graph, where polylens itself never pads.

Shapes: N inputs, L places of the longest text, W width, C channels of an image, S pixels per side, E width of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from polylens.models.eva02.vision import VisionTower
from polylens.nn.lora import merge_adapter, merge_tables
from polylens.nn.packing import PaddedPacking

Axes = tuple[str | int, ...]
"""The size of each axis of a tensor: a number, or the name of one that every batch chooses."""

EXAMPLE = (2, 6)  # texts and places of the batch that is traced
TEXT_AXES: Axes = ("batch", "length")


@dataclass(frozen=True, kw_only=True, slots=True)
class PaddedNetwork:
    """A network over a padded batch, with all that it takes to write it as a graph and to call that."""

    name: str
    """Of the tower: "text" or "vision"."""
    network: nn.Module
    inputs: Mapping[str, Tensor]
    """An example of each input, in the order of the network's arguments."""
    axes: Mapping[str, Axes]
    """Of each input and each output, the outputs in the order in which the network returns them."""
    meanings: Mapping[str, str]
    """What each input and output is, in a sentence."""
    prefixes: Mapping[str, str] = field(default_factory=dict)
    """Prompt -> what stands before a text, to be tokenized with it; for a tower of texts."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""
        return tuple(name for name in self.axes if name not in self.inputs)


IDS = "Token ids. Behind the end of a text any id may stand."
MASK = "1 at each token, 0 at padding, which comes last."
DENSE = "Unit vectors, one per input."
PIXELS = "The middle square of each image, normalised as preprocessor_config.json says: channel, row, column."
TEXT_MEANINGS = {"input_ids": IDS, "attention_mask": MASK, "dense": DENSE}


class MeanOfTokens(nn.Module):
    """A tower of texts whose vector is the mean over the tokens of a text.

    Args:
        tower: From token ids, a packing and, where `adapted`, a list of adapters to hidden states.
        adapted: Whether the tower takes adapters; none is used.
    """

    def __init__(self, tower: nn.Module, *, adapted: bool) -> None:
        super().__init__()
        self.tower = tower
        self.none: tuple[list[object], ...] = ([],) if adapted else ()

    def forward(self, input_ids: Int[Tensor, "N L"], attention_mask: Int[Tensor, "N L"]) -> Float[Tensor, "N W"]:
        mask = attention_mask.bool()
        packing = PaddedPacking(mask)
        hidden = packing.unpacked(self.tower(input_ids.flatten(), packing, *self.none))
        return F.normalize(masked_mean(hidden, mask), dim=-1)


class ClassTokens(nn.Module):
    """A tower of images of one size, from normalised pixels to unit vectors."""

    def __init__(self, tower: VisionTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixel_values: Float[Tensor, "N C S S"]) -> Float[Tensor, "N W"]:
        config = self.tower.config
        grid, size = config.grid, config.patch_size
        whole = pixel_values[:, :, : grid * size, : grid * size]
        channels = whole.shape[1]
        patches = whole.reshape(-1, channels, grid, size, grid, size).permute(0, 2, 4, 1, 3, 5)
        embedded = self.tower.patch_embed(patches.flatten(3).flatten(1, 2))
        first = self.tower.class_token.expand(pixel_values.shape[0], 1, -1)
        x = torch.cat((first, embedded), dim=1) + self.tower.positions
        everything = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        packing = PaddedPacking(everything)
        hidden = packing.unpacked(self.tower.layers(x.flatten(0, 1), packing))
        return F.normalize(self.tower.norm(hidden[:, 0]), dim=-1)


def masked_mean(rows: Float[Tensor, "N L E"], mask: Bool[Tensor, "N L"]) -> Float[Tensor, "N E"]:
    """Averages the rows of each input at which the mask is True; there is at least one."""
    weights = mask[:, :, None].to(rows.dtype)
    return (rows * weights).sum(dim=1) / weights.sum(dim=1)


def example_texts() -> dict[str, Tensor]:
    """Returns token ids and mask of a batch by which a network is traced; the second text is shorter.

    Example:
        >>> example_texts()["attention_mask"].sum(dim=1).tolist()
        [6, 4]
    """
    mask = torch.ones(EXAMPLE, dtype=torch.int64)
    mask[1, 4:] = 0
    return {"input_ids": torch.ones(EXAMPLE, dtype=torch.int64), "attention_mask": mask}


def merge_task(network: nn.Module, task: str | None) -> None:
    """Merges a task's adapter into all weights of a network, in place, and removes all adapters of it."""
    merge_adapter(network, task)
    merge_tables(network, task)


def padded_texts(tower: nn.Module, width: int, prefixes: Mapping[str, str], *, adapted: bool) -> PaddedNetwork:
    """Returns a tower of texts, whose vectors are means, as a network over a padded batch.

    Args:
        tower: Without adapters, or with one that is merged.
        width: Numbers of a vector.
        prefixes: See `PaddedNetwork`.
        adapted: See `MeanOfTokens`.
    """
    return PaddedNetwork(
        name="text",
        network=MeanOfTokens(tower, adapted=adapted),
        inputs=example_texts(),
        axes={"input_ids": TEXT_AXES, "attention_mask": TEXT_AXES, "dense": ("batch", width)},
        meanings=TEXT_MEANINGS,
        prefixes=prefixes,
    )


def padded_images(tower: VisionTower) -> PaddedNetwork:
    """Returns a tower of images as a network over a batch of them."""
    side = tower.config.image_size
    return PaddedNetwork(
        name="vision",
        network=ClassTokens(tower),
        inputs={"pixel_values": torch.zeros(2, 3, side, side)},
        axes={"pixel_values": ("batch", 3, side, side), "dense": ("batch", tower.config.width)},
        meanings={"pixel_values": PIXELS, "dense": DENSE},
    )
