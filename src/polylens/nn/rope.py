"""Rotary positions as functions of positions: no buffers, so nothing is ever left on the meta device.

Shapes: T tokens, H heads, C channels per head, A axes, R = C / 2 rotated pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


def frequencies(num_pairs: int, theta: float, device: torch.device) -> Float[Tensor, " R"]:
    """Returns the angular speed of each pair, in radians per position: theta^(-i / num_pairs) for i = 0, 1, ...

    Su et al. 2021, https://arxiv.org/abs/2104.09864.
    """
    exponents = torch.arange(num_pairs, dtype=torch.float32, device=device) / num_pairs
    return 1.0 / theta**exponents


def axial_angles(positions: Int[Tensor, "T A"], head_dim: int, theta: float) -> Float[Tensor, "T R"]:
    """Returns the vision tower's angles: half of the pairs turn with the row, half with the column, at all speeds each.

    Qwen2.5-VL vision tower; jina_embeddings_v4 facts, section 1.6.

    Args:
        positions: Row and column of each patch.
        head_dim: Channels per head, divisible by twice the number of axes.
        theta: Base of the frequencies.
    """
    speeds = frequencies(head_dim // 2 // positions.shape[1], theta, positions.device)
    return (positions[:, :, None].float() * speeds).flatten(1)


def sectioned_angles(
    positions: Int[Tensor, "T A"], head_dim: int, theta: float, sections: Sequence[int]
) -> Float[Tensor, "T R"]:
    """Returns the angles of the decoder's M-RoPE: one series of speeds, divided into sections for time, row and column.

    Qwen2-VL, https://arxiv.org/abs/2409.12191, section 2.1. Where the three positions agree, as in a text,
    this is ordinary one-dimensional RoPE.

    Args:
        positions: Time, row and column of each token.
        head_dim: Channels per head.
        theta: Base of the frequencies.
        sections: Pairs for each axis; they add up to head_dim / 2.
    """
    axis_of_pair = torch.repeat_interleave(
        torch.arange(len(sections), device=positions.device), torch.tensor(tuple(sections), device=positions.device)
    )
    return positions[:, axis_of_pair].float() * frequencies(head_dim // 2, theta, positions.device)


class Rotation(NamedTuple):
    """By how much each token's pairs turn. It is computed once per forward pass, and every layer uses it."""

    cos: Float[Tensor, "T 1 R"]
    sin: Float[Tensor, "T 1 R"]

    @classmethod
    def by(cls, angles: Float[Tensor, "T R"]) -> Rotation:
        """Returns the rotation by these angles, in float32; all heads of a token turn alike."""
        return cls(angles.cos()[:, None], angles.sin()[:, None])


def rotate(x: Float[Tensor, "T H C"], rotation: Rotation) -> Float[Tensor, "T H C"]:
    """Rotates each pair (i, i + C/2) of a head by its angle, in float32, and returns the type of `x`.

    The published weights were trained with pairs from both halves, not with neighbouring pairs.

    Example:
        >>> quarter_turn = Rotation.by(torch.tensor([[torch.pi / 2]]))
        >>> rotate(torch.tensor([[[1.0, 0.0]]]), quarter_turn).round().abs()
        tensor([[[0., 1.]]])
    """
    cos, sin = rotation
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
