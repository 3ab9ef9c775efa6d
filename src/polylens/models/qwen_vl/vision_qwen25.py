"""The vision tower of Qwen2.5-VL: from the patches of images of any size to one token per 2 x 2 patches.

Shapes: P patches of all images together, M = P / merge^2 merged tokens, W width, D numbers per patch, O decoder width.

Most layers attend within windows of 4 x 4 tokens, so the tower reorders the tokens by window, and restores their order
at the end.
jina_embeddings_v4 facts, section 1.6; Qwen2.5-VL, https://arxiv.org/abs/2502.13923, section 2.1.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polylens.models.protocol import Grid
from polylens.models.qwen_vl.config import Qwen25VisionConfig
from polylens.models.qwen_vl.uniform_windows import kept_windows
from polylens.models.qwen_vl.vision import Merger, PatchEmbedding, VisionBlock, patch_positions
from polylens.nn.layers import RMSNorm
from polylens.nn.linear import Linear
from polylens.nn.packing import Packing
from polylens.nn.rope import Rotation, axial_angles


@lru_cache(maxsize=256)
def window_order(grid: Grid, merge: int, window: int) -> tuple[Int[Tensor, " M"], tuple[int, ...]]:
    """Returns the merged tokens of one image in window order, and the number of tokens per window.

    Windows start at the top left and go row by row; those at the right and the bottom edge may be smaller.

    Args:
        grid: Rows and columns of patches.
        merge: Patches per side that become one token.
        window: Tokens per side of a full window.

    Example:
        >>> order, sizes = window_order((4, 6), 2, 2)
        >>> order.tolist(), sizes
        ([0, 1, 3, 4, 2, 5], (4, 2))
    """
    height, width = grid[0] // merge, grid[1] // merge
    tokens = torch.arange(height * width).view(height, width)
    windows = [
        tokens[top : top + window, left : left + window].flatten()
        for top in range(0, height, window)
        for left in range(0, width, window)
    ]
    return torch.cat(windows), tuple(len(each) for each in windows)


class SwiGLU(nn.Module):
    """SwiGLU with biases, https://arxiv.org/abs/2002.05202."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = Linear(width, hidden)
        self.up = Linear(width, hidden)
        self.down = Linear(hidden, width)

    def forward(self, x: Float[Tensor, "P W"]) -> Float[Tensor, "P W"]:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Qwen25VisionTower(nn.Module):
    """The vision tower: from the packed patches of any number of images to visual tokens."""

    def __init__(self, config: Qwen25VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbedding(config)
        self.blocks = nn.ModuleList(
            VisionBlock(
                config.width,
                config.num_heads,
                norm=lambda: RMSNorm(config.width, config.norm_eps),
                mlp=lambda: SwiGLU(config.width, config.mlp_width),
            )
            for _ in range(config.num_layers)
        )
        norm = RMSNorm(config.width, config.norm_eps)
        self.merger = Merger(norm, config.width * config.merge_size**2, config.output_width)

    def forward(self, patches: Float[Tensor, "P D"], grids: Sequence[Grid]) -> Float[Tensor, "M O"]:
        """Returns the visual tokens, image after image, each row by row.

        Args:
            patches: In merge order, normalised; one frame each.
            grids: Rows and columns of patches of each image; both divisible by the merge size.
        """
        config, device, per_token = self.config, patches.device, self.config.merge_size**2
        token_order, in_tokens = self.window_order(grids)
        order = self.patches_of(token_order)
        windows = [size * per_token for size in in_tokens]
        images = [rows * columns for rows, columns in grids]
        sources = torch.argsort(token_order)
        x = patches[order.to(device)]
        if config.shares_uniform_windows and not self.training:  # training looks into the layers, patch by patch
            kept = kept_windows(x, windows, images, channels=config.num_channels, per_token=per_token)
            x, order = x[kept.patches.to(device)], order[kept.patches]
            windows, images, sources = kept.windows, kept.images, kept.sources[sources]

        positions = torch.cat([patch_positions(grid, config.merge_size) for grid in grids])[order].to(device)
        rotation = Rotation.by(axial_angles(positions, config.head_dim, config.theta))
        x = self.layers(self.patch_embed(x), rotation, Packing(images, device, windows=windows))
        return self.merger(x).index_select(0, sources.to(device))

    def layers(self, x: Float[Tensor, "P W"], rotation: Rotation, packing: Packing) -> Float[Tensor, "P W"]:
        """Returns the last hidden states before the merger; see `protocol.Tower`.

        Args:
            x: The embedded patches of all images, in window order.
            rotation: That of their rows and columns.
            packing: The images, with their windows.
        """
        assert packing.windows is not None
        for index, block in enumerate(self.blocks):
            x = block(x, rotation, packing if index in self.config.full_attention_layers else packing.windows)
        return x

    def window_order(self, grids: Sequence[Grid]) -> tuple[Int[Tensor, " M"], list[int]]:
        """Returns the order in which the blocks see the tokens of all images, and the number of tokens per window."""
        orders: list[Tensor] = []
        windows: list[int] = []
        start = 0
        for grid in grids:
            order, sizes = window_order(grid, self.config.merge_size, self.config.window_tokens)
            orders.append(order + start)
            windows.extend(sizes)
            start += len(order)
        return torch.cat(orders), windows

    def patches_of(self, tokens: Int[Tensor, " M"]) -> Int[Tensor, " P"]:
        """Returns the patches that become these tokens, in merge order."""
        per_token = self.config.merge_size**2
        return (tokens[:, None] * per_token + torch.arange(per_token)).flatten()
