"""The maths: a table of word vectors, a map from colours to the same space; means are dense, rows are multi-vectors.

Shapes: T tokens, E width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polylens.models.protocol import Item, Outputs, packed_spans
from polylens.nn.pooling import span_mean


class Toy(nn.Module):
    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab_size, width)
        self.colours = nn.Linear(3, width, bias=False)

    def embed(self, items: Sequence[Item]) -> Outputs:
        rows = torch.cat([self._rows(item) for item in items]).float()
        pooled = span_mean(rows, *packed_spans(items))
        return Outputs(
            dense=F.normalize(pooled, dim=-1),
            norms=pooled.norm(dim=-1),
            multivector=F.normalize(rows, dim=-1),
            lengths=tuple(item.num_tokens for item in items),
        )

    def score(self, items: Sequence[Item]) -> Tensor:
        queries, documents = self.embed(items).dense.view(len(items), 2, -1).unbind(1)
        return (queries * documents).sum(dim=-1)

    def _rows(self, item: Item) -> Tensor:
        if item.patches is not None:
            return self.colours(item.pixel_scale.normalise(item.patches, self.colours.weight.dtype))
        return self.words(torch.from_numpy(item.token_ids))
