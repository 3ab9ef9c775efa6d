"""jina-reranker-m0: the trunk of Qwen2-VL and a small head that scores the last token of each pair.

Shapes: N pairs, W decoder width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polylens.models.jina_reranker_m0.config import LOGIT_BIAS, JinaRerankerM0Config
from polylens.models.protocol import Item
from polylens.models.qwen_vl.decoder import Decoder
from polylens.models.qwen_vl.trunk import hidden_states
from polylens.models.qwen_vl.vision_qwen2 import Qwen2VisionTower
from polylens.nn.lora import NO_ADAPTERS


class ScoreHead(nn.Module):
    """Two linear layers with a ReLU between them: from the last hidden state to one logit."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, 1)

    def forward(self, x: Float[Tensor, "N W"]) -> Float[Tensor, " N"]:
        return self.outer(F.relu(self.inner(x)))[:, 0]


class JinaRerankerM0(nn.Module):
    """The whole network: vision tower, decoder and head."""

    def __init__(self, config: JinaRerankerM0Config) -> None:
        super().__init__()
        self.config = config
        self.vision = Qwen2VisionTower(config.trunk.vision)
        self.decoder = Decoder(config.trunk.decoder, NO_ADAPTERS)
        self.head = ScoreHead(config.trunk.decoder.width)

    def score(self, items: Sequence[Item]) -> Float[Tensor, " N"]:
        """Computes the scores of a batch of pairs, between 0 and 1: sigmoid(logit - 2.65), as published."""
        return torch.sigmoid(self.logits(items) - LOGIT_BIAS)

    def logits(self, items: Sequence[Item]) -> Float[Tensor, " N"]:
        """Computes the logits of a batch of pairs, in float32, at the last token of each: the score token."""
        hidden = hidden_states(items, vision=self.vision, decoder=self.decoder)
        ends = torch.tensor([item.num_tokens for item in items], device=hidden.device).cumsum(0)
        return self.head(hidden[ends - 1]).float()
