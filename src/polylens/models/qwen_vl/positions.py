"""M-RoPE positions: the place of each token in time, row and column.

Qwen2-VL, https://arxiv.org/abs/2409.12191, section 2.1. Shapes: T tokens of one input.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from polylens.models.qwen_vl.vision import Grid


def token_positions(
    token_ids: Int[Tensor, " T"], grids: Sequence[Grid], *, image_token_id: int, merge: int
) -> Int[Tensor, "T 3"]:
    """Returns the M-RoPE positions of one input: time, row and column of each token.

    Each text token increases all three by one. Within an image the time is constant, and rows and columns count from
    where the image begins; the text after it continues one past the largest position so far.
    jina_embeddings_v4 facts, section 1.7.

    Args:
        token_ids: The tokens of one input, with one placeholder per visual token.
        grids: Rows and columns of patches of its images, in order.
        image_token_id: The id of the placeholder.
        merge: Patches per side that become one token.

    Example:
        >>> token_positions(torch.tensor([1, 9, 9, 2]), [(2, 4)], image_token_id=9, merge=2).tolist()
        [[0, 0, 0], [1, 1, 1], [1, 1, 2], [3, 3, 3]]
    """
    parts: list[Tensor] = []
    start, at = 0, 0
    for grid in grids:
        before = int((token_ids[at:] == image_token_id).nonzero()[0])
        parts.append((start + torch.arange(before))[:, None].expand(-1, 3))
        rows, columns = torch.meshgrid(torch.arange(grid[0] // merge), torch.arange(grid[1] // merge), indexing="ij")
        rows, columns = rows.flatten(), columns.flatten()
        parts.append(start + before + torch.stack((torch.zeros_like(rows), rows, columns), dim=1))
        start += before + max(grid) // merge
        at += before + len(rows)
    parts.append((start + torch.arange(len(token_ids) - at))[:, None].expand(-1, 3))
    return torch.cat(parts)
