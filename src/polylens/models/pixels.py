"""Pixels on their way to a vision tower: they travel as bytes, and the device that computes normalises them.

Shapes: P patches, D bytes per patch, in the order channel, row, column.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PixelScale:
    """The scale on which a tower's weights expect pixels, as its image processor was published with."""

    mean: tuple[float, ...]  # per channel, on a scale from 0 to 1
    std: tuple[float, ...]

    def normalise(self, patches: UInt8[Tensor, "*P D"], dtype: torch.dtype = torch.float32) -> Float[Tensor, "*P D"]:
        """Returns (byte / 255 - mean) / std for each byte.

        Args:
            patches: Bytes, on any device. Channels follow each other within a patch.
            dtype: Of the result; what comes before is computed in float32.

        Example:
            >>> PixelScale((0.5,), (0.5,)).normalise(torch.tensor([[0, 255]], dtype=torch.uint8))
            tensor([[-1.,  1.]])
        """
        mean, std = (torch.tensor(each, device=patches.device)[:, None] * 255 for each in (self.mean, self.std))
        channels = patches.view(*patches.shape[:-1], len(self.mean), -1).float()
        return ((channels - mean) / std).flatten(-2).to(dtype)
