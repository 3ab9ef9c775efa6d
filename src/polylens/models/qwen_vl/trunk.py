"""The trunk of every model on Qwen2-VL and Qwen2.5-VL: from tokens and images to the decoder's last hidden states.

Shapes: T tokens of all inputs together, V visual tokens among them, W decoder width, P patches, D bytes per patch.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from polylens.models.protocol import Grid, Item
from polylens.models.qwen_vl.decoder import Decoder
from polylens.models.qwen_vl.positions import token_positions
from polylens.models.qwen_vl.vision_qwen2 import Qwen2VisionTower
from polylens.models.qwen_vl.vision_qwen25 import Qwen25VisionTower
from polylens.nn.lora import adapter_rows
from polylens.nn.packing import Packing


def hidden_states(
    items: Sequence[Item],
    *,
    vision: Qwen2VisionTower | Qwen25VisionTower,
    decoder: Decoder,
    image_positions: bool = True,
) -> Float[Tensor, "T W"]:
    """Returns the last hidden states of a packed batch after the final norm.

    Args:
        items: Texts and images of any sizes and tasks; a sequence may hold several images.
        vision: Turns their patches into visual tokens.
        decoder: Reads token embeddings, with the visual tokens in the places of their placeholders.
        image_positions: True gives visual tokens the rows and columns of M-RoPE. False lets all positions count on as
            in a text, for models whose published code leaves the positions out.
    """
    device, merge = decoder.embed.weight.device, vision.config.merge_size
    lengths = [item.num_tokens for item in items]
    x = decoder.embed(torch.cat([torch.from_numpy(item.token_ids) for item in items]).to(device))
    has_images = any(item.grids for item in items)
    if has_images:
        x = x.index_put((visual_rows(items, merge).to(device),), visual_tokens(items, vision, x.dtype, device))
    packing = Packing(lengths, device)
    if has_images and image_positions:
        positions = torch.cat(
            [token_positions(item.num_tokens, item.image_starts, item.grids, merge) for item in items]
        ).to(device)
    else:  # at once: a batch may have thousands of short texts
        positions = packing.positions[:, None].expand(-1, 3)
    adapters = adapter_rows([item.task for item in items], lengths, device)
    return decoder(x, positions, packing, adapters)


def visual_rows(items: Sequence[Item], merge: int) -> Int[Tensor, " V"]:
    """Returns the rows of a packed batch that hold visual tokens, image after image.

    Args:
        items: The sequences of the batch.
        merge: Patches per side that become one token.

    Example:
        >>> import numpy as np
        >>> text = Item(token_ids=np.array([5, 6]))
        >>> image = Item(token_ids=np.array([7, 9, 9, 8]), grids=((2, 4),), image_starts=(1,))
        >>> visual_rows([text, image], merge=2).tolist()
        [3, 4]
    """
    begins = itertools.accumulate((item.num_tokens for item in items), initial=0)
    return torch.cat(
        [
            torch.arange(grid[0] * grid[1] // merge**2) + begin + start
            for begin, item in zip(begins, items, strict=False)
            for start, grid in zip(item.image_starts, item.grids, strict=True)
        ]
    )


def visual_tokens(
    items: Sequence[Item], vision: Qwen2VisionTower | Qwen25VisionTower, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "V W"]:
    """Returns the visual tokens of all images of a batch, in order.

    The tower reads an image once, however often it is there: a reranker meets its query with every document.
    """
    distinct: list[tuple[Tensor, Grid]] = []
    chosen: list[int] = []
    by_sum: dict[int, list[int]] = {}  # comparing each image with each would take longer than a GPU takes to read them
    for patches, grid in images_in(items):
        checksum = zlib.adler32(patches.numpy().data)  # on one thread: other processes may have the rest
        alike = by_sum.setdefault(checksum, [])
        same = (i for i in alike if distinct[i][1] == grid and torch.equal(distinct[i][0], patches))
        chosen.append(next(same, len(distinct)))
        if chosen[-1] == len(distinct):
            alike.append(len(distinct))
            distinct.append((patches, grid))
    grids = [grid for _, grid in distinct]
    scale = next(item.pixel_scale for item in items if item.pixel_scale is not None)  # one model has one scale
    packed = torch.cat([patches for patches, _ in distinct]).to(device)
    tokens = vision(scale.normalise(packed, dtype), grids).to(dtype)
    if len(chosen) == len(distinct):
        return tokens
    per_image = torch.split(tokens, [rows * columns // vision.config.merge_size**2 for rows, columns in grids])
    return torch.cat([per_image[i] for i in chosen])


def images_in(items: Sequence[Item]) -> Iterator[tuple[UInt8[Tensor, "P D"], Grid]]:
    """Yields the patches and the grid of each image of a batch, in order."""
    for item in items:
        if item.patches is not None:
            sizes = [rows * columns for rows, columns in item.grids]
            yield from zip(torch.split(item.patches, sizes), item.grids, strict=True)
