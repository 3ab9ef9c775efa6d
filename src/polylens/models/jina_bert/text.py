"""The text tower, a JinaBERT: post-norm, gated MLPs, and ALiBi in the place of positions.

Shapes: T tokens of all texts together, H heads, W width.

Günther et al. 2023, https://arxiv.org/abs/2310.19923, section 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polylens.models.jina_bert.config import TextConfig
from polylens.nn.alibi import alibi_slopes
from polylens.nn.attention import attention
from polylens.nn.linear import Linear
from polylens.nn.packing import Packing

NUM_SEGMENTS = 2  # "token types"; a text alone has the first


class TextAttention(nn.Module):
    """Attention in which every token of a text attends to every other, and less to those farther away.

    One variant normalises queries and keys over their whole width, before the heads share it.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = Linear(config.width, 3 * config.width)
        self.query_norm = nn.LayerNorm(config.width, config.norm_eps) if config.has_qk_norm else None
        self.key_norm = nn.LayerNorm(config.width, config.norm_eps) if config.has_qk_norm else None
        self.out = Linear(config.width, config.width)

    def forward(self, x: Float[Tensor, "T W"], slopes: Float[Tensor, " H"], packing: Packing) -> Float[Tensor, "T W"]:
        queries, keys, values = self.qkv(x).chunk(3, dim=-1)
        if self.query_norm is not None and self.key_norm is not None:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        queries, keys, values = (each.unflatten(-1, (self.num_heads, -1)) for each in (queries, keys, values))
        return self.out(attention(queries, keys, values, packing, causal=False, slopes=slopes).flatten(1))


class TextMLP(nn.Module):
    """GEGLU, https://arxiv.org/abs/2002.05202, with the exact GELU: the gate is the first half of the gated layer."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gated = Linear(config.width, 2 * config.mlp_width, bias=False)
        self.down = Linear(config.mlp_width, config.width)

    def forward(self, x: Float[Tensor, "T W"]) -> Float[Tensor, "T W"]:
        gate, up = self.gated(x).chunk(2, dim=-1)
        return self.down(F.gelu(gate) * up)


class TextBlock(nn.Module):
    """Post-norm block: the residual is added before the norm.

    The variant that normalises queries and keys adds the input of its attention a second time, before a second norm.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.attention = TextAttention(config)
        self.attention_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.second_norm = nn.LayerNorm(config.width, config.norm_eps) if config.has_qk_norm else None
        self.mlp = TextMLP(config)
        self.mlp_norm = nn.LayerNorm(config.width, config.norm_eps)

    def forward(self, x: Float[Tensor, "T W"], slopes: Float[Tensor, " H"], packing: Packing) -> Float[Tensor, "T W"]:
        mixed = self.attention_norm(x + self.attention(x, slopes, packing))
        if self.second_norm is not None:
            mixed = self.second_norm(x + mixed)
        return self.mlp_norm(mixed + self.mlp(mixed))


class TextTower(nn.Module):
    """The text tower: from tokens to hidden states. The marks at both ends are ordinary tokens, there is no padding."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.segment = nn.Embedding(NUM_SEGMENTS, config.width)
        self.embed_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.blocks = nn.ModuleList(TextBlock(config) for _ in range(config.num_layers))

    def forward(self, token_ids: Int[Tensor, " T"], packing: Packing) -> Float[Tensor, "T W"]:
        """Returns the last hidden states of a packed batch.

        Args:
            token_ids: The tokens of all texts, one text after the other.
            packing: The texts; none attends to another.
        """
        x = self.embed_norm(self.embed(token_ids) + self.segment(torch.zeros_like(token_ids)))
        return self.layers(x, packing)

    def layers(self, x: Float[Tensor, "T W"], packing: Packing) -> Float[Tensor, "T W"]:
        """Returns the last hidden states; see `protocol.Tower`.

        Args:
            x: The embedded tokens of a packed batch.
            packing: The texts.
        """
        slopes = alibi_slopes(self.config.num_heads).to(x.device)
        for block in self.blocks:
            x = block(x, slopes, packing)
        return x
