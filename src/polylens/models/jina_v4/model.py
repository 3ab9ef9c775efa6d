"""jina-embeddings-v4: one decoder turns texts and images into a dense vector and into one vector per token.

Shapes: N inputs, T tokens of all of them together, E dense width, V multi-vector width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from polylens.models.jina_v4.config import JinaV4Config
from polylens.models.protocol import Item, Outputs, packed_spans
from polylens.models.qwen_vl.decoder import Decoder
from polylens.models.qwen_vl.trunk import hidden_states
from polylens.models.qwen_vl.vision_qwen25 import Qwen25VisionTower
from polylens.nn.lora import LoRALinear, adapter_rows
from polylens.nn.pooling import span_mean


class JinaV4(nn.Module):
    """The whole network: vision tower, decoder and projector."""

    def __init__(self, config: JinaV4Config) -> None:
        super().__init__()
        self.config = config
        self.vision = Qwen25VisionTower(config.vision)
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
        return hidden_states(items, vision=self.vision, decoder=self.decoder)
