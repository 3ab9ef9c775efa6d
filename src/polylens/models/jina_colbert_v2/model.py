"""The maths of jina-colbert-v2: one vector per token.

Shapes: T tokens of all texts together, K of them with a vector, E width of a vector.

jina-colbert-v2, https://arxiv.org/abs/2408.16672; ColBERT, https://arxiv.org/abs/2004.12832.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from polylens.models.jina_colbert_v2.config import JinaColbertConfig
from polylens.models.protocol import Item, Outputs
from polylens.models.xlm_rotary.text import TextTower
from polylens.nn.packing import Packing
from polylens.nn.pooling import span_mean


class JinaColbert(nn.Module):
    """The tower and a linear head without bias.

    Args:
        config: The sizes of the model.
    """

    def __init__(self, config: JinaColbertConfig) -> None:
        super().__init__()
        self.config = config
        self.text = TextTower(config.text)
        self.head = nn.Linear(config.text.width, config.dim, bias=False)

    def embed(self, items: Sequence[Item]) -> Outputs:
        """Computes the multi-vectors of a batch: every token through the head, to unit length.

        The dense vector of a text is the normalised mean of its multi-vector. No training aimed at it, so it serves to
        find candidates for the late interaction, and for nothing else.
        """
        device = self.head.weight.device
        lengths = [item.num_tokens for item in items]
        token_ids = torch.cat([torch.from_numpy(item.token_ids) for item in items]).to(device)
        kept = torch.from_numpy(np.concatenate([_kept(item) for item in items])).to(device)
        hidden = self.text(token_ids, Packing(lengths, device), [])
        vectors = F.normalize(self.head(hidden[kept]).float(), dim=-1)
        counts = torch.tensor([int(_kept(item).sum()) for item in items])
        stops = counts.cumsum(0).to(device)
        dense = span_mean(vectors, stops - counts.to(device), stops)
        return Outputs(F.normalize(dense, dim=-1), dense.norm(dim=-1), vectors, tuple(counts.tolist()))


def _kept(item: Item) -> np.ndarray:
    """Returns which tokens of an item have a vector."""
    return np.ones(item.num_tokens, dtype=np.bool_) if item.kept is None else item.kept
