"""The vision tower of Qwen2.5-VL: from the patches of images of any size to one token per 2 x 2 patches.

Shapes: P patches of all images together, M = P / merge^2 merged tokens, W width, D numbers per patch, O decoder width.

Patches arrive in merge order: the four patches of a token are adjacent, and tokens come row by row. Most layers attend
within windows of 4 x 4 tokens, so the tower reorders the tokens by window, and restores their order at the end.
jina_embeddings_v4 facts, section 1.6; Qwen2.5-VL, https://arxiv.org/abs/2502.13923, section 2.1.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polylens.models.jina_v4.config import VisionConfig
from polylens.nn.attention import attention
from polylens.nn.layers import RMSNorm
from polylens.nn.packing import Packing
from polylens.nn.rope import axial_angles, rotate

Grid = tuple[int, int]
"""Rows and columns of patches of one image."""


@lru_cache(maxsize=256)
def patch_positions(grid: Grid, merge: int) -> Int[Tensor, "P 2"]:
    """Returns the row and the column of each patch, in merge order.

    >>> patch_positions((2, 4), 2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2], [0, 3], [1, 2], [1, 3]]
    """
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    positions = torch.stack((rows, columns), dim=-1)
    cells = positions.view(grid[0] // merge, merge, grid[1] // merge, merge, 2)
    return cells.transpose(1, 2).reshape(-1, 2)


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


class VisionAttention(nn.Module):
    """Attention within the given sequences: windows or whole images."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "P W"], angles: Float[Tensor, "P R"], packing: Packing) -> Float[Tensor, "P W"]:
        queries, keys, values = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(1)
        mixed = attention(rotate(queries, angles), rotate(keys, angles), values, packing, causal=False)
        return self.out(mixed.flatten(1))


class VisionMLP(nn.Module):
    """SwiGLU with biases, https://arxiv.org/abs/2002.05202."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "P W"]) -> Float[Tensor, "P W"]:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class VisionBlock(nn.Module):
    """One pre-norm block of the vision tower: attention, then MLP."""

    def __init__(self, width: int, num_heads: int, mlp_width: int, norm_eps: float) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(width, norm_eps)
        self.attention = VisionAttention(width, num_heads)
        self.mlp_norm = RMSNorm(width, norm_eps)
        self.mlp = VisionMLP(width, mlp_width)

    def forward(self, x: Float[Tensor, "P W"], angles: Float[Tensor, "P R"], packing: Packing) -> Float[Tensor, "P W"]:
        x = x + self.attention(self.attention_norm(x), angles, packing)
        return x + self.mlp(self.mlp_norm(x))


class Merger(nn.Module):
    """The merger: concatenates the patches of a token and projects them to the decoder's width."""

    def __init__(self, width: int, merged: int, outputs: int, norm_eps: float) -> None:
        super().__init__()
        self.merged = merged
        self.norm = RMSNorm(width, norm_eps)
        self.inner = nn.Linear(merged, merged)
        self.outer = nn.Linear(merged, outputs)

    def forward(self, x: Float[Tensor, "P W"]) -> Float[Tensor, "M O"]:
        return self.outer(F.gelu(self.inner(self.norm(x).view(-1, self.merged))))


class VisionTower(nn.Module):
    """The vision tower: from the packed patches of any number of images to visual tokens."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = nn.Linear(config.patch_dim, config.width, bias=False)
        self.blocks = nn.ModuleList(
            VisionBlock(config.width, config.num_heads, config.mlp_width, config.norm_eps)
            for _ in range(config.num_layers)
        )
        merged = config.width * config.merge_size**2
        self.merger = Merger(config.width, merged, config.output_width, config.norm_eps)

    def forward(self, patches: Float[Tensor, "P D"], grids: Sequence[Grid]) -> Float[Tensor, "M O"]:
        """Returns the visual tokens, image after image, each row by row.

        Args:
            patches: In merge order, normalised.
            grids: Rows and columns of patches of each image; both divisible by the merge size.
        """
        config, device = self.config, patches.device
        token_order, windows = self.window_order(grids)
        patch_order = self.patches_of(token_order).to(device)
        positions = torch.cat([patch_positions(grid, config.merge_size) for grid in grids]).to(device)
        angles = axial_angles(positions, config.head_dim, config.theta)[patch_order]
        in_windows = Packing([size * config.merge_size**2 for size in windows], device)
        in_images = Packing([rows * columns for rows, columns in grids], device)

        x = self.patch_embed(patches[patch_order])
        for index, block in enumerate(self.blocks):
            x = block(x, angles, in_images if index in config.full_attention_layers else in_windows)
        return self.merger(x).index_select(0, torch.argsort(token_order).to(device))

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
