"""The language model of Qwen2-VL and Qwen2.5-VL, causal for texts and images alike.

Each of its seven projections may have task adapters.

Shapes: T tokens of all inputs together, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polylens.models.qwen_vl.config import DecoderConfig
from polylens.nn.attention import attention
from polylens.nn.layers import RMSNorm
from polylens.nn.lora import AdapterRows, LoRAConfig, LoRALinear
from polylens.nn.packing import Packing
from polylens.nn.rope import Rotation, rotate, sectioned_angles


class DecoderAttention(nn.Module):
    """Grouped-query attention, with biases on queries, keys and values, and none on the output projection."""

    def __init__(self, config: DecoderConfig, lora: LoRAConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        kv_width = config.num_kv_heads * config.head_dim
        self.query = LoRALinear(config.width, config.width, bias=True, lora=lora)
        self.key = LoRALinear(config.width, kv_width, bias=True, lora=lora)
        self.value = LoRALinear(config.width, kv_width, bias=True, lora=lora)
        self.out = LoRALinear(config.width, config.width, bias=False, lora=lora)

    def forward(
        self, x: Float[Tensor, "T W"], rotation: Rotation, packing: Packing, adapters: list[AdapterRows]
    ) -> Float[Tensor, "T W"]:
        queries, keys, values = (
            project(x, adapters).unflatten(-1, (-1, self.head_dim)) for project in (self.query, self.key, self.value)
        )
        mixed = attention(rotate(queries, rotation), rotate(keys, rotation), values, packing, causal=True)
        return self.out(mixed.flatten(1), adapters)


class DecoderMLP(nn.Module):
    """SwiGLU, https://arxiv.org/abs/2002.05202."""

    def __init__(self, config: DecoderConfig, lora: LoRAConfig) -> None:
        super().__init__()
        self.gate = LoRALinear(config.width, config.mlp_width, bias=False, lora=lora)
        self.up = LoRALinear(config.width, config.mlp_width, bias=False, lora=lora)
        self.down = LoRALinear(config.mlp_width, config.width, bias=False, lora=lora)

    def forward(self, x: Float[Tensor, "T W"], adapters: list[AdapterRows]) -> Float[Tensor, "T W"]:
        return self.down(F.silu(self.gate(x, adapters)) * self.up(x, adapters), adapters)


class DecoderBlock(nn.Module):
    """One pre-norm block of the decoder: attention, then MLP."""

    def __init__(self, config: DecoderConfig, lora: LoRAConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_eps)
        self.attention = DecoderAttention(config, lora)
        self.mlp_norm = RMSNorm(config.width, config.norm_eps)
        self.mlp = DecoderMLP(config, lora)

    def forward(
        self, x: Float[Tensor, "T W"], rotation: Rotation, packing: Packing, adapters: list[AdapterRows]
    ) -> Float[Tensor, "T W"]:
        x = x + self.attention(self.attention_norm(x), rotation, packing, adapters)
        return x + self.mlp(self.mlp_norm(x), adapters)


class Decoder(nn.Module):
    """The decoder: from token embeddings to the last hidden states, after the final norm."""

    def __init__(self, config: DecoderConfig, lora: LoRAConfig) -> None:
        super().__init__()
        self.config = config
        # without `_weight` it would draw random weights, which on the meta device imports torch's compiler (1 s)
        self.embed = nn.Embedding(config.vocab_size, config.width, _weight=torch.empty(config.vocab_size, config.width))
        self.blocks = nn.ModuleList(DecoderBlock(config, lora) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.width, config.norm_eps)

    def forward(
        self, x: Float[Tensor, "T W"], positions: Int[Tensor, "T 3"], packing: Packing, adapters: list[AdapterRows]
    ) -> Float[Tensor, "T W"]:
        """Returns the last hidden states of a packed batch.

        Args:
            x: Token embeddings, with the visual tokens already in their places.
            positions: Time, row and column of each token.
            packing: The inputs; none attends to another.
            adapters: Which tokens use which task's adapter.
        """
        config = self.config
        angles = sectioned_angles(positions, config.head_dim, config.theta, config.rope_sections)
        return self.layers(x, Rotation.by(angles), packing, adapters)

    def layers(
        self, x: Float[Tensor, "T W"], rotation: Rotation, packing: Packing, adapters: list[AdapterRows]
    ) -> Float[Tensor, "T W"]:
        """Returns the last hidden states, with the rotation of each token in the place of its position.

        An engine may compile it; see `protocol.Tower`.

        Args:
            x: As for `forward`.
            rotation: That of the tokens' M-RoPE positions.
            packing: As for `forward`.
            adapters: As for `forward`.
        """
        for block in self.blocks:
            x = block(x, rotation, packing, adapters)
        return self.norm(x)
