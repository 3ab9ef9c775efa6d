"""The parts that the vision towers of Qwen2-VL and Qwen2.5-VL share: patches in merge order, blocks, the merger.

Shapes: P patches of all images together, M = P / merge^2 merged tokens, W width, D numbers per patch, O decoder width.

Patches arrive in merge order: the patches of a token are adjacent, and tokens come row by row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polylens.models.protocol import Grid
from polylens.models.qwen_vl.config import VisionConfig
from polylens.nn.attention import attention
from polylens.nn.linear import Linear
from polylens.nn.packing import Packing
from polylens.nn.rope import Rotation, rotate


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


class PatchEmbedding(nn.Module):
    """The patch embedding: a convolution over frames, rows and columns whose stride is its kernel, so a product.

    All frames of a still image are the same, so one is enough: what the kernel has for each frame is added first.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.shape = (config.num_channels, config.num_frames, config.patch_size**2)
        whole = nn.Linear(math.prod(self.shape), config.width, bias=False)
        self.weight = whole.weight  # every frame's, as it is published

    def forward(self, patches: Float[Tensor, "P D"]) -> Float[Tensor, "P W"]:
        return F.linear(patches, self.weight.view(-1, *self.shape).sum(dim=2).flatten(1))


class VisionAttention(nn.Module):
    """Attention within the given sequences: windows or whole images."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(self, x: Float[Tensor, "P W"], rotation: Rotation, packing: Packing) -> Float[Tensor, "P W"]:
        queries, keys, values = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(1)
        mixed = attention(rotate(queries, rotation), rotate(keys, rotation), values, packing, causal=False)
        return self.out(mixed.flatten(1))


class VisionBlock(nn.Module):
    """One pre-norm block of a vision tower: attention, then MLP.

    Args:
        width: Width of the tower.
        num_heads: Heads of its attention.
        norm: Makes one of its two norms.
        mlp: Makes its MLP.
    """

    def __init__(
        self, width: int, num_heads: int, *, norm: Callable[[], nn.Module], mlp: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        self.attention_norm = norm()
        self.attention = VisionAttention(width, num_heads)
        self.mlp_norm = norm()
        self.mlp = mlp()

    def forward(self, x: Float[Tensor, "P W"], rotation: Rotation, packing: Packing) -> Float[Tensor, "P W"]:
        x = x + self.attention(self.attention_norm(x), rotation, packing)
        return x + self.mlp(self.mlp_norm(x))


class Merger(nn.Module):
    """The merger: concatenates the patches of a token and projects them to the decoder's width.

    Args:
        norm: The norm of each patch, before they are concatenated.
        merged: Numbers per token, of all its patches.
        outputs: The decoder's width.
    """

    def __init__(self, norm: nn.Module, merged: int, outputs: int) -> None:
        super().__init__()
        self.merged = merged
        self.norm = norm
        self.inner = Linear(merged, merged)
        self.outer = Linear(merged, outputs)

    def forward(self, x: Float[Tensor, "P W"]) -> Float[Tensor, "M O"]:
        return self.outer(F.gelu(self.inner(self.norm(x).view(-1, self.merged))))
