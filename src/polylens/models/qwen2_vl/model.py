"""Single-vector models on Qwen2-VL: the last hidden state of the last token is the vector of a text or an image.

Shapes: N inputs, T tokens of all of them together, E width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from polylens.models.protocol import Item, Outputs, packed_spans
from polylens.models.qwen2_vl.config import Qwen2VLConfig
from polylens.models.qwen_vl.decoder import Decoder
from polylens.models.qwen_vl.trunk import hidden_states
from polylens.models.qwen_vl.vision_qwen2 import Qwen2VisionTower
from polylens.nn.lora import NO_ADAPTERS
from polylens.nn.pooling import span_mean


class Qwen2VLEmbedder(nn.Module):
    """The whole network: vision tower and decoder. The published output head plays no part."""

    def __init__(self, config: Qwen2VLConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = Qwen2VisionTower(config.vision)
        self.decoder = Decoder(config.decoder, NO_ADAPTERS)

    def embed(self, items: Sequence[Item]) -> Outputs:
        """Computes one vector per text or image for a batch of any sizes.

        It is the last hidden state, after the final norm, of the last token; GME, https://arxiv.org/abs/2412.16855,
        section 3.1. The decoder is causal, so only that token has read all others.
        """
        starts, stops = packed_spans(items)
        hidden = self.hidden_states(items)
        dense = span_mean(hidden, starts.to(hidden.device), stops.to(hidden.device))
        lengths = tuple(item.num_tokens for item in items)
        return Outputs(F.normalize(dense, dim=-1), dense.norm(dim=-1), None, lengths)

    def hidden_states(self, items: Sequence[Item]) -> Tensor:
        """Returns the last hidden states after the final norm, `[T, E]`."""
        return hidden_states(
            items,
            vision=self.vision,
            decoder=self.decoder,
            image_positions=self.config.prompts.image_positions,
        )
