"""jina-embeddings-v4: one decoder turns texts and images into a dense vector and into one vector per token.

Shapes: N inputs, T tokens of all of them together, E dense width, V multi-vector width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from polylens.models.jina_v4.config import JinaV4Config
from polylens.models.jina_v4.decoder import Decoder
from polylens.models.jina_v4.vision import Grid, VisionTower
from polylens.models.protocol import Item, Outputs, packed_spans
from polylens.nn.lora import LoRALinear, adapter_rows
from polylens.nn.packing import Packing
from polylens.nn.pooling import span_mean


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


class JinaV4(nn.Module):
    """The whole network: vision tower, decoder and projector."""

    def __init__(self, config: JinaV4Config) -> None:
        super().__init__()
        self.config = config
        self.vision = VisionTower(config.vision)
        self.decoder = Decoder(config.decoder, config.lora)
        self.projector = LoRALinear(config.decoder.width, config.multivector_dim, bias=True, lora=config.lora)

    def embed(self, items: Sequence[Item]) -> Outputs:
        """Computes both outputs for a batch of texts and images of any sizes and tasks.

        The dense vector is the mean of the last hidden states over a text, or from `<|vision_start|>` to
        `<|vision_end|>` inclusive for an image; a multi-vector has one row per token, including those of the prompt.
        jina_embeddings_v4 facts, section 1.10.
        """
        device = self.decoder.embed.weight.device
        lengths = tuple(item.num_tokens for item in items)
        hidden = self.hidden_states(items)
        starts, stops = packed_spans(items)
        dense = span_mean(hidden, starts.to(device), stops.to(device))
        adapters = adapter_rows([item.task for item in items], lengths, device)
        multivector = self.projector(hidden, adapters).float()
        return Outputs(F.normalize(dense, dim=-1), dense.norm(dim=-1), F.normalize(multivector, dim=-1), lengths)

    def hidden_states(self, items: Sequence[Item]) -> Tensor:
        """Returns the last hidden states after the final norm, `[T, E]`."""
        config, device = self.config, self.decoder.embed.weight.device
        token_ids = [torch.from_numpy(item.token_ids) for item in items]
        lengths = [len(ids) for ids in token_ids]
        packed = torch.cat(token_ids).to(device)
        x = self.decoder.embed(packed)
        images = [item.patches for item in items if item.patches is not None]
        if images:
            patches = torch.cat(images).to(device=device, dtype=x.dtype)
            visual = self.vision(patches, [grid for item in items for grid in item.grids])
            # a text may contain the placeholder literally: no visual token belongs there
            is_visual = torch.cat(
                [(ids == config.image_token_id) & bool(item.grids) for ids, item in zip(token_ids, items, strict=True)]
            )
            x = x.index_put((is_visual.nonzero()[:, 0].to(device),), visual.to(x.dtype))
        positions = torch.cat(
            [
                token_positions(
                    ids,
                    item.grids,
                    image_token_id=config.image_token_id,
                    merge=config.vision.merge_size,
                )
                for ids, item in zip(token_ids, items, strict=True)
            ]
        ).to(device)
        adapters = adapter_rows([item.task for item in items], lengths, device)
        return self.decoder(x, positions, Packing(lengths, device), adapters)
