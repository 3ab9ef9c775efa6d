"""What a model with two towers does with a batch that mixes texts and images.

Shapes: N images, S spans of texts, E width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polylens.models.eva02.vision import VisionTower
from polylens.models.protocol import Item, Outputs

Encode = Callable[[Sequence[Item]], Tensor]
"""Items of one kind -> `[S, E]` or `[N, E]`, one row per span."""


def embed_mixed(items: Sequence[Item], texts: Encode, images: Encode, *, width: int, device: torch.device) -> Outputs:
    """Sends the texts of a batch through one tower and the images through another, and keeps their order.

    Args:
        items: The batch.
        texts: The tower of texts.
        images: The tower of images.
        width: Width of the vectors of both.
        device: Where both compute.

    Returns:
        Dense vectors alone: such a model has no late interaction.
    """
    is_image = [item.patches is not None for item in items for _ in item.spans]
    dense = torch.empty(len(is_image), width, device=device)
    for are_images, encode in ((False, texts), (True, images)):
        chosen = [item for item in items if (item.patches is not None) == are_images]
        if chosen:
            dense[[row for row, image in enumerate(is_image) if image == are_images]] = encode(chosen)
    lengths = tuple(item.num_tokens for item in items)
    return Outputs(F.normalize(dense, dim=-1), dense.norm(dim=-1), None, lengths)


def image_vectors(items: Sequence[Item], tower: VisionTower) -> Float[Tensor, "N E"]:
    """Returns the vectors of images of one size, in float32."""
    weight = tower.patch_embed.weight
    patches = torch.stack([item.patches for item in items if item.patches is not None]).to(weight.device)
    scale = next(item.pixel_scale for item in items if item.pixel_scale is not None)  # one model has one scale
    return tower(scale.normalise(patches, weight.dtype)).float()
