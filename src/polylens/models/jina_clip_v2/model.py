"""jina-clip-v2: one tower for texts and one for images, each giving one vector per input in one shared space.

Shapes: N inputs, S spans and T tokens of all texts together, E width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polylens.models.eva02.vision import VisionTower
from polylens.models.jina_clip_v2.config import JinaClipConfig
from polylens.models.protocol import Item, Modality, Outputs, packed_spans
from polylens.models.towers import embed_mixed, image_vectors
from polylens.models.xlm_rotary.text import TextTower
from polylens.nn.lora import adapter_rows
from polylens.nn.packing import Packing
from polylens.nn.pooling import span_mean


class JinaClip(nn.Module):
    """Both towers, or one of them: jina-embeddings-v3 is the text tower alone.

    Args:
        config: The sizes of the model.
        modalities: The modalities whose towers are built.
    """

    def __init__(self, config: JinaClipConfig, modalities: Sequence[Modality]) -> None:
        super().__init__()
        self.config = config
        self.text = TextTower(config.text) if "text" in modalities else None
        self.vision = VisionTower(config.vision) if "image" in modalities and config.vision is not None else None

    def resize(self, image_size: int) -> None:
        """Changes the image size from now on; training then has to fit the weights to it.

        Args:
            image_size: Pixels per side.
        """
        assert self.vision is not None
        self.vision.resize(image_size)
        self.config = replace(self.config, vision=self.vision.config)

    def embed(self, items: Sequence[Item]) -> Outputs:
        """Computes the dense vectors of a batch of texts and images; this family has no late interaction.

        A text's vector is the mean over its tokens, including `<s>` and `</s>`; that of an image is the class token.
        jina_clip_v2 facts, sections 1.4 and 1.5.
        """
        return embed_mixed(items, self._texts, self._images, width=self.config.text.width, device=self._device())

    def _texts(self, items: Sequence[Item]) -> Float[Tensor, "S E"]:
        assert self.text is not None
        device = self._device()
        lengths = [item.num_tokens for item in items]
        token_ids = torch.cat([torch.from_numpy(item.token_ids) for item in items]).to(device)
        adapters = adapter_rows([item.task for item in items], lengths, device)
        hidden = self.text(token_ids, Packing(lengths, device), adapters)
        starts, stops = packed_spans(items)
        return span_mean(hidden, starts.to(device), stops.to(device))

    def _images(self, items: Sequence[Item]) -> Float[Tensor, "N E"]:
        assert self.vision is not None
        return image_vectors(items, self.vision)

    def _device(self) -> torch.device:
        return next(self.parameters()).device
