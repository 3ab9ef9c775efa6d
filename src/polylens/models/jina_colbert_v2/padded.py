"""jina-colbert-v2 as a network over a padded batch, for graphs that other programs run.

Shapes: N texts, L places of the longest one, E width of a vector.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polylens.models.jina_colbert_v2.model import JinaColbert
from polylens.models.padded import TEXT_AXES, TEXT_MEANINGS, PaddedNetwork, example_texts, masked_mean
from polylens.nn.packing import PaddedPacking


class PaddedColbert(nn.Module):
    """The tower and the head; see `JinaColbert.embed`."""

    def __init__(self, model: JinaColbert) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Int[Tensor, "N L"],
        attention_mask: Int[Tensor, "N L"],
        vector_mask: Int[Tensor, "N L"],
    ) -> tuple[Float[Tensor, "N E"], Float[Tensor, "N L E"]]:
        packing = PaddedPacking(attention_mask.bool())
        hidden = packing.unpacked(self.model.text(input_ids.flatten(), packing, []))
        vectors = F.normalize(self.model.head(hidden), dim=-1) * vector_mask[:, :, None].to(hidden.dtype)
        return F.normalize(masked_mean(vectors, vector_mask.bool()), dim=-1), vectors


def padded_network(model: JinaColbert) -> PaddedNetwork:
    """Returns the model as a network over a padded batch."""
    texts = example_texts()
    config, dim = model.config, model.config.dim
    return PaddedNetwork(
        name="text",
        network=PaddedColbert(model),
        inputs={**texts, "vector_mask": torch.clone(texts["attention_mask"])},
        axes={
            "input_ids": TEXT_AXES,
            "attention_mask": TEXT_AXES,
            "vector_mask": TEXT_AXES,
            "dense": ("batch", dim),
            "multivector": (*TEXT_AXES, dim),
        },
        meanings={
            **TEXT_MEANINGS,
            "input_ids": f"<s>, {config.query_marker} or {config.document_marker}, the text, </s>; a query is filled "
            f"up with <mask> to {config.query_length} tokens.",
            "vector_mask": "1 at each token with a vector: all of a query, and of a document all but punctuation.",
            "dense": "The mean of the multi-vector, to unit length, to find candidates for the late interaction.",
            "multivector": "A unit vector per token, and zeros where vector_mask is 0.",
        },
    )
