"""The encoder: BERT with learned positions, post-norm blocks and the exact GELU, on packed batches.

Shapes: T tokens of all texts together, W width.

Devlin et al. 2019, https://arxiv.org/abs/1810.04805.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polylens.nn.attention import attention
from polylens.nn.packing import Packing


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """The sizes of the encoder."""

    width: int  # numbers per token
    num_layers: int
    num_heads: int
    mlp_width: int  # numbers per token between the two products of an MLP
    vocab_size: int  # rows of the table of pieces
    num_positions: int  # tokens per text, at most
    num_segments: int  # rows of the table of token types; a text alone has the first
    norm_eps: float  # added to the variance


class EncoderBlock(nn.Module):
    """One block: attention, then an MLP; each is added to what came in before a norm."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.num_heads = sizes.num_heads
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width)
        self.out = nn.Linear(sizes.width, sizes.width)
        self.attention_norm = nn.LayerNorm(sizes.width, sizes.norm_eps)
        self.up = nn.Linear(sizes.width, sizes.mlp_width)
        self.down = nn.Linear(sizes.mlp_width, sizes.width)
        self.mlp_norm = nn.LayerNorm(sizes.width, sizes.norm_eps)

    def forward(self, x: Float[Tensor, "T W"], packing: Packing) -> Float[Tensor, "T W"]:
        queries, keys, values = (each.unflatten(-1, (self.num_heads, -1)) for each in self.qkv(x).chunk(3, dim=-1))
        mixed = attention(queries, keys, values, packing, causal=False).flatten(1)
        x = self.attention_norm(x + self.out(mixed))
        return self.mlp_norm(x + self.down(F.gelu(self.up(x))))


class Encoder(nn.Module):
    """The encoder: from tokens to their last states. The marks at both ends of a text are ordinary tokens."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.pieces = nn.Embedding(sizes.vocab_size, sizes.width)
        self.positions = nn.Embedding(sizes.num_positions, sizes.width)
        self.segments = nn.Embedding(sizes.num_segments, sizes.width)
        self.embed_norm = nn.LayerNorm(sizes.width, sizes.norm_eps)
        self.blocks = nn.ModuleList(EncoderBlock(sizes) for _ in range(sizes.num_layers))

    def forward(self, token_ids: Int[Tensor, " T"], packing: Packing) -> Float[Tensor, "T W"]:
        """Returns the last states of a packed batch.

        Args:
            token_ids: The tokens of all texts, one text after the other.
            packing: The texts; none attends to another, and none has more tokens than there are positions.
        """
        places = torch.cat([torch.arange(length, device=token_ids.device) for length in packing.lengths])
        segment = self.segments.weight[0]
        x = self.embed_norm(self.pieces(token_ids) + self.positions(places) + segment)
        for block in self.blocks:
            x = block(x, packing)
        return x
