"""M-RoPE positions: the place of each token in time, row and column.

Qwen2-VL, https://arxiv.org/abs/2409.12191, section 2.1. Shapes: T tokens of one sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from polylens.models.protocol import Grid


def token_positions(
    num_tokens: int, image_starts: Sequence[int], grids: Sequence[Grid], merge: int
) -> Int[Tensor, "T 3"]:
    """Returns the M-RoPE positions of one sequence: time, row and column of each token.

    Each text token increases all three by one. Within an image the time is constant, and rows and columns count from
    where the image begins; the text after it continues one past the largest position so far.
    jina_embeddings_v4 facts, section 1.7.

    Args:
        num_tokens: Tokens of the sequence.
        image_starts: The first visual token of each of its images, in order.
        grids: Rows and columns of patches of its images, in order.
        merge: Patches per side that become one token.

    Example:
        >>> token_positions(4, [1], [(2, 4)], merge=2).tolist()
        [[0, 0, 0], [1, 1, 1], [1, 1, 2], [3, 3, 3]]
    """
    parts: list[Tensor] = []
    position, at = 0, 0  # of the next token
    for start, grid in zip(image_starts, grids, strict=True):
        before = start - at
        parts.append((position + torch.arange(before))[:, None].expand(-1, 3))
        rows, columns = torch.meshgrid(torch.arange(grid[0] // merge), torch.arange(grid[1] // merge), indexing="ij")
        rows, columns = rows.flatten(), columns.flatten()
        parts.append(position + before + torch.stack((torch.zeros_like(rows), rows, columns), dim=1))
        position += before + max(grid) // merge
        at = start + len(rows)
    parts.append((position + torch.arange(num_tokens - at))[:, None].expand(-1, 3))
    return torch.cat(parts)
