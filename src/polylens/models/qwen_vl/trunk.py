"""The trunk of every model on Qwen2-VL and Qwen2.5-VL: from tokens and images to the decoder's last hidden states.

Shapes: N inputs, T tokens of all of them together, W decoder width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from polylens.models.protocol import Item
from polylens.models.qwen_vl.decoder import Decoder
from polylens.models.qwen_vl.positions import token_positions
from polylens.models.qwen_vl.vision_qwen2 import Qwen2VisionTower
from polylens.models.qwen_vl.vision_qwen25 import Qwen25VisionTower
from polylens.nn.lora import adapter_rows
from polylens.nn.packing import Packing


def hidden_states(
    items: Sequence[Item], *, vision: Qwen2VisionTower | Qwen25VisionTower, decoder: Decoder, image_token_id: int
) -> Tensor:
    """Returns the last hidden states of a packed batch after the final norm, `[T, W]`.

    Args:
        items: Texts and images of any sizes and tasks.
        vision: Turns their patches into visual tokens.
        decoder: Reads token embeddings, with the visual tokens in the places of their placeholders.
        image_token_id: The id of the placeholder.
    """
    device = decoder.embed.weight.device
    token_ids = [torch.from_numpy(item.token_ids) for item in items]
    lengths = [len(ids) for ids in token_ids]
    packed = torch.cat(token_ids).to(device)
    x = decoder.embed(packed)
    images = [item.patches for item in items if item.patches is not None]
    if images:
        patches = torch.cat(images).to(device=device, dtype=x.dtype)
        visual = vision(patches, [grid for item in items for grid in item.grids])
        # a text may contain the placeholder literally: no visual token belongs there
        is_visual = torch.cat(
            [(ids == image_token_id) & bool(item.grids) for ids, item in zip(token_ids, items, strict=True)]
        )
        x = x.index_put((is_visual.nonzero()[:, 0].to(device),), visual.to(x.dtype))
    positions = torch.cat(
        [
            token_positions(
                ids,
                item.grids,
                image_token_id=image_token_id,
                merge=vision.config.merge_size,
            )
            for ids, item in zip(token_ids, items, strict=True)
        ]
    ).to(device)
    adapters = adapter_rows([item.task for item in items], lengths, device)
    return decoder(x, positions, Packing(lengths, device), adapters)
