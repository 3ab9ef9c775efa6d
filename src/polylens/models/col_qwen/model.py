"""The network: the trunk of Qwen2-VL or Qwen2.5-VL, and a projector that turns each last hidden state into a vector.

Shapes: N inputs, T tokens of all of them together, W decoder width, V multi-vector width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import nn

from polylens.models.col_qwen.config import ColQwenConfig
from polylens.models.protocol import Item, Outputs, packed_spans
from polylens.models.qwen_vl.config import Qwen25VisionConfig
from polylens.models.qwen_vl.decoder import Decoder
from polylens.models.qwen_vl.trunk import hidden_states
from polylens.models.qwen_vl.vision_qwen2 import Qwen2VisionTower
from polylens.models.qwen_vl.vision_qwen25 import Qwen25VisionTower
from polylens.nn.lora import NO_ADAPTERS
from polylens.nn.pooling import span_mean


class ColQwen(nn.Module):
    """The whole network: vision tower, decoder and projector; an adapter is merged when the weights are read."""

    def __init__(self, config: ColQwenConfig) -> None:
        super().__init__()
        self.config = config
        vision, decoder = config.trunk.vision, config.trunk.decoder
        self.vision = Qwen25VisionTower(vision) if isinstance(vision, Qwen25VisionConfig) else Qwen2VisionTower(vision)
        self.decoder = Decoder(decoder, NO_ADAPTERS)
        self.projector = nn.Linear(decoder.width, config.multivector_dim)

    def embed(self, items: Sequence[Item]) -> Outputs:
        """Computes one vector per token for a batch of texts and images, those of prompts and marks included.

        The model has no dense vector of its own. What stands in its place is the mean of an item's unit vectors,
        normalised: it was never trained, and is good for finding candidates only.
        field_2026_11 facts, section 1.4.
        """
        device = self.decoder.embed.weight.device
        hidden = hidden_states(items, vision=self.vision, decoder=self.decoder)
        vectors = F.normalize(self.projector(hidden).float(), dim=-1)
        starts, stops = packed_spans(items)
        mean = span_mean(vectors, starts.to(device), stops.to(device))
        lengths = tuple(item.num_tokens for item in items)
        return Outputs(F.normalize(mean, dim=-1), mean.norm(dim=-1), vectors, lengths)
