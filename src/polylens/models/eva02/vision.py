"""The vision tower: EVA02 at one fixed image size, with the class token as its output.

Shapes: P tokens of all images together, N images, G patches per side, W width, D numbers per patch, R rotated pairs
per head.

Sun et al. 2023, https://arxiv.org/abs/2303.15389; Fang et al. 2023, https://arxiv.org/abs/2303.11331;
jina_clip_v2 facts, section 1.5.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from polylens.models.eva02.config import VisionConfig
from polylens.nn.attention import attention
from polylens.nn.packing import Packing
from polylens.nn.rope import Rotation, axial_angles, rotate


@lru_cache(maxsize=8)
def token_angles(config: VisionConfig) -> Float[Tensor, "P R"]:
    """Returns the angles of an image's tokens: 0 for the class token, then those of row and column, patch by patch.

    The positions of a grid larger than that of pretraining are scaled down to its span, so they are no whole numbers.
    """
    at = torch.arange(config.grid)
    places = torch.stack(torch.meshgrid(at, at, indexing="ij"), dim=-1).flatten(0, 1)
    angles = axial_angles(places, config.head_dim, config.theta) * (config.pretrained_grid / config.grid)
    return torch.cat((torch.zeros(1, angles.shape[1]), angles))


def resized_positions(positions: Float[Tensor, "P W"], grid: int) -> Float[Tensor, "Q W"]:
    """Interpolates learned positions bicubically for another number of patches per side.

    open_clip does the same when a tower continues training at another image size. Q is the new number of tokens.

    Args:
        positions: Those of the class token, which does not change, and of a square of patches, row by row.
        grid: New number of patches per side.

    Example:
        >>> resized_positions(torch.ones(5, 8), 3).shape
        torch.Size([10, 8])
    """
    side = int((len(positions) - 1) ** 0.5)
    if grid == side:
        return positions
    square = rearrange(positions[1:].float(), "(rows columns) width -> 1 width rows columns", rows=side)
    resized = F.interpolate(square, size=(grid, grid), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat((positions[:1], rearrange(resized, "1 width rows columns -> (rows columns) width").to(positions)))


class VisionAttention(nn.Module):
    """Attention in which every token of an image attends to every other.

    It has a norm before the output projection (sub-LN), and no bias on the keys.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(config.width, config.width, bias=False)
        self.value = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: Float[Tensor, "P W"], rotation: Rotation, packing: Packing) -> Float[Tensor, "P W"]:
        queries, keys, values = (
            project(x).unflatten(-1, (self.num_heads, -1)) for project in (self.query, self.key, self.value)
        )
        mixed = attention(rotate(queries, rotation), rotate(keys, rotation), values, packing, causal=False)
        return self.out(self.norm(mixed.flatten(1)))


class VisionMLP(nn.Module):
    """SwiGLU, https://arxiv.org/abs/2002.05202, with a norm before the output projection."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.width, config.mlp_width)
        self.up = nn.Linear(config.width, config.mlp_width)
        self.norm = nn.LayerNorm(config.mlp_width, config.norm_eps)
        self.down = nn.Linear(config.mlp_width, config.width)

    def forward(self, x: Float[Tensor, "P W"]) -> Float[Tensor, "P W"]:
        return self.down(self.norm(F.silu(self.gate(x)) * self.up(x)))


class VisionBlock(nn.Module):
    """One pre-norm block of the vision tower: attention, then MLP."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.attention = VisionAttention(config)
        self.mlp_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.mlp = VisionMLP(config)

    def forward(self, x: Float[Tensor, "P W"], rotation: Rotation, packing: Packing) -> Float[Tensor, "P W"]:
        x = x + self.attention(self.attention_norm(x), rotation, packing)
        return x + self.mlp(self.mlp_norm(x))


class VisionTower(nn.Module):
    """The vision tower: from the packed patches of any number of images to one vector per image."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = nn.Linear(config.patch_dim, config.width)
        self.class_token = nn.Parameter(torch.empty(config.width))
        self.positions = nn.Parameter(torch.empty(config.num_tokens, config.width))
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width, config.norm_eps)

    def forward(self, patches: Float[Tensor, "N G D"]) -> Float[Tensor, "N W"]:
        """Returns one vector per image, not of unit length.

        Args:
            patches: The normalised patches of each image, row by row; each as channel, row, column.
        """
        count, device = len(patches), patches.device
        first = self.class_token.expand(count, 1, -1)
        x = torch.cat((first, self.patch_embed(patches)), dim=1) + self.positions
        packing = Packing([self.config.num_tokens] * count, device)
        return self.norm(self.layers(x.flatten(0, 1), packing)[:: self.config.num_tokens])

    def layers(self, x: Float[Tensor, "P W"], packing: Packing) -> Float[Tensor, "P W"]:
        """Returns the last hidden states before the norm; see `protocol.Tower`.

        Args:
            x: The embedded tokens of all images.
            packing: The images.
        """
        rotation = Rotation.by(token_angles(self.config).to(x.device).repeat(len(packing.lengths), 1))
        for block in self.blocks:
            x = block(x, rotation, packing)
        return x

    @torch.no_grad()
    def resize(self, image_size: int) -> None:
        """Changes the image size from now on. Rotary positions follow the size; learned ones are interpolated.

        Args:
            image_size: Pixels per side.
        """
        self.config = replace(self.config, image_size=image_size)
        self.positions = nn.Parameter(resized_positions(self.positions, self.config.grid), self.positions.requires_grad)
