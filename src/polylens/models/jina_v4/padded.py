"""The texts of jina-embeddings-v4 as a network over a padded batch, for graphs that other programs run.

Shapes: N texts, L places of the longest one, E dense width, V multi-vector width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polylens.models.jina_v4.model import JinaV4
from polylens.models.padded import TEXT_AXES, TEXT_MEANINGS, PaddedNetwork, example_texts, masked_mean
from polylens.nn.packing import PaddedPacking


class PaddedTexts(nn.Module):
    """Decoder and projector; see `JinaV4.embed`."""

    def __init__(self, model: JinaV4) -> None:
        super().__init__()
        self.decoder = model.decoder
        self.projector = model.projector

    def forward(
        self, input_ids: Int[Tensor, "N L"], attention_mask: Int[Tensor, "N L"]
    ) -> tuple[Float[Tensor, "N E"], Float[Tensor, "N L V"]]:
        mask = attention_mask.bool()
        packing = PaddedPacking(mask)
        positions = packing.positions[:, None].expand(-1, 3)  # time, row and column agree in a text
        packed = self.decoder(self.decoder.embed(input_ids.flatten()), positions, packing, [])
        vectors = packing.unpacked(F.normalize(self.projector(packed, []), dim=-1))
        dense = F.normalize(masked_mean(packing.unpacked(packed), mask), dim=-1)
        return dense, vectors * attention_mask[:, :, None].to(vectors.dtype)


def padded_texts(model: JinaV4, prefixes: Mapping[str, str]) -> PaddedNetwork:
    """Returns what reads texts as a network over a padded batch.

    Args:
        model: With one adapter, merged.
        prefixes: See `PaddedNetwork`.
    """
    config = model.config
    return PaddedNetwork(
        name="text",
        network=PaddedTexts(model),
        inputs=example_texts(),
        axes={
            "input_ids": TEXT_AXES,
            "attention_mask": TEXT_AXES,
            "dense": ("batch", config.decoder.width),
            "multivector": (*TEXT_AXES, config.multivector_dim),
        },
        meanings={**TEXT_MEANINGS, "multivector": "A unit vector per token, and zeros at padding."},
        prefixes=prefixes,
    )
