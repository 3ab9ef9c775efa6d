"""The vision tower of Qwen2-VL: from the patches of images of any size to one token per 2 x 2 patches.

Shapes: P patches of all images together, M = P / merge^2 merged tokens, W width, D numbers per patch, O decoder width.

Each layer sees the whole image, and no layer another image. Rows and columns enter as rotations of queries and keys.
Qwen2-VL, https://arxiv.org/abs/2409.12191, section 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polylens.models.protocol import Grid
from polylens.models.qwen_vl.config import Qwen2VisionConfig
from polylens.models.qwen_vl.vision import Merger, PatchEmbedding, VisionBlock, patch_positions
from polylens.nn.linear import Linear
from polylens.nn.packing import Packing
from polylens.nn.rope import Rotation, axial_angles


class QuickGeluMLP(nn.Module):
    """Two linear layers with the sigmoid approximation of GELU between them: x sigmoid(1.702 x).

    Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415, section 2.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = Linear(width, hidden)
        self.down = Linear(hidden, width)

    def forward(self, x: Float[Tensor, "P W"]) -> Float[Tensor, "P W"]:
        x = self.up(x)
        return self.down(x * torch.sigmoid(1.702 * x))


class Qwen2VisionTower(nn.Module):
    """The vision tower: from the packed patches of any number of images to visual tokens."""

    def __init__(self, config: Qwen2VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbedding(config)
        self.blocks = nn.ModuleList(
            VisionBlock(
                config.width,
                config.num_heads,
                norm=lambda: nn.LayerNorm(config.width, config.norm_eps),
                mlp=lambda: QuickGeluMLP(config.width, config.mlp_width),
            )
            for _ in range(config.num_layers)
        )
        norm = nn.LayerNorm(config.width, config.norm_eps)
        self.merger = Merger(norm, config.width * config.merge_size**2, config.output_width)

    def forward(self, patches: Float[Tensor, "P D"], grids: Sequence[Grid]) -> Float[Tensor, "M O"]:
        """Returns the visual tokens, image after image, each row by row.

        Args:
            patches: In merge order, normalised; one frame each.
            grids: Rows and columns of patches of each image; both divisible by the merge size.
        """
        config, device = self.config, patches.device
        positions = torch.cat([patch_positions(grid, config.merge_size) for grid in grids]).to(device)
        rotation = Rotation.by(axial_angles(positions, config.head_dim, config.theta))
        in_images = Packing([rows * columns for rows, columns in grids], device)

        return self.merger(self.layers(self.patch_embed(patches), rotation, in_images))

    def layers(self, x: Float[Tensor, "P W"], rotation: Rotation, packing: Packing) -> Float[Tensor, "P W"]:
        """Returns the last hidden states before the merger; see `protocol.Tower`.

        Args:
            x: The embedded patches of all images.
            rotation: That of their rows and columns.
            packing: The images.
        """
        for block in self.blocks:
            x = block(x, rotation, packing)
        return x
