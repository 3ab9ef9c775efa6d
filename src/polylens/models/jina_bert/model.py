"""jina-embeddings-v2 and jina-clip-v1: one vector per text, and in jina-clip-v1 one per image in the same space.

Shapes: N images, S spans and T tokens of all texts together, E width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polylens.models.eva02.vision import VisionTower
from polylens.models.jina_bert.config import JinaBertConfig
from polylens.models.jina_bert.text import TextTower
from polylens.models.protocol import Item, Modality, Outputs, packed_spans
from polylens.models.towers import embed_mixed, image_vectors
from polylens.nn.packing import Packing
from polylens.nn.pooling import span_mean


class JinaBert(nn.Module):
    """Both towers, or one of them: jina-embeddings-v2 is a text tower alone.

    Args:
        config: The sizes of the model.
        modalities: The modalities whose towers are built.
    """

    def __init__(self, config: JinaBertConfig, modalities: Sequence[Modality]) -> None:
        super().__init__()
        self.config = config
        self.text = TextTower(config.text) if "text" in modalities else None
        self.vision = VisionTower(config.vision) if "image" in modalities and config.vision is not None else None

    def embed(self, items: Sequence[Item]) -> Outputs:
        """Computes the dense vectors of a batch of texts and images; this family has no late interaction.

        A text's vector is the mean over its tokens, including the marks at its ends; that of an image is the class
        token.
        """
        return embed_mixed(items, self._texts, self._images, width=self.config.text.width, device=self._device())

    def _texts(self, items: Sequence[Item]) -> Float[Tensor, "S E"]:
        assert self.text is not None
        device = self._device()
        token_ids = torch.cat([torch.from_numpy(item.token_ids) for item in items]).to(device)
        hidden = self.text(token_ids, Packing([item.num_tokens for item in items], device))
        starts, stops = packed_spans(items)
        return span_mean(hidden, starts.to(device), stops.to(device))

    def _images(self, items: Sequence[Item]) -> Float[Tensor, "N E"]:
        assert self.vision is not None
        return image_vectors(items, self.vision)

    def _device(self) -> torch.device:
        return next(self.parameters()).device
